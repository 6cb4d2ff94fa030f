"""A real server, started by the real command in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx2
import psutil
import pytest

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
SACCADE = [sys.executable, "-m", "saccade.serving.cli"]
START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 90.0


@dataclass
class Server:
    """`saccade serve`, and everything that it has started."""

    process: "subprocess.Popen[bytes]"
    log: Path
    url: str = ""

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def instance_pid(self, name: str) -> int:
        """As the command has printed it."""
        found = re.search(rf"{name}: ready \(process (\d+)\)", self.output())
        assert found, self.output()
        return int(found.group(1))

    def metric(self, sample: str) -> float:
        """Value of a sample, as it is written in the exposition, such as `name{label="x"}`."""
        for line in httpx2.get(f"{self.url}/metrics").text.splitlines():
            if line.startswith(sample + " "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no sample {sample}")

    def family(self) -> list[psutil.Process]:
        """The process and all that descend from it."""
        try:
            main = psutil.Process(self.process.pid)
            return [main, *main.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def engines(self) -> list[psutil.Process]:
        """vLLM's engine processes."""
        return [process for process in self.family() if is_engine(process)]

    def stop(self, number: signal.Signals) -> int:
        """Send a signal and wait for the exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_TIMEOUT_S)

    def kill(self) -> None:
        for process in reversed(self.family()):
            process.kill()
        self.process.wait(STOP_TIMEOUT_S)


def launch(
    config: Path | None, log: Path, *overrides: str, port: int = 0, model: Path | None = None
) -> Server:
    """Start the command; does not wait for anything."""
    flags = [part for override in overrides for part in ("--set", override)]
    flags += ["--config", str(config)] if config else []
    flags += ["--model", str(model)] if model else []
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*SACCADE, "serve", "--port", str(port), *flags],
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            # Ctrl-C on the test run must not reach it first.
            start_new_session=True,
        )
    return Server(process, log)


def until_ready(server: Server) -> Server:
    """Wait for the line that says where the API is."""

    def address() -> str | None:
        if server.process.poll() is not None:
            pytest.fail(f"the server ended with {server.process.returncode}:\n{server.output()}")
        found = re.search(r"API +(http://\S+)/v1", server.output())
        return found.group(1) if found else None

    server.url = until(address, START_TIMEOUT_S, server.output)
    return server


def until(check: Callable[[], T | None], timeout_s: float, why: Callable[[], object]) -> T:
    """Poll until `check` gives something; fail with `why()` when it does not."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = check()
        if value:
            return value
        time.sleep(0.05)
    pytest.fail(f"not within {timeout_s:g} s: {why()}")


def is_engine(process: psutil.Process) -> bool:
    """The kernel keeps 15 characters of a name, and psutil does not always find the rest."""
    return "EngineCor" in process.name()


def alive(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def traces() -> set[Path]:
    """What a server could leave on this machine: shared memory, semaphores, socket folders."""
    return {*Path("/dev/shm").iterdir(), *Path(tempfile.gettempdir()).glob("saccade-*")}
