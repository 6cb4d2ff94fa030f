"""`saccade keys create`."""

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from saccade.serving.api.tenants import Tenants
from saccade.serving.cli.main import app
from saccade.serving.config.api import ApiConfig


def create(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["keys", "create", *words])
    return done.exit_code, done.stdout, done.stderr


def test_entries_can_be_appended_to_a_file_and_the_keys_are_let_in(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    keys = {}
    with path.open("w", encoding="utf-8") as file:
        for tenant in ("team-a", "team-b"):
            code, entry, shown = create(tenant, "--max-running", "3")
            assert code == 0
            file.write(entry)
            keys[tenant] = shown.split()[-1]
    tenants = Tenants(ApiConfig(keys_file=path))
    for tenant, key in keys.items():
        headers = [(b"authorization", f"Bearer {key}".encode())]
        assert tenants.tenant_of({"type": "http", "headers": headers}) == tenant
        assert key not in path.read_text(encoding="utf-8")


def test_the_entry_is_the_digest_and_no_two_keys_are_alike() -> None:
    _, entry, shown = create("team-a")
    key = shown.split()[-1]
    assert json.loads(entry.removeprefix("- ")) == {
        "sha256": hashlib.sha256(key.encode()).hexdigest(),
        "tenant": "team-a",
    }
    assert len(key) >= 43
    assert create("team-a")[2].split()[-1] != key


@pytest.mark.parametrize("tenant", ["team a", "", "größe", "a/b"])
def test_a_tenant_has_a_plain_name(tenant: str) -> None:
    code, entry, shown = create(tenant)
    assert (code, entry) == (2, "")
    assert "is no name of a tenant" in shown
