"""Options of `saccade loadtest`: help, and what is refused before anything is sent."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from saccade.loadtest.metrics.definitions import METRICS, RUN_DEFINITIONS
from saccade.loadtest.metrics.schema import Summary
from saccade.loadtest.testserver.launch import running_test_server
from saccade.loadtest.testserver.script import Script
from saccade.serving.cli.loadtest import app
from saccade.serving.cli.loadtest_options import PlanOptions


def invoke(command: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, command.split())
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.parametrize("command", ["run", "sweep", "search", "compare", "report", "selftest"])
def test_every_command_explains_itself(command: str) -> None:
    code, output = invoke(f"{command} --help")
    assert code == 0
    assert "Options" in output


def test_the_help_of_run_defines_every_metric() -> None:
    _, output = invoke("run --help")
    for metric in METRICS.values():
        assert " ".join(metric.definition.split()[:6]) in output
    for name in RUN_DEFINITIONS:
        assert f"{name}:" in output


def test_workloads_are_listed() -> None:
    code, output = invoke("workloads")
    assert code == 0
    for name in ("sharegpt4o-like", "visualwebinstruct-like", "servegen-like", "text-burst"):
        assert name in output


def test_the_schema_is_that_of_the_summary() -> None:
    result = CliRunner().invoke(app, ["schema"])
    assert json.loads(result.output) == Summary.model_json_schema()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("run", "How many requests? Give --rate"),
        ("run --rate 5", "Give --duration or --num-requests"),
        ("run --rate 5 -c 3 --duration 5", "--rate and --concurrency exclude each other"),
        ("run --rate 0 --duration 5", "--rate must be above 0"),
        ("run --rate 5 --duration soon", "'soon' is no duration"),
        ("run --rate 5 --duration 60 --slo ttft=fast", "'fast' is no duration"),
        ("run --rate 5 --duration 60 --slo latency=1s", "cannot bound"),
        ("run --rate 5 --duration 60 -w txt", "Did you mean text?"),
        ("run --rate 5 --duration 60 -w mooncake:none", "no such file"),
        ("run --rate 5 --duration 60 --text-tokens many", "is not a distribution"),
        ("run --rate 5 --duration 60 --url localhost", "must begin with http://"),
        ("run --rate 5 --duration 60 --extra-body 1", "must be a JSON object"),
        ("run --rate 5 --duration 60 --warmup 40 --cooldown 30", "leave nothing of a run"),
        ("run --rate 5 --duration 60 --fail-on slow", "slow"),
        ("run -c 2", "needs a duration or a number"),
        ("sweep --duration 5", "--rates or --concurrencies"),
        ("sweep --rates fast --duration 5", "fast"),
        ("search --duration 5", "needs --slo"),
        ("search --duration 5 --slo ttft=1s --share 2", "less than 1"),
        ("search --duration 5 --slo ttft=1s --tolerance 0", "tolerance"),
        ("selftest --bound 5", "no unit"),
        ("report . --slo fast", "'fast' has no '='"),
        ("sweep --concurrencies 1.5 --duration 5", "whole number"),
        ("run --rate inf --duration 5", "--rate must be above 0 and finite"),
        ("run --rate nan --duration 5", "--rate must be above 0 and finite"),
        ("run --rate 5 --duration nan", "--duration must be above 0"),
        ("run --rate 5 --duration inf", "--duration must be above 0"),
        ("run --rate 5 --duration 5 --cooldown nan", "--cooldown must be 0 or more"),
        ("run --rate 5 --duration 5 --burstiness 0", "--burstiness must be above 0"),
        ("run --rate 5 --duration 5 --burstiness 1e-9", "burstiness"),
        ("run --speed 0 -w mooncake:none", "no such file"),
        ("run --rate 5 --duration 5 --length-scale -1", "--length-scale must be above 0"),
        ("run --rate 5 --duration 5 -w text=nan", "the weight must be a number above 0"),
        ("run --rate 5 --duration 5 -w mooncake:", "needs its file"),
        ("run --rate 5 --duration 5 --pictures 2", "--pictures does not apply to text"),
        ("run --rate 5 --duration 5 -w single-picture --picture-size 0x9", "sides are 1 to"),
        ("run --rate 5 --duration 5 --url http://", "names no server"),
        ("run --rate 5 --duration 5 --max-pictures -1", "max-pictures"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_sent(command: str, message: str) -> None:
    code, output = invoke(command)
    assert code == 2
    assert message in output
    assert "Traceback" not in output


def test_a_server_that_is_not_there_is_an_error_with_a_hint() -> None:
    code, output = invoke("run --url http://127.0.0.1:9 --rate 5 --duration 1")
    assert code == 1
    assert "is the server running?" in output


def test_that_nothing_can_be_written_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "a-file"
    file.touch()
    for command in ("run --rate 5", "sweep --rates 5", "search --slo ttft=1s"):
        code, output = invoke(f"{command} --url http://127.0.0.1:9 --duration 1 -o {file}")
        assert code == 2
        assert "nothing can be written there" in output


def test_a_folder_with_another_kind_of_result_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").touch()
    for command in ("run --rate 5", "search --slo ttft=1s"):
        code, output = invoke(f"{command} --url http://127.0.0.1:9 --duration 1 -o {tmp_path}")
        assert code == 2
        assert "holds the result of a sweep" in output


def test_both_servers_are_asked_before_one_is_measured() -> None:
    with running_test_server(Script()) as url:
        code, output = invoke(f"compare {url} http://127.0.0.1:9 --rate 5 --duration 1")
    assert code == 1
    assert "http://127.0.0.1:9: no answer" in output
    assert "pair 1" not in output


def test_a_folder_without_results_has_no_report(tmp_path: Path) -> None:
    code, output = invoke(f"report {tmp_path}")
    assert code == 1
    assert str(tmp_path) in output.replace(" ", "")


def test_warm_up_and_cool_down_are_a_tenth_unless_given() -> None:
    def edges(**options: str | float | int) -> tuple[float, float]:
        plan = PlanOptions(**({"rate": 5.0} | options)).plan()  # type: ignore[arg-type]
        return plan.warmup_s, plan.cooldown_s

    assert edges(duration="60") == (6, 6)
    assert edges(duration="10min") == (10, 10)
    assert edges(duration="60", warmup="5s") == (5, 5)
    assert edges(duration="60", warmup="5", cooldown="0") == (5, 0)
    assert edges(num_requests=50) == (0, 0)


def test_the_api_key_comes_from_the_environment_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_KEY", "hush")
    plan = PlanOptions(rate=1.0, duration="5", api_key_env="MY_KEY").plan()
    assert plan.api_key is not None
    assert plan.api_key.get_secret_value() == "hush"
    assert "hush" not in repr(plan)
