import pytest

from saccade.serving.api.asgi import Scope
from saccade.serving.api.tenants import Tenants
from saccade.serving.config.api import ApiConfig
from saccade.serving.errors import AuthenticationError

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
