"""Streamed chat requests, timed by whoever sends them."""

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from benchmarks.servers import MODEL

Message = dict[str, Any]
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Answer:
    """What came back, and when."""

    ttft_s: float
    text: str
    prompt_tokens: int
    cached_tokens: int


async def ask(client: httpx2.AsyncClient, messages: Sequence[Message], max_tokens: int) -> Answer:
    """One answer; `SystemExit` when the server refuses."""
    body = {
        "model": MODEL,
        "messages": list(messages),
        "temperature": 0,
        "max_tokens": max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    sent = time.perf_counter()
    first: float | None = None
    text = ""
    usage: dict[str, Any] = {}
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.status_code != 200:
            raise SystemExit(f"status {response.status_code}: {(await response.aread())!r}")
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line.removeprefix("data: "))
            for choice in event["choices"]:
                if piece := choice["delta"].get("content"):
                    first = first or time.perf_counter()
                    text += piece
            usage = event.get("usage") or usage
    ended = time.perf_counter()
    details = usage.get("prompt_tokens_details") or {}
    cached = details.get("cached_tokens") or 0
    return Answer((first or ended) - sent, text, usage["prompt_tokens"], cached)


def a_client(url: str) -> httpx2.AsyncClient:
    """Without retries or limits of its own."""
    return httpx2.AsyncClient(base_url=url, timeout=TIMEOUT_S)


def words(seed: int, number: int) -> str:
    """A text that no other seed begins alike."""
    source = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    return " ".join("".join(source.choices(letters, k=4)) for _ in range(number))


def picture_message(url: str, question: str) -> Message:
    content = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": question},
    ]
    return {"role": "user", "content": content}


async def metric(client: httpx2.AsyncClient, sample: str) -> float:
    """Value of a sample, as it is written in the exposition; 0 when it is not there."""
    for line in (await client.get("/metrics")).text.splitlines():
        if line.startswith(sample + " "):
            return float(line.rpartition(" ")[2])
    return 0.0
