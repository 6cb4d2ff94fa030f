"""`saccade loadtest` as a user runs it, against the test server."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from saccade.loadtest.testserver.launch import running_test_server
from saccade.loadtest.testserver.script import Script

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "saccade.serving.cli", "loadtest"]
TIMEOUT_S = 280


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_test_server(Script(ttft_s=0.03, gap_s=0.005)) as url:
        yield url


def loadtest(*arguments: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_a_run_prints_tables_and_leaves_a_folder(server: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    options = f"--url {server} -w mixed --rate 30 --duration 2 --slo ttft=5s,tpot=1s --png"
    done = loadtest("run", *options.split(), "-o", str(folder))
    assert done.returncode == 0, done.stderr
    for word in ("TTFT", "TPOT", "p99", "text", "image", "goodput"):
        assert word.lower() in done.stdout.lower()
    lines = (folder / "requests.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["type"] for line in lines]
    assert kinds == ["run", *["request"] * (len(lines) - 1)]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["groups"]["all"]["num_failed"] == 0
    html = (folder / "report.html").read_text()
    assert "<svg" in html
    assert not re.search(r"(src|href)=.https?://", html)
    assert list(folder.glob("*.png"))
    again = loadtest("report", str(folder), "--slo", "ttft=1ms")
    assert again.returncode == 0, again.stderr


def test_json_goes_to_the_output_and_everything_else_does_not(server: str) -> None:
    done = loadtest(*f"run --url {server} -w text --rate 20 --duration 1 --json".split())
    summary: dict[str, Any] = json.loads(done.stdout)
    assert summary["model"] == "saccade-test-server"


def test_a_missed_condition_is_exit_code_3(server: str) -> None:
    options = f"run --url {server} -w text --rate 20 --duration 1".split()
    missed = loadtest(*options, "--fail-on", "p90.ttft>1ms")
    assert missed.returncode == 3
    assert "p90.ttft" in missed.stderr
    assert loadtest(*options, "--fail-on", "p90.ttft>1min").returncode == 0


def test_a_sweep_goes_on_from_what_is_there(server: str, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    options = f"sweep --url {server} -w text --duration 1 --warmup 0 -o {folder} --rates".split()
    assert loadtest(*options, "10,20").returncode == 0
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/requests.jsonl")}
    assert len(before) == 2
    assert loadtest(*options, "10,20,30").returncode == 0
    after = {path: path.stat().st_mtime_ns for path in folder.glob("*/requests.jsonl")}
    assert len(after) == 3
    assert all(after[path] == time_ns for path, time_ns in before.items())


def test_a_search_finds_out_that_every_rate_holds(server: str) -> None:
    # What else the machine does must not end the search: any send lag is allowed.
    options = f"search --url {server} -w text --slo ttft=30s --duration 2 --max-send-lag 1min"
    done = loadtest(
        *options.split(), "--share", "0.5", "--start", "8", "--max-rate", "16", "--json"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["best_rate"], result["stop_reason"]) == (16, "upper_bound_holds")


def test_two_servers_are_compared_in_turns(server: str) -> None:
    with running_test_server(Script(ttft_s=0.4, gap_s=0.005)) as slow:
        options = f"compare fast={server} slow={slow} -w text --rate 20 --duration 2 --pairs 2"
        done = loadtest(*options.split(), "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [one["side"] for one in result["slices"]] == ["A", "B", "A", "B"]
    row = next(r for r in result["rows"] if (r["group"], r["quantity"]) == ("all", "p50.ttft"))
    assert row["ratio"]["value"] > 3


def test_the_self_test_prints_what_it_measured() -> None:
    # Whether it is within the bound depends on what else the machine does.
    done = loadtest("selftest", "--rate", "50", "--duration", "2", "--bound", "1s")
    assert done.returncode == 0, done.stderr
    assert re.search(r"sent later than planned +p50 +[\d.]+ ms +p99 +[\d.]+ ms", done.stdout)
    assert "Own timing error is within 1000 ms at p99." in done.stdout


def interrupted(arguments: list[str]) -> tuple[int, bytes]:
    """Exit code and output of a command that gets Ctrl-C as soon as the first answer is there: in a
    terminal, where it reaches the sending processes too."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=ROOT,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    try:
        while not re.search(rb"done [1-9]", shown):
            shown += os.read(ours, 4096)
        os.killpg(process.pid, signal.SIGINT)
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
        assert process.stdout is not None
        with process.stdout:
            output = process.stdout.read()
        code = process.wait(TIMEOUT_S)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert b"Traceback" not in shown
    assert b"Stopping" in shown
    return code, output


def test_ctrl_c_ends_with_a_report_of_what_ran(server: str) -> None:
    options = f"run --url {server} -w text --rate 20 --duration 300 --json"
    code, output = interrupted(options.split())
    summary = json.loads(output)
    assert code == 130
    assert summary["interrupted"] is True
    assert summary["groups"]["all"]["num_ok"] >= 0
    assert summary["whole_run"]["num_ok"] >= 1


def test_a_sweep_that_was_interrupted_says_so_by_its_exit_code(server: str, tmp_path: Path) -> None:
    options = f"sweep --url {server} -w text --rates 20,40 --duration 300 --json -o {tmp_path}"
    code, output = interrupted(options.split())
    assert code == 130
    assert json.loads(output)["missing"] == [20, 40]
    assert (tmp_path / "report.html").exists()
