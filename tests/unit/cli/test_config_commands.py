from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

import saccade
from saccade.serving.cli.main import app
from saccade.serving.config.load import load_settings

ROOT = Path(__file__).parents[3]
LOCAL = str(ROOT / "configs" / "local.yaml")
COMMANDS = ["serve", "chat", "config", "checkpoint"]


def run(*arguments: str, **variables: str) -> Result:
    return CliRunner(env=variables).invoke(app, list(arguments))


@pytest.fixture
def config(tmp_path: Path) -> "ConfigFile":
    return ConfigFile(tmp_path / "saccade.yaml")


class ConfigFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, **sections: Any) -> str:
        """Write a file with these sections; returns its name."""
        base = {
            "model": {"path": "tiny"},
            "instances": {"llm": {"roles": ["prefill", "decode"], "replicas": 2}},
        }
        self.path.write_text(yaml.safe_dump(base | sections), encoding="utf-8")
        return str(self.path)


def test_check_says_what_would_be_served(config: ConfigFile) -> None:
    result = run("config", "check", "--config", config(api={"port": 9000}))
    assert result.exit_code == 0, result.output
    assert result.stdout == "OK: tiny on 2 x llm (prefill+decode); 127.0.0.1:9000\n"
    assert result.stderr == ""


def test_check_accepts_the_file_that_comes_with_saccade() -> None:
    result = run("config", "check", "-c", LOCAL)
    assert result.exit_code == 0, result.output
    assert "saccade-tiny on 1 x encode (encode), 2 x llm (prefill+decode)" in result.stdout


def test_check_fails_with_the_place_and_the_remedy(config: ConfigFile) -> None:
    path = config(api={"prot": 1})
    result = run("config", "check", "--config", path)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == (
        f"saccade: {path}: 1 problem(s)\n  api.prot: unknown key; did you mean `port`?\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "missing.yaml"], "missing.yaml: No such file"),
        ([], "model: missing"),
        (["-c", LOCAL, "--set", "api.port"], "section.key=value"),
        (["-c", LOCAL, "--set", "api.port=x"], "api.port: "),
        (["-c", LOCAL, "--set", "api.port=["], "api.port"),
        (["-c", LOCAL, "--set", "api=1", "--set", "api.port=2"], "api"),
    ],
)
@pytest.mark.parametrize("command", ["show", "check"])
def test_what_cannot_be_used_is_exit_code_2_and_a_message(
    command: str, arguments: list[str], words: str
) -> None:
    result = run("config", command, *arguments)
    assert result.exit_code == 2, result.exception
    assert result.stdout == ""
    assert result.stderr.startswith("saccade: ")
    assert words in result.stderr


def test_a_variable_that_is_not_known_is_exit_code_2() -> None:
    result = run("config", "check", "-c", LOCAL, SACCADE_APY__PORT="1")
    assert result.exit_code == 2
    assert "SACCADE_APY__PORT" in result.stderr


def test_a_variable_that_cannot_be_read_is_exit_code_2() -> None:
    result = run("config", "check", "-c", LOCAL, SACCADE_API="{not json")
    assert result.exit_code == 2, result.exception
    assert "api" in result.stderr.lower()


def test_the_file_may_be_named_by_a_variable(config: ConfigFile) -> None:
    result = run("config", "check", SACCADE_CONFIG=config(api={"port": 9000}))
    assert "127.0.0.1:9000" in result.stdout


def test_flags_are_over_variables_and_these_over_the_file(config: ConfigFile) -> None:
    path = config(api={"port": 1, "host": "a", "default_tenant": "file"})
    result = run(
        *("config", "show", "--config", path, "--set", "api.port=3"),
        SACCADE_API__PORT="2",
        SACCADE_API__HOST="b",
    )
    api = yaml.safe_load(result.stdout)["api"]
    assert (api["port"], api["host"], api["default_tenant"]) == (3, "b", "file")


def test_show_prints_defaults_too_and_masks_secrets(config: ConfigFile) -> None:
    path = config(api={"keys": [{"key": "sk-12345678", "tenant": "one"}]})
    result = run("config", "show", "--config", path)
    assert result.exit_code == 0
    shown = yaml.safe_load(result.stdout)
    assert shown["api"]["keys"] == [
        {"key": "**********", "sha256": None, "tenant": "one", "max_running": None}
    ]
    assert shown["engine"]["block_size"] == 32
    assert "sk-12345678" not in result.output


def test_what_show_prints_can_be_loaded_again(tmp_path: Path) -> None:
    printed = tmp_path / "shown.yaml"
    printed.write_text(run("config", "show", "-c", LOCAL).stdout, encoding="utf-8")
    assert load_settings(printed) == load_settings(Path(LOCAL))


def test_schema_prints_json_schema_with_descriptions() -> None:
    import json

    schema = json.loads(run("config", "schema").stdout)
    assert schema["properties"].keys() >= {"model", "instances", "api", "media"}
    assert schema["$defs"]["ApiConfig"]["properties"]["port"]["description"]


def test_the_version_is_that_of_the_package() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"saccade {saccade.__version__}\n")


def test_help_lists_the_commands() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert all(command in result.stdout for command in COMMANDS)


@pytest.mark.parametrize(
    "arguments", [[command] for command in COMMANDS] + [["config", "show"], ["config", "check"]]
)
def test_every_command_explains_itself(arguments: list[str]) -> None:
    result = run(*arguments, "--help")
    assert result.exit_code == 0
    assert "Usage: " in result.stdout


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"], ["config", "nonsense"]])
def test_an_unknown_command_is_exit_code_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_serve_without_a_checkpoint_says_how_to_make_one(config: ConfigFile) -> None:
    result = run("serve", "--config", config(model={"path": "no/such/folder"}))
    assert result.exit_code == 2
    assert "no/such/folder" in result.stderr
    assert "saccade checkpoint create" in result.stderr


def test_serve_refuses_a_wrong_configuration_before_anything_is_started(
    config: ConfigFile,
) -> None:
    result = run("serve", "--config", config(), "--port", "70000")
    assert result.exit_code == 2
    assert "api.port" in result.stderr
