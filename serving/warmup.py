"""One request through every instance before the server calls itself ready.

The first request through a pair of instances is slow (NIXL handshake, first kernels), and shows
whether the whole way works at all.
"""

import asyncio
import itertools
from typing import Any

import httpx2

from saccade.scheduler.placement import Placement
from saccade.serving.api.asgi import App
from saccade.serving.config.settings import Settings
from saccade.serving.gateway.context import pinned_placement
from saccade.serving.gateway.instances import Instances

# A grey 8x8 PNG.
_PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEElEQVR42mNsYIAAJgaK"
    "GAAmCACQtTEKkQAAAABJRU5ErkJggg=="
)
_WAIT_S = 120.0


class WarmUpError(Exception):
    """A warm-up request failed; the message says where."""


def placements(instances: Instances) -> list[Placement]:
    """Placements that together reach every instance in every role, and every hand-over pair."""
    states = instances.states()
    names = {
        role: sorted(state.name for state in states if role in state.roles)
        for role in ("encode", "prefill", "decode")
    }
    pairs = [
        (prefill, decode)
        for prefill, decode in itertools.product(names["prefill"], names["decode"])
        if prefill != decode or len(names["prefill"]) == len(names["decode"]) == 1
    ] or [(name, name) for name in names["decode"]]
    if not pairs:
        raise WarmUpError("No instance serves prefill and decode any more; see its log.")
    encoders: list[tuple[str, ...]] = [(name,) for name in names["encode"]] or [()]
    rounds = max(len(pairs), len(encoders))
    return [
        Placement(*pairs[i % len(pairs)], encode=encoders[i % len(encoders)]) for i in range(rounds)
    ]


async def warm_up(app: App, settings: Settings, instances: Instances, key: str) -> None:
    """Raises WarmUpError when a request fails. `key` is the server's own."""
    headers = {"authorization": f"Bearer {key}"}
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://warm-up", headers=headers
    ) as client:
        for placement in placements(instances):
            names = (*placement.encode, placement.prefill, placement.decode)
            way = f"The warm-up request through {' -> '.join(filter(None, names))}"
            token = pinned_placement.set(placement)
            try:
                # Not httpx's timeout: it does not reach into an app in the same process.
                async with asyncio.timeout(_WAIT_S):
                    response = await client.post("/v1/chat/completions", json=_request(settings))
            except TimeoutError:
                raise WarmUpError(f"{way} was not answered within {_WAIT_S:.0f} s.") from None
            finally:
                pinned_placement.reset(token)
            if response.status_code != 200:
                raise WarmUpError(f"{way} failed with {response.status_code}: {response.text}")


def _request(settings: Settings) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": "warm-up"}]
    if settings.serves_pictures:
        content.insert(0, {"type": "image_url", "image_url": {"url": _PICTURE}})
    return {
        "model": settings.model.name,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 2,
        "temperature": 0,
    }
