"""Tokens of an identity provider: what counts, and what somebody might try."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from saccade.serving.api.asgi import Scope
from saccade.serving.api.jwt import MAX_JWKS_BYTES, JwksError, JwtTenants
from saccade.serving.api.tenants import Tenants
from saccade.serving.config.api import ApiConfig
from saccade.serving.config.jwt import JwtConfig
from saccade.serving.errors import AuthenticationError

ISSUER, AUDIENCE = "https://login.example", "saccade"


def seconds_from_now(seconds: float) -> int:
    """On the wall clock, as tokens have it."""
    return round(time.clock_gettime(time.CLOCK_REALTIME) + seconds)


class Issuer:
    """Has one key after the other."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "jwks.json"
        self.rotate("first")

    def rotate(self, key_id: str) -> None:
        self.key_id, self.key = key_id, ec.generate_private_key(ec.SECP256R1())
        public = jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        keys = [{**public, "kid": key_id, "use": "sig", "alg": "ES256"}]
        self.path.write_text(json.dumps({"keys": keys}), encoding="utf-8")

    def token(self, *, key_id: str | None = "", **claims: Any) -> str:
        given = {"iss": ISSUER, "aud": AUDIENCE, "sub": "team-a", "exp": seconds_from_now(60)}
        given = {name: value for name, value in (given | claims).items() if value is not None}
        kid = self.key_id if key_id == "" else key_id
        headers = {} if kid is None else {"kid": kid}
        return jwt.encode(given, self.key, algorithm="ES256", headers=headers)


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


def config(issuer: Issuer, /, **more: Any) -> JwtConfig:
    given = {"issuer": ISSUER, "audience": AUDIENCE, "jwks": str(issuer.path)}
    return JwtConfig.model_validate(given | more)


async def tenants(issuer: Issuer, **more: Any) -> JwtTenants:
    found = JwtTenants(config(issuer, **more))
    await found.refresh()
    return found


async def test_a_token_of_the_issuer_names_its_tenant(issuer: Issuer) -> None:
    found = await tenants(issuer)
    assert found.tenant_of(issuer.token()) == "team-a"
    assert found.tenant_of(issuer.token(aud=["another", AUDIENCE])) == "team-a"
    assert found.tenant_of(issuer.token(key_id=None)) == "team-a"
    of_group = await tenants(issuer, tenant_claim="group")
    assert of_group.tenant_of(issuer.token(group="team-b")) == "team-b"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"exp": None},
        {"nbf": seconds_from_now(3600)},
        {"key_id": "unknown"},
        {"sub": None},
        {"sub": "a b"},
        {"sub": "../team-b"},
        {"group": "team-b", "sub": ["team-a"]},
    ],
    ids=str,
)
async def test_a_token_with_other_claims_does_not_count(
    issuer: Issuer, claims: dict[str, Any]
) -> None:
    with pytest.raises(AuthenticationError) as caught:
        (await tenants(issuer)).tenant_of(issuer.token(**claims))
    assert caught.value.status == 401


async def test_an_expired_token_is_told_so_after_the_leeway(issuer: Issuer) -> None:
    found = await tenants(issuer, leeway_s=30)
    assert found.tenant_of(issuer.token(exp=seconds_from_now(-10))) == "team-a"
    with pytest.raises(AuthenticationError) as caught:
        found.tenant_of(issuer.token(exp=seconds_from_now(-60)))
    assert caught.value.code == "token_expired"


def part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


async def test_signatures_that_prove_nothing_do_not_count(issuer: Issuer) -> None:
    found = await tenants(issuer)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "team-a", "exp": seconds_from_now(60)}
    public = issuer.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    unsigned = f"{part({'alg': 'none', 'kid': 'first'})}.{part(claims)}."
    # The public key, which everybody has, taken for a shared secret.
    head = f"{part({'alg': 'HS256', 'kid': 'first'})}.{part(claims)}"
    digest = hmac.new(public, head.encode(), hashlib.sha256).digest()
    confused = f"{head}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
    start, _, signature = issuer.token().rpartition(".")
    changed = f"{start.partition('.')[0]}.{part(claims | {'sub': 'team-b'})}.{signature}"
    for token in (unsigned, confused, changed, "a.b.c", "..", f"{start}."):
        with pytest.raises(AuthenticationError):
            found.tenant_of(token)


async def test_keys_are_rotated_without_a_restart(issuer: Issuer) -> None:
    found = await tenants(issuer)
    old = issuer.token()
    issuer.rotate("second")
    with pytest.raises(AuthenticationError):
        found.tenant_of(issuer.token())
    await found.keep_fresh()
    assert found.tenant_of(issuer.token()) == "team-a"
    with pytest.raises(AuthenticationError):
        found.tenant_of(old)


@pytest.mark.parametrize("text", [None, "nonsense", "[]", '{"keys": 1}', '{"keys": []}'])
async def test_keys_that_cannot_be_had_change_nothing(
    issuer: Issuer, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    found = await tenants(issuer)
    issuer.path.unlink()
    if text is not None:
        issuer.path.write_text(text, encoding="utf-8")
    for _ in range(2):
        await found.keep_fresh()
    assert found.tenant_of(issuer.token()) == "team-a"
    (record,) = caplog.records
    assert str(issuer.path) in record.message
    with pytest.raises(JwksError):
        await found.refresh()


def request(token: str) -> Scope:
    return {"type": "http", "headers": [(b"authorization", f"Bearer {token}".encode())]}


async def test_keys_and_tokens_go_together(issuer: Issuer) -> None:
    keys = [{"key": "sk-12345678", "tenant": "one"}, {"key": "a.key.with-dots", "tenant": "two"}]
    api = ApiConfig.model_validate({"jwt": config(issuer), "keys": keys})
    both = Tenants(api)
    assert both.jwt is not None
    await both.jwt.refresh()
    assert both.tenant_of(request("sk-12345678")) == "one"
    assert both.tenant_of(request("a.key.with-dots")) == "two"
    assert both.tenant_of(request(issuer.token())) == "team-a"
    for nothing in ("sk-87654321", "a.b.c", ""):
        with pytest.raises(AuthenticationError):
            both.tenant_of(request(nothing))


async def test_with_tokens_alone_nobody_is_let_in_without(issuer: Issuer) -> None:
    alone = Tenants(ApiConfig(jwt=config(issuer)))
    with pytest.raises(AuthenticationError):
        alone.tenant_of({"type": "http", "headers": []})


@pytest.mark.parametrize(
    "wrong",
    [
        {"jwks": "http://login.example/keys"},
        {"algorithms": ["HS256"]},
        {"algorithms": ["none"]},
        {"algorithms": []},
        {"issuer": ""},
    ],
)
def test_settings_that_would_open_a_door_are_refused(issuer: Issuer, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(issuer, **wrong)


# By URL ----------------------------------------------------------------------------------------


class KeyServer(ThreadingHTTPServer):
    status, body = 200, b""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, KeyServer)
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with KeyServer(("127.0.0.1", 0), _Handler) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


async def test_keys_come_from_a_url(issuer: Issuer, server: KeyServer) -> None:
    url = f"http://127.0.0.1:{server.server_port}/keys"
    found = JwtTenants(config(issuer, jwks=url))
    server.body = issuer.path.read_bytes()
    await found.refresh()
    assert found.tenant_of(issuer.token()) == "team-a"
    for status, body in ((500, b""), (302, b""), (200, b" " * (MAX_JWKS_BYTES + 1))):
        server.status, server.body = status, body
        with pytest.raises(JwksError, match=url):
            await found.refresh()
    assert found.tenant_of(issuer.token()) == "team-a"


async def test_a_url_where_nobody_answers_is_named(issuer: Issuer) -> None:
    with pytest.raises(JwksError, match=r"127\.0\.0\.1:1/keys"):
        await JwtTenants(config(issuer, jwks="http://127.0.0.1:1/keys")).refresh()
