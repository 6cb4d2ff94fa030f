"""The configuration as a whole: every field is explained, every file of ours loads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from saccade.serving.config.load import load_settings
from saccade.serving.config.settings import Settings
from tests.unit.some_settings import some_settings

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "configs").glob("*.yaml"))


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """`model` and all that are inside it, in lists and mappings too."""
    yield model
    for field in model.model_fields.values():
        for kind in _kinds(field.annotation):
            yield from models(kind)


def _kinds(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _kinds(argument)


SECTIONS = list(dict.fromkeys(models(Settings)))


def test_all_sections_are_found() -> None:
    names = {section.__name__ for section in SECTIONS}
    assert {"Settings", "ApiConfig", "ApiKey", "InstanceGroup", "MediaConfig"} <= names


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_field_says_what_it_is_for(section: type[BaseModel]) -> None:
    silent = [name for name, field in section.model_fields.items() if not field.description]
    assert silent == []
    assert section.__doc__


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_section_is_frozen_and_refuses_what_it_does_not_know(
    section: type[BaseModel],
) -> None:
    assert section.model_config.get("frozen") is True
    assert section.model_config.get("extra") == "forbid"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_of_ours_loads(path: Path) -> None:
    settings = load_settings(path)
    assert settings.model.name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_of_ours_says_when_to_use_it(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_the_local_file_has_one_encode_and_two_llm_instances_on_loopback() -> None:
    settings = load_settings(ROOT / "configs" / "local.yaml")
    replicas = {tuple(group.roles): group.replicas for group in settings.instances.values()}
    assert replicas == {("encode",): 1, ("prefill", "decode"): 2}
    assert (settings.api.host, settings.api.port) == ("127.0.0.1", 8000)
    assert settings.serves_pictures


def test_defaults_let_nobody_in_from_outside() -> None:
    settings = some_settings()
    assert settings.api.host == "127.0.0.1"
    assert settings.media.allowed_private_hosts == []


def test_the_name_of_the_model_is_its_folder_unless_given() -> None:
    assert some_settings(model={"path": "a/tiny"}).model.name == "tiny"
    assert some_settings(model={"path": "a/tiny", "served_name": "x/y"}).model.name == "x/y"


def test_paths_do_not_depend_on_the_working_directory_of_who_reads_them() -> None:
    model = some_settings(model={"path": "tiny", "chat_template": "~/t.jinja"}).model
    assert model.path == Path.cwd() / "tiny"
    assert model.chat_template == Path.home() / "t.jinja"


def test_a_server_without_an_encode_group_serves_text_alone() -> None:
    assert some_settings().serves_pictures
    assert not some_settings(instances={"llm": {"roles": ["prefill", "decode"]}}).serves_pictures


@pytest.mark.parametrize("tenant", ["", "a b", "x" * 65, "tenant/one", "größe"])
def test_a_tenant_has_a_plain_name(tenant: str) -> None:
    with pytest.raises(ValidationError, match="tenant"):
        some_settings(api={"keys": [{"key": "sk-12345678", "tenant": tenant}]})
    with pytest.raises(ValidationError, match="default_tenant"):
        some_settings(api={"default_tenant": tenant})


def test_a_secret_is_not_in_any_printed_form() -> None:
    settings = some_settings(api={"keys": [{"key": "sk-12345678", "tenant": "a"}]})
    printed = repr(settings) + str(settings.model_dump()) + settings.model_dump_json()
    assert "sk-12345678" not in printed


def test_a_cache_on_disk_needs_a_folder() -> None:
    with pytest.raises(ValidationError, match="disk_folder"):
        some_settings(visual_cache={"disk_bytes": 10**9})
    given = some_settings(visual_cache={"disk_bytes": 10**9, "disk_folder": "~/tokens"})
    assert given.visual_cache.disk_folder == Path.home() / "tokens"


def test_kept_visual_tokens_leave_room_in_the_object_store() -> None:
    cluster = {"object_store_bytes": 100 * 2**20}
    with pytest.raises(ValidationError, match=r"cluster\.object_store_bytes"):
        some_settings(cluster=cluster, visual_cache={"shared_bytes": 60 * 2**20})
    off = {"shared_bytes": 60 * 2**20, "enabled": False}
    assert not some_settings(cluster=cluster, visual_cache=off).visual_cache.enabled
