import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from saccade.serving.api.asgi import Scope
from saccade.serving.api.tenants import Tenants
from saccade.serving.api.watching import watching
from saccade.serving.config.api import ApiConfig
from saccade.serving.config.keys import KeysFileError
from saccade.serving.errors import AuthenticationError, InvalidRequestError, TenantBusyError
from tests.unit.loop_clock import LoopClock

KEYS = [{"key": "sk-12345678", "tenant": "one"}, {"key": "sk-87654321", "tenant": "two"}]


def with_keys() -> Tenants:
    return Tenants(ApiConfig.model_validate({"keys": KEYS}))


def request(authorization: str | None) -> Scope:
    headers = [] if authorization is None else [(b"authorization", authorization.encode())]
    return {"type": "http", "headers": headers}


@pytest.mark.parametrize("authorization", [None, "Bearer anything", "nonsense"])
def test_without_keys_everybody_is_the_default_tenant(authorization: str | None) -> None:
    tenants = Tenants(ApiConfig(default_tenant="everybody"))
    assert tenants.tenant_of(request(authorization)) == "everybody"


@pytest.mark.parametrize(
    ("authorization", "tenant"),
    [
        ("Bearer sk-12345678", "one"),
        ("Bearer sk-87654321", "two"),
        ("bearer sk-87654321", "two"),
        ("Bearer  sk-12345678 ", "one"),
    ],
)
def test_a_key_names_its_tenant(authorization: str, tenant: str) -> None:
    assert with_keys().tenant_of(request(authorization)) == tenant


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "sk-12345678", "Basic sk-12345678"]
)
def test_without_a_key_nobody_is_let_in(authorization: str | None) -> None:
    with pytest.raises(AuthenticationError) as caught:
        with_keys().tenant_of(request(authorization))
    assert (caught.value.status, caught.value.code) == (401, "missing_api_key")


@pytest.mark.parametrize("key", ["sk-1234567", "sk-123456789", "SK-12345678", "default", "один"])
def test_an_unknown_key_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(AuthenticationError) as caught:
        with_keys().tenant_of(request(f"Bearer {key}"))
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")
    assert key not in caught.value.message


# Digests, and the file of keys -----------------------------------------------------------------


def digest(key: str) -> str:
    """As `printf %s KEY | sha256sum` says."""
    return hashlib.sha256(key.encode()).hexdigest()


def entry(key: str, tenant: str, **more: Any) -> dict[str, Any]:
    return {"sha256": digest(key), "tenant": tenant, **more}


def let_in(tenants: Tenants, key: str) -> str | None:
    try:
        return tenants.tenant_of(request(f"Bearer {key}"))
    except AuthenticationError:
        return None


class KeysFile:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "keys.yaml"

    def write(self, *entries: dict[str, Any]) -> None:
        self.path.write_text(yaml.safe_dump(list(entries)), encoding="utf-8")

    def tenants(self, **more: Any) -> Tenants:
        return Tenants(ApiConfig.model_validate({"keys_file": self.path, **more}))


@pytest.fixture
def file(tmp_path: Path) -> KeysFile:
    return KeysFile(tmp_path)


@pytest.mark.parametrize("write", [str.lower, str.upper])
def test_a_key_can_be_given_as_its_digest(write: Callable[[str], str]) -> None:
    keys = [{"sha256": write(digest("sk-12345678")), "tenant": "one"}]
    tenants = Tenants(ApiConfig.model_validate({"keys": keys}))
    assert let_in(tenants, "sk-12345678") == "one"
    assert let_in(tenants, digest("sk-12345678")) is None


def test_a_file_gives_more_keys(file: KeysFile) -> None:
    file.write(entry("of the file", "two"))
    tenants = file.tenants(keys=KEYS[:1])
    assert let_in(tenants, "sk-12345678") == "one"
    assert let_in(tenants, "of the file") == "two"


def test_a_change_of_the_file_counts_at_the_next_look(file: KeysFile) -> None:
    file.write(entry("old", "one"), entry("withdrawn", "one"))
    tenants = file.tenants()
    assert let_in(tenants, "withdrawn") == "one"
    file.write(entry("old", "one"), entry("new", "two"))
    assert let_in(tenants, "new") is None
    tenants.reload()
    assert let_in(tenants, "old") == "one"
    assert let_in(tenants, "new") == "two"
    assert let_in(tenants, "withdrawn") is None


@pytest.mark.parametrize("how", ["gone", "not yaml", "not a list", "unknown field", "twice"])
def test_a_file_that_cannot_be_used_changes_nothing_and_is_reported_once(
    file: KeysFile, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    file.write(entry("the key", "one"))
    tenants = file.tenants()
    if how == "gone":
        file.path.unlink()
    elif how == "not yaml":
        file.path.write_text("- {sha256: sk-secret-key", encoding="utf-8")
    elif how == "not a list":
        file.path.write_text("sk-secret-key", encoding="utf-8")
    elif how == "unknown field":
        file.write({"kee": "sk-secret-key", "tenant": "one"})
    else:
        file.write(entry("sk-secret-key", "one"), {"key": "sk-secret-key", "tenant": "two"})
    for _ in range(3):
        tenants.reload()
    assert let_in(tenants, "the key") == "one"
    (record,) = caplog.records
    assert str(file.path) in record.message
    assert "sk-secret-key" not in record.message
    file.write(entry("another", "two"))
    tenants.reload()
    assert let_in(tenants, "another") == "two"


def test_an_empty_file_lets_nobody_in(file: KeysFile) -> None:
    file.path.write_text("", encoding="utf-8")
    tenants = file.tenants()
    with pytest.raises(AuthenticationError):
        tenants.tenant_of(request(None))


def test_the_servers_own_key_is_let_in_and_is_another_each_time(file: KeysFile) -> None:
    file.write()
    first, second = file.tenants(), file.tenants()
    assert let_in(first, first.own_key) == "default"
    assert let_in(first, second.own_key) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file"),
        ("- {tenant: one}", "0: give either `key` or `sha256`"),
        ("- {sha256: abc, tenant: one}", "0.sha256"),
        ("- {key: sk-12345678, tenant: a b}", "0.tenant"),
        ("\n- [", "line 2"),
    ],
)
def test_at_the_start_a_bad_file_is_an_error_with_its_place(
    file: KeysFile, text: str | None, words: str
) -> None:
    if text is not None:
        file.path.write_text(text, encoding="utf-8")
    with pytest.raises(KeysFileError) as caught:
        file.tenants()
    assert words in str(caught.value)
    assert str(file.path) in str(caught.value)


async def test_the_file_is_looked_at_again_and_again(file: KeysFile) -> None:
    file.write(entry("old", "one"))
    clock, tenants = LoopClock(), file.tenants()
    async with watching(tenants.reload, 5.0):
        file.write(entry("new", "one"))
        await clock.advance(0)
        assert let_in(tenants, "new") is None
        await clock.advance(5.1)
        assert let_in(tenants, "new") == "one"


# Room ------------------------------------------------------------------------------------------


def test_a_tenant_has_room_for_so_many_answers_and_others_have_theirs(file: KeysFile) -> None:
    file.write(entry("a", "one", max_running=2), entry("b", "two"))
    tenants = file.tenants(max_running_per_tenant=3)
    with tenants.room("one", 1), tenants.room("one", 1):
        with pytest.raises(TenantBusyError) as caught, tenants.room("one", 1):
            pass
        assert (caught.value.status, caught.value.code) == (429, "too_many_running")
        with tenants.room("two", 3):
            pass
    with tenants.room("one", 2):
        pass
    with pytest.raises(InvalidRequestError), tenants.room("one", 3):
        pass


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=30))
def test_room_is_given_back_however_requests_end(requests: list[tuple[int, bool]]) -> None:
    limit = 4
    tenants = Tenants(ApiConfig(max_running_per_tenant=limit))
    held: list[tuple[int, AbstractContextManager[None]]] = []
    for num_answers, ends in requests:
        if ends and held:
            held.pop(0)[1].__exit__(None, None, None)
            continue
        room = tenants.room("one", num_answers)
        fits = sum(number for number, _ in held) + num_answers <= limit
        if fits:
            room.__enter__()
            held.append((num_answers, room))
        else:
            with pytest.raises(TenantBusyError):
                room.__enter__()


def test_without_limits_there_is_room_for_all() -> None:
    with Tenants(ApiConfig()).room("one", 1000):
        pass


def test_keys_of_one_tenant_share_its_limit(file: KeysFile) -> None:
    file.write(entry("a", "one", max_running=2), entry("b", "one", max_running=3))
    with pytest.raises(KeysFileError, match="different `max_running`"):
        file.tenants()
