"""When a request's first token was sent, and when its response was complete."""

import time
from collections.abc import Callable

from saccade.serving.api.asgi import Message, Send
from saccade.serving.gateway.context import RequestContext
from saccade.serving.gateway.latency import LatencyMetrics


class ResponseTimes:
    """Wraps `send` for one response; made when the request's body has arrived."""

    def __init__(
        self,
        send: Send,
        latency: LatencyMetrics,
        context: RequestContext,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._send = send
        self._latency = latency
        self._context = context
        self._clock = clock
        self._arrived_s = clock()
        self._status = 0
        self._waiting = True

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        body = message.get("body", b"")
        # Events without a token have no choices: comments, errors, usage.
        if self._waiting and body.startswith(b"data: ") and b'"choices":[{' in body:
            self._waiting = False
            self._observe("ttft")
        await self._send(message)

    def completed(self) -> None:
        """The response is complete; only one that succeeded counts."""
        if self._status == 200 and self._context.error is None and self._context.pinned is None:
            self._observe("e2e")

    def _observe(self, which: str) -> None:
        histogram = getattr(self._latency, which)
        labelled = histogram.labels(self._context.modality, self._context.group)
        labelled.observe(self._clock() - self._arrived_s)
