"""The servers that are compared, each in processes of its own, with the same environment."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 60.0
ROOT = Path(__file__).parents[1]

# vLLM runs in one process and threads are not pinned: with its defaults the engine's processes spin
# on both cores, which costs stock vLLM most. KV cache in GiB; Saccade's is in its configuration.
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}
BLOCK_SIZE = 32
MODEL = "saccade-tiny"


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    name: str
    url: str
    process: psutil.Process
    command: str
    """What it was started with, without the path of the interpreter."""

    def cpu_s(self) -> float:
        """Processor time so far, of all its processes."""
        total = 0.0
        for process in [self.process, *self.process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total


@contextlib.contextmanager
def saccade_server(config: Path, folder: Path, cores: str | None = None) -> Iterator[Server]:
    """`saccade serve`, with its log in a folder."""
    port = free_port()
    arguments = ["saccade.serving.cli", "serve", "--config", str(config), "--port", str(port)]
    with _running("saccade", arguments, port, "/readyz", folder, cores) as server:
        yield server


@contextlib.contextmanager
def stock_vllm(checkpoint: Path, folder: Path, cores: str | None = None) -> Iterator[Server]:
    """vLLM's own server, with its log in a folder."""
    port = free_port()
    arguments = ["vllm.entrypoints.openai.api_server", "--model", str(checkpoint)]
    arguments += ["--served-model-name", MODEL, "--host", "127.0.0.1", "--port", str(port)]
    arguments += ["--dtype", "float32", "--max-model-len", "2048", "--enforce-eager"]
    arguments += ["--block-size", str(BLOCK_SIZE), "--limit-mm-per-prompt", '{"image": 4}']
    arguments += ["--enable-prompt-tokens-details"]
    with _running("vllm", arguments, port, "/health", folder, cores) as server:
        yield server


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextlib.contextmanager
def _running(
    name: str,
    arguments: Sequence[str],
    port: int,
    health: str,
    folder: Path,
    cores: str | None,
) -> Iterator[Server]:
    pinned = ["taskset", "-c", cores] if cores is not None else []
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*pinned, sys.executable, "-m", *arguments],
            cwd=ROOT,
            env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(process, url + health, log)
        command = " ".join(["python", "-m", *arguments]).replace(f"{ROOT}/", "")
        yield Server(name, url, psutil.Process(process.pid), command)
    finally:
        _stop(process)


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(httpx2.HTTPError):
            if httpx2.get(url, timeout=5).status_code == 200:
                return
        time.sleep(0.5)
    raise SystemExit(f"The server did not start:\n{log.read_text(errors='replace')[-3000:]}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in psutil.wait_procs(family, timeout=5)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
