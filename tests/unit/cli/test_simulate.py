"""`saccade simulate` and `saccade plan` as a user calls them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from saccade.serving.cli.main import app

QUICK = ("--duration", "20", "--seeds", "2", "--rate", "10")


def saccade(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_a_simulation_prints_tables_and_writes_files(tmp_path: Path) -> None:
    page, numbers = tmp_path / "new" / "report.html", tmp_path / "report.json"
    result = saccade(
        "simulate", *QUICK, "-p", "elasticmm", "-p", "static-equal",
        "--html", str(page), "--json", str(numbers),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "This is a simulation" in result.stdout
    assert "static-equal" in result.stdout
    assert "<svg" in page.read_text(encoding="utf-8")
    assert len(json.loads(numbers.read_text(encoding="utf-8"))["runs"]) == 4


def test_the_same_command_writes_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.json"
        saccade("simulate", *QUICK, "-p", "elasticmm", "--json", str(path))
        written.append(path.read_bytes())
    assert written[0] == written[1]


def test_a_recorded_trace_is_replayed(tmp_path: Path) -> None:
    trace = tmp_path / "own.jsonl"
    trace.write_text('{"arrival_s": 0, "text_tokens": 80, "output_tokens": 12}\n' * 50)
    result = saccade("simulate", "--trace", str(trace), "--seeds", "1", "-p", "coupled-vllm-today")
    assert result.exit_code == 0, result.output
    assert "coupled-vllm-today" in result.stdout


def test_what_no_instance_can_hold_is_told(tmp_path: Path) -> None:
    trace = tmp_path / "own.jsonl"
    trace.write_text(
        '{"arrival_s": 0, "text_tokens": 80, "output_tokens": 12}\n'
        '{"arrival_s": 1, "text_tokens": 99999999, "output_tokens": 12}\n'
    )
    result = saccade("simulate", "--trace", str(trace), "--seeds", "1", "-p", "elasticmm")
    assert result.exit_code == 0, result.output
    assert "elasticmm at 1: 1 of 2 requests rejected" in result.stdout


def test_policies_workloads_and_formats_are_listed() -> None:
    result = saccade("simulate", "--workload", "list")
    for name in ("elasticmm-no-cache", "epdserve", "azure-lmm", "burstgpt"):
        assert name in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--policy", "fastest"), "there is no policy 'fastest'"),
        (("--workload", "chat"), "there is no workload 'chat'"),
        (("--gpu", "tpu"), "no constants for the GPU 'tpu'"),
        (("--trace", "missing.jsonl"), "missing.jsonl: no such file"),
        (("--rate", "0"), "must be above 0"),
        (("--rate", "-3"), "must be above 0"),
        (("--rate", "inf"), "must be above 0 and finite"),
        (("--duration", "nan"), "must be above 0 and finite"),
        (("--image-ratio", "1.5"), "give 0 to 1"),
        (("--failure-every", "0"), "must be above 0"),
        (("--gpus", "0"), "--gpus"),
        (("--first-seed", "-1"), "--first-seed"),
        (("--gpus", "1", "-p", "elasticmm"), "elasticmm: two groups need two instances"),
        (("--html", "/proc/none/report.html"), "/proc/none/report.html cannot be written"),
        (("--json", "/tmp"), "/tmp is a folder"),
        (("--speed", "2"), "--speed is for a trace"),
        (("--max-requests", "2"), "--max-requests: only a trace"),
        (("--trace", "missing.jsonl", "--rate", "2"), "a trace has its own rate"),
        (("--trace", "missing.jsonl", "--image-ratio", "0.5"), "--image-ratio is about"),
    ],
)
def test_what_is_wrong_is_told_without_a_stack_trace(
    arguments: tuple[str, ...], message: str
) -> None:
    result = saccade("simulate", "--duration", "5", "--seeds", "1", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("text", ["", "\n\n", '{"policy": {}}\n'])
def test_an_empty_trace_is_told(tmp_path: Path, text: str) -> None:
    trace = tmp_path / "empty.jsonl"
    trace.write_text(text)
    for format_name in ("saccade", "mooncake", "decisions"):
        result = saccade("simulate", "--trace", str(trace), "--format", format_name)
        assert result.exit_code == 2
        assert "empty.jsonl" in result.stderr
        assert "Traceback" not in result.output


def test_a_bad_line_of_a_trace_is_named(tmp_path: Path) -> None:
    trace = tmp_path / "own.jsonl"
    trace.write_text('{"arrival_s": 0, "text_tokens": 80, "output_tokens": 12}\n{"arrival_s": "x"}')
    result = saccade("simulate", "--trace", str(trace))
    assert result.exit_code == 2
    assert f"{trace}:2: arrival_s is 'x', which is no number" in result.stderr


def test_a_plan_names_the_cheapest(tmp_path: Path) -> None:
    numbers = tmp_path / "plan.json"
    result = saccade(
        "plan", "--rate", "6", "--duration", "20", "--seeds", "2", "--price", "h100=2",
        "--price", "A100=1", "--json", str(numbers),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "This is a simulation" in result.stdout
    assert "Cheapest: " in result.stdout
    offers = json.loads(numbers.read_text(encoding="utf-8"))["offers"]
    assert {one["scheduling"] for one in offers} == {"elastic", "static"}
    assert [one["cost_per_hour"] for one in offers] == sorted(
        one["cost_per_hour"] for one in offers
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--price", "h100"), "such as h100=2.50"),
        (("--price", "h100=1", "--attainment", "1.5"), "above 0, at most 1"),
        (("--price", "tpu=1"), "no constants for the GPU 'tpu'"),
        (("--price", "h100=1", "--price", "H100=2"), "h100 has a price already"),
        (("--price", "h100=1", "--speed", "2"), "--speed: only a trace"),
        (("--price", "h100=-1"), "such as h100=2.50"),
        (("--price", "h100=nan"), "such as h100=2.50"),
        (("--price", "h100=1", "--ttft-ms", "0"), "TTFT is not possible"),
        (("--price", "h100=1", "--tpot-ms", "-5"), "TPOT is not possible"),
        (("--price", "h100=1", "--rate", "-1"), "must be above 0"),
        (("--price", "h100=1", "--workload", "chat"), "there is no workload 'chat'"),
        (("--price", "h100=1", "--trace", "missing.jsonl"), "missing.jsonl: no such file"),
    ],
)
def test_a_plan_that_cannot_be_made_is_told(arguments: tuple[str, ...], message: str) -> None:
    result = saccade("plan", "--duration", "5", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_plan_out_of_reach_is_told() -> None:
    result = saccade("plan", "--duration", "5", "--rate", "20", "--tpot-ms", "0.01",
                     "--max-gpus", "4", "--seeds", "2", "--price", "a100=1")  # fmt: skip
    assert result.exit_code == 0
    assert "No cluster of up to 4 GPUs" in result.stdout


@pytest.mark.parametrize("command", ["--help", "simulate --help", "plan --help"])
def test_help_loads_neither_numbers_nor_plots(command: str) -> None:
    code = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(['numpy', 'matplotlib', 'saccade.scheduler.simulator'])\n"
        "from saccade.serving.cli.main import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split()],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "simulate" in done.stdout or "plan" in done.stdout
