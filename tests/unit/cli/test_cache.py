import json
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner, Result

from saccade.serving.cli.main import app

STATS: dict[str, Any] = {
    "encoded": 3,
    "joined": 2,
    "hits": {"shared": 1000, "memory": 4, "disk": 5},
    "saved_ms": {"shared": 2000.0, "memory": 500.0, "disk": 0.0},
    "tiers": [
        {
            "tier": "memory",
            "instance": "encode-0",
            "bytes": 1_500_000,
            "budget_bytes": 2_000_000,
            "entries": 7,
            "evictions": 1234,
            "corrupted": 0,
            "errors": 0,
        }
    ],
    "prefix": {
        "expected_tokens": 4096,
        "cached_tokens": 4000,
        "too_many_tokens": 96,
        "too_few_tokens": 0,
        "saved_ms": 12_340.0,
        "instances": [
            {"instance": "llm-0", "blocks": 2048, "batches": 77, "gaps": 1, "rebuilds": 0}
        ],
    },
}
Serve = Callable[[Any, int], list[httpx2.Request]]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Makes a server answer; returns the list of what it is asked."""

    def serve(answer: Any, status: int = 200) -> list[httpx2.Request]:
        requests: list[httpx2.Request] = []

        def handle(request: httpx2.Request) -> httpx2.Response:
            requests.append(request)
            return httpx2.Response(status, json=answer)

        client = partial(httpx2.Client, transport=httpx2.MockTransport(handle))
        monkeypatch.setattr(httpx2, "Client", client)
        return requests

    return serve


def cache(*arguments: str, **variables: str) -> Result:
    return CliRunner(env=variables).invoke(app, ["cache", *arguments])


def test_stats_are_a_summary_and_a_row_for_each_tier(serve: Serve) -> None:
    requests = serve(STATS, 200)
    lines = cache("stats").stdout.splitlines()
    assert (requests[0].method, requests[0].url.path) == ("GET", "/saccade/cache")
    assert lines[0].startswith("1,014 pictures: 3 encoded, 2 joined, 1,000 from shared")
    assert lines[1] == "2.5 s of preprocessing and encoding saved"
    assert lines[3].split() == ["memory", "encode-0", "7", "1.5", "2.0", "1,234", "0", "0"]


def test_stats_say_what_prefix_caches_hold_and_how_right_the_index_was(serve: Serve) -> None:
    serve(STATS, 200)
    output = cache("stats").stdout
    assert "4,000 prompt tokens were cached, 4,096 expected (96 too many, 0 too few)" in output
    assert "12.3 s of prefill saved" in output
    assert output.splitlines()[-1].split() == ["llm-0", "2,048", "77", "1", "0"]


def test_an_index_that_follows_nobody_says_so(serve: Serve) -> None:
    serve(STATS | {"prefix": STATS["prefix"] | {"instances": []}}, 200)
    assert "prefix_index.enabled is off" in cache("stats").stdout


def test_stats_are_there_as_json(serve: Serve) -> None:
    serve(STATS, 200)
    assert json.loads(cache("stats", "--json").stdout) == STATS


def test_a_cache_that_is_off_says_so(serve: Serve) -> None:
    serve(STATS | {"tiers": []}, 200)
    assert "visual_cache.enabled is off" in cache("stats").stdout


def test_clear_sends_the_key_and_says_what_has_gone(serve: Serve) -> None:
    requests = serve({"removed_entries": 12}, 200)
    result = cache("clear", SACCADE_API_KEY="sk-12345678")
    assert result.stdout == "removed 12 entries\n"
    assert requests[0].method == "DELETE"
    assert requests[0].headers["authorization"] == "Bearer sk-12345678"


def test_a_refusal_is_a_message(serve: Serve) -> None:
    serve({"error": {"message": "The API key is not known."}}, 401)
    result = cache("clear")
    assert (result.exit_code, result.stderr) == (1, "saccade: The API key is not known.\n")


def test_another_server_is_told_by_its_status(serve: Serve) -> None:
    serve(["?"], 404)
    assert "status 404" in cache("stats").stderr


def test_without_a_server_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused", request=request)

    client = partial(httpx2.Client, transport=httpx2.MockTransport(refuse))
    monkeypatch.setattr(httpx2, "Client", client)
    assert "saccade serve" in cache("stats").stderr
