from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from saccade.serving.config.load import ConfigError, load_settings, parse_override
from saccade.serving.config.settings import Settings
from tests.unit.some_settings import INSTANCES

BASE: dict[str, Any] = {"model": {"path": "tiny"}, "instances": INSTANCES}


@pytest.fixture
def load(tmp_path: Path) -> "Loader":
    return Loader(tmp_path / "saccade.yaml")


class Loader:
    """Loads a file with the given content."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, overrides: Mapping[str, Any] | None = None, **sections: Any) -> Settings:
        self.path.write_text(yaml.safe_dump(BASE | sections), encoding="utf-8")
        return load_settings(self.path, overrides)

    def text(self, text: str) -> Settings:
        self.path.write_text(text, encoding="utf-8")
        return load_settings(self.path)

    def problems(self, overrides: Mapping[str, Any] | None = None, **sections: Any) -> list[str]:
        """The lines below the title of the message about a wrong file."""
        with pytest.raises(ConfigError) as caught:
            self(overrides, **sections)
        title, *lines = str(caught.value).splitlines()
        assert title == f"{self.path}: {len(lines)} problem(s)"
        return [line.strip() for line in lines]


def test_the_file_is_over_the_defaults(load: Loader) -> None:
    settings = load(api={"port": 9000})
    assert settings.api.port == 9000
    assert settings.api.host == "127.0.0.1"
    assert settings.model.name == "tiny"


def test_the_environment_is_over_the_file(load: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCADE_API__PORT", "9001")
    monkeypatch.setenv("SACCADE_LOG__LEVEL", "debug")
    settings = load(api={"port": 9000, "host": "::1"})
    assert (settings.api.port, settings.api.host) == (9001, "::1")
    assert settings.log.level == "debug"


def test_flags_are_over_the_environment(load: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCADE_API__PORT", "9001")
    monkeypatch.setenv("SACCADE_API__HOST", "::1")
    settings = load({"api.port": 9002}, api={"port": 9000, "max_choices": 3})
    api = settings.api
    assert (api.port, api.host, api.max_choices) == (9002, "::1", 3)


def test_one_group_of_instances_can_be_changed_alone(
    load: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SACCADE_INSTANCES__LLM__REPLICAS", "4")
    settings = load({"instances.llm.threads": 2})
    assert (settings.instances["llm"].replicas, settings.instances["llm"].threads) == (4, 2)
    assert settings.instances["encode"].replicas == 1


def test_without_a_file_flags_and_environment_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCADE_MODEL__PATH", "from/env")
    monkeypatch.setenv("SACCADE_INSTANCES", '{"llm": {"roles": ["prefill", "decode"]}}')
    settings = load_settings(None, {"model.served_name": "m"})
    assert settings.model.path == Path("from/env").absolute()
    assert settings.model.name == "m"


def test_one_file_does_not_leak_into_the_next(load: Loader) -> None:
    load(api={"port": 9000})
    assert load().api.port == 8000
    with pytest.raises(ConfigError):
        load_settings(None)


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"apy": {}}, "apy: unknown key; did you mean `api`?"),
        ({"api": {"prot": 1}}, "api.prot: unknown key; did you mean `port`?"),
        (
            {"api": {"keys": [{"key": "sk-12345678", "tenant": "a", "tenent": "b"}]}},
            "api.keys.0.tenent: unknown key; did you mean `tenant`?",
        ),
        (
            {"instances": {"llm": {"roles": ["prefill", "decode"], "replica": 2}}},
            "instances.llm.replica: unknown key; did you mean `replicas`?",
        ),
        ({"media": {"max_byte": 5000}}, "media.max_byte: unknown key; did you mean `max_bytes`?"),
        ({"log": {"xyzzy": 1}}, "log.xyzzy: unknown key"),
    ],
)
def test_an_unknown_key_is_named_with_its_place_and_the_nearest_one(
    load: Loader, sections: dict[str, Any], problem: str
) -> None:
    assert load.problems(**sections) == [problem]


def test_all_problems_are_told_at_once(load: Loader) -> None:
    problems = load.problems(api={"port": 70000, "prot": 1}, log={"level": "loud"})
    assert [problem.split(":")[0] for problem in problems] == ["api.port", "api.prot", "log.level"]


def test_what_is_missing_is_named(load: Loader) -> None:
    assert load.problems(model={}) == ["model.path: missing; it has no default"]


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"api": {"max_choices": 9, "max_running": 8}}, ["max_choices (9)", "max_running (8)"]),
        ({"media": {"max_bytes": 3000, "max_total_bytes": 2000}}, ["max_bytes", "2000"]),
        ({"instances": {"a": {"roles": ["encode"]}}}, ["prefill or decode", "`roles`"]),
        ({"instances": {"a": {"roles": ["prefill"]}}}, ["decode"]),
        ({"instances": {}}, ["instances"]),
        ({"instances": {"a": {"roles": ["decode", "prefill", "decode"]}}}, ["twice"]),
        ({"instances": {"a": {"roles": []}}}, ["instances.a.roles"]),
        ({"engine": {"kv_lease_s": 2}}, ["engine.kv_lease_s"]),
        (
            {
                "api": {
                    "keys": [
                        {"key": "sk-12345678", "tenant": "a"},
                        {"key": "sk-12345678", "tenant": "b"},
                    ]
                }
            },
            ["api", "two tenants"],
        ),
    ],
)
def test_what_contradicts_itself_is_refused_with_the_values(
    load: Loader, sections: dict[str, Any], words: list[str]
) -> None:
    (problem,) = load.problems(**sections)
    assert all(word in problem for word in words), problem


def test_no_secret_is_in_a_message(load: Loader) -> None:
    keys = [{"key": "sk-12345678", "tenant": "not a tenant"}, {"key": "short", "tenant": "b"}]
    problems = load.problems(api={"keys": keys})
    assert len(problems) == 2
    assert "sk-12345678" not in str(problems)
    assert "short" not in str(problems)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("SACCADE_APY__PORT", "SACCADE_APY__PORT: no section `apy`; did you mean SACCADE_API?"),
        ("SACCADE_XYZZY", "SACCADE_XYZZY: no section `xyzzy`"),
        ("SACCADE_API_PORT", "SACCADE_API_PORT: no section `api_port`; did you mean SACCADE_API?"),
    ],
)
def test_an_unknown_variable_is_an_error(
    load: Loader, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError) as caught:
        load()
    assert str(caught.value) == f"environment variable {message}"


def test_an_unknown_key_in_a_variable_is_an_error(
    load: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SACCADE_API__PROT", "1")
    assert load.problems() == ["api.prot: unknown key; did you mean `port`?"]


@pytest.mark.parametrize("name", ["SACCADE_CONFIG", "SACCADE_API_KEY", "NOT_SACCADE_APY"])
def test_variables_with_another_meaning_are_left_alone(
    load: Loader, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "anything")
    load()


@pytest.mark.parametrize("name", ["SACCADE_API", "SACCADE_API__KEYS", "SACCADE_INSTANCES"])
def test_a_variable_that_should_be_json_and_is_not_is_named(
    load: Loader, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "{not json")
    with pytest.raises(ConfigError, match=name.split("__", maxsplit=1)[0].split("_")[1].lower()):
        load()


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "---\n"])
def test_an_empty_file_is_an_empty_configuration(load: Loader, text: str) -> None:
    with pytest.raises(ConfigError, match="model: missing"):
        load.text(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n- b\n", "top level"),
        ("just text", "top level"),
        ("model: [", "not valid YAML"),
        ("model: {path: !!python/object:os.system x}", "not valid YAML"),
        ("1: {}\nmodel: {path: tiny}\n", "1: unknown key"),
        ("null: {}\n", "unknown key"),
        ("api:\n", "api"),
        ("api: 8000\n", "api"),
    ],
)
def test_a_file_of_another_form_is_an_error_with_its_name(
    load: Loader, text: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load.text(text)
    assert str(load.path) in str(caught.value)
    assert words in str(caught.value)


def test_a_file_that_is_no_text_is_an_error_with_its_name(load: Loader) -> None:
    load.path.write_bytes(b"model: \xff\xfe")
    with pytest.raises(ConfigError, match=r"saccade\.yaml"):
        load_settings(load.path)


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_an_error_with_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("api.port=9000", ("api.port", 9000)),
        ("log.level=debug", ("log.level", "debug")),
        ("model.chat_template=null", ("model.chat_template", None)),
        ("model.served_name=a=b", ("model.served_name", "a=b")),
        ("media.allowed_domains=[a.com, b.com]", ("media.allowed_domains", ["a.com", "b.com"])),
        ("model.create_if_missing=true", ("model.create_if_missing", True)),
        ("model.served_name=", ("model.served_name", None)),
    ],
)
def test_an_override_is_a_dotted_key_and_a_yaml_value(text: str, expected: tuple[str, Any]) -> None:
    assert parse_override(text) == expected


@pytest.mark.parametrize("text", ["", "api.port", "=9000", "api.port 9000"])
def test_an_override_without_key_or_value_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        parse_override(text)


@pytest.mark.parametrize("text", ["api.host=[", "api.host=a: b: c", "api.host=@x"])
def test_an_override_that_is_not_yaml_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"api\.host"):
        parse_override(text)


def test_an_override_of_an_unknown_key_is_an_error(load: Loader) -> None:
    assert load.problems({"api.prot": 1}) == ["api.prot: unknown key; did you mean `port`?"]


@pytest.mark.parametrize(
    "overrides",
    [{"api": 1, "api.port": 2}, {"api.port": 1, "api.port.x": 2}, {"api": None, "api.port": 2}],
)
def test_overrides_that_do_not_fit_together_are_an_error(
    load: Loader, overrides: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="api"):
        load(overrides)


def test_an_override_of_a_section_and_of_a_key_in_it_both_count(load: Loader) -> None:
    settings = load({"api": {"port": 1, "host": "::1"}, "api.port": 2})
    assert (settings.api.port, settings.api.host) == (2, "::1")
