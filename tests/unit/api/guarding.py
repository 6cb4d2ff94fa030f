"""A guard between a client and an app that stands in for vLLM's."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from prometheus_client import CollectorRegistry

from saccade.encoders.base import Block, VisualLayout, VisualTokens
from saccade.encoders.pruning.registry import PruningRegistry
from saccade.encoders.published import published
from saccade.encoders.registry import ENCODERS
from saccade.serving.api.admission import Admission
from saccade.serving.api.asgi import Receive, Scope, Send, send_json
from saccade.serving.api.edge import Edge, Endpoint
from saccade.serving.api.guard import Guard, PicturePlaceholders
from saccade.serving.api.in_flight import BytesInFlight
from saccade.serving.api.tenants import Tenants
from saccade.serving.gateway.context import RequestContext, current_request
from saccade.serving.gateway.metrics import GatewayMetrics
from saccade.serving.gateway.pruning import PruningPolicy
from saccade.serving.media.fetch import ByteBudget, MediaFetcher
from tests.unit.api.exchange import Exchange
from tests.unit.api.rewriting import KEEP_ALIVE, chunk
from tests.unit.media.pictures import encoded, two_colours
from tests.unit.some_settings import some_settings

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
TOKENIZE = "/tokenize"
STREAM_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream; charset=utf-8")],
}

Behaviour = Callable[[Receive, Send], Awaitable[None]]


async def answer(_: Receive, send: Send) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    await send_json(send, 200, {"choices": [], "usage": usage})


async def say(send: Send, *pieces: bytes, end: bool = False) -> None:
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    if end:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def stream_forever(_: Receive, send: Send) -> None:
    await send(STREAM_START)
    await say(send, chunk("one"))
    while True:
        await asyncio.sleep(0)
        await say(send, KEEP_ALIVE)


async def never(_: Receive, __: Send) -> None:
    await asyncio.Event().wait()


class Inner:
    """What a request reached, and how it ended there."""

    def __init__(self, behaviour: Behaviour = answer) -> None:
        self.behaviour = behaviour
        self.scopes: list[Scope] = []
        self.bodies: list[Any] = []
        self.contexts: list[RequestContext] = []
        self.num_running = 0
        self.num_cancelled = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.num_running += 1
        try:
            self.scopes.append(scope)
            self.bodies.append(json.loads((await receive())["body"]))
            self.contexts.append(current_request.get())
            await self.behaviour(receive, send)
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        finally:
            self.num_running -= 1


class FakeFetcher:
    """Has the bytes of every picture by URL; a URL that it does not know never arrives."""

    def __init__(self) -> None:
        self.pictures = {"http://a/12x8": encoded(two_colours(12, 8), "PNG")}
        self.pictures["http://a/6x4"] = encoded(two_colours(6, 4), "PNG")
        self.num_fetching = 0
        self.urls: list[str] = []

    async def fetch(
        self, url: str, *, param: str, budget: ByteBudget, kind: str = "image"
    ) -> bytes:
        self.urls.append(url)
        self.num_fetching += 1
        try:
            if url not in self.pictures:
                await asyncio.Event().wait()
            budget.take(len(self.pictures[url]), param)
            return self.pictures[url]
        finally:
            self.num_fetching -= 1


class FakePlaceholders:
    takes_video = False

    def picture(self, width: int, height: int) -> VisualLayout:
        return VisualLayout(width * height, blocks=(Block(height, width),))

    def clip(self, width: int, height: int, num_frames: int, frames_per_s: float) -> VisualLayout:
        return VisualLayout(
            width * height * num_frames, blocks=(Block(height, width),) * num_frames
        )

    def stamps_s(self, times_s: Sequence[float]) -> tuple[float, ...]:
        return ()

    def part(
        self, kind: str, counts: Sequence[int], stamps_s: Sequence[float] = ()
    ) -> dict[str, Any]:
        key = f"{kind}_embeds"
        after = f" after {stamps_s}" if stamps_s else ""
        return {"type": key, key: " ".join(map(str, counts)) + " visual tokens" + after}

    def given(self, files: Mapping[str, bytes], param: str) -> VisualTokens:
        """As many tokens as the file has bytes."""
        rows: Any = range(len(files["image_embeds"]))
        return VisualTokens(rows, None, len(rows))


class WithVideo(FakePlaceholders):
    takes_video = True


class WithStamps(WithVideo):
    """Two frames are a step, which has its time in words before it."""

    def stamps_s(self, times_s: Sequence[float]) -> tuple[float, ...]:
        return tuple(times_s[::2])


class Server:
    """All layers of the API around `inner`."""

    def __init__(
        self,
        inner: Inner | None = None,
        *,
        placeholders: PicturePlaceholders | None = FakePlaceholders(),  # noqa: B008
        ready: bool = True,
        instances: dict[str, Any] | None = None,
        media: dict[str, Any] | None = None,
        pruning: dict[str, Any] | None = None,
        **api: Any,
    ) -> None:
        self.inner = inner or Inner()
        self.fetcher = FakeFetcher()
        self.metrics = GatewayMetrics(CollectorRegistry())
        more = {"instances": instances} if instances else {}
        settings = some_settings(api=api, media=media or {}, pruning=pruning or {}, **more)
        self.admission = Admission(settings.api, self.metrics)
        self.ready = ready
        self.guard = guard = Guard(
            settings=settings,
            app=self.inner,
            tenants=Tenants(settings.api),
            admission=self.admission,
            fetcher=cast(MediaFetcher, self.fetcher),
            placeholders=placeholders,
            pruning=PruningPolicy(
                settings.pruning,
                ENCODERS.family_of(published()["llava-hf/llava-1.5-7b-hf"].files, "llava"),
                PruningRegistry(),
                lambda: (self.admission.queued, self.admission.running),
            ),
            metrics=self.metrics,
            in_flight=BytesInFlight(settings.api.max_bytes_in_flight, self.metrics.bytes_in_flight),
            is_ready=lambda: self.ready,
        )
        generation: dict[str, Endpoint] = {"POST": guard.generation}
        table: dict[str, dict[str, Endpoint]] = {
            CHAT: generation,
            COMPLETIONS: generation,
            TOKENIZE: {"POST": guard.tokenization},
        }
        self.edge = Edge(table, lifespan=self.inner, metrics=self.metrics)

    async def send(self, body: Any, path: str = CHAT, **more: Any) -> Exchange:
        return await self.exchange(body, path, **more).run()

    def exchange(self, body: Any, path: str = CHAT, **more: Any) -> Exchange:
        return Exchange(self.edge, path, body, **more)


def text(content: Any = "hello", **more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": content}], **more}


def about(*urls: str, **more: Any) -> dict[str, Any]:
    """A question about pictures."""
    pictures = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return text([{"type": "text", "text": "What is it?"}, *pictures], **more)
