"""Everything that happens to a request before vLLM's handlers see it.

Authenticate, read and check the body, fetch and check pictures and put placeholders in their
place, wait for room; then hand it on, with its context in a context variable.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from saccade.encoders.base import UnsupportedSizeError, VisualLayout, VisualTokens
from saccade.serving.api.admission import Admission
from saccade.serving.api.asgi import App, ClientDisconnectedError, Message, Receive, Scope, Send
from saccade.serving.api.body import read_body
from saccade.serving.api.envelope import error_body, send_error
from saccade.serving.api.in_flight import BytesInFlight, Lease
from saccade.serving.api.questions import question_about
from saccade.serving.api.rewrite import ResponseRewriter
from saccade.serving.api.sanitise import (
    STRIPPED_HEADERS,
    Extension,
    num_answers,
    read_extension,
    stripped,
)
from saccade.serving.api.tenants import Tenants
from saccade.serving.config.media import MediaKind
from saccade.serving.config.settings import Settings
from saccade.serving.errors import (
    DeadlineError,
    InvalidRequestError,
    OverloadedError,
    SaccadeError,
)
from saccade.serving.gateway.context import (
    PendingPicture,
    RequestContext,
    current_request,
    pinned_placement,
)
from saccade.serving.gateway.metrics import GatewayMetrics
from saccade.serving.media.fetch import MediaFetcher
from saccade.serving.media.load import Embeds, Encodable, Media, load_media
from saccade.serving.media.parts import replace_parts
from saccade.serving.media.sampling import ClipHeader

if TYPE_CHECKING:
    from saccade.serving.gateway.pruning import Asked, PruningPolicy

# vLLM's handlers end within a few turns of the event loop once they hear that the client has left.
ENDING_TIMEOUT_S = 5.0
_OF_THE_BODY = frozenset({b"content-length", b"content-type", b"transfer-encoding"})


class PicturePlaceholders(Protocol):
    """What stands for a picture in the body that vLLM sees (`serving.engine.placeholder`)."""

    @property
    def takes_video(self) -> bool: ...

    def picture(self, width: int, height: int) -> VisualLayout:
        """Raises `UnsupportedSizeError`."""
        ...

    def clip(self, width: int, height: int, num_frames: int, frames_per_s: float) -> VisualLayout:
        """Raises `UnsupportedSizeError`."""
        ...

    def stamps_s(self, times_s: Sequence[float]) -> tuple[float, ...]:
        """What the prompt says of a clip's steps in words; empty where it does not."""
        ...

    def part(
        self, kind: MediaKind, counts: Sequence[int], stamps_s: Sequence[float] = ()
    ) -> dict[str, Any]: ...

    def given(self, files: Mapping[str, bytes], param: str) -> VisualTokens:
        """What a client has computed itself, checked. Raises `InvalidRequestError`."""
        ...


@dataclass(slots=True, eq=False)
class Guard:
    """Wraps vLLM's app for the routes that take a body."""

    settings: Settings
    app: App
    tenants: Tenants
    admission: Admission
    fetcher: MediaFetcher
    placeholders: PicturePlaceholders | None
    """None when neither an encode instance nor clients make visual tokens: none are taken."""
    pruning: "PruningPolicy | None"
    """None where no instance encodes."""
    metrics: GatewayMetrics
    in_flight: BytesInFlight
    is_ready: Callable[[], bool]

    async def generation(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Chat completions and completions."""
        await self._serve(scope, receive, send, generates=True)

    async def tokenization(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tokenize and detokenize: the same checks, no room needed."""
        await self._serve(scope, receive, send, generates=False)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, *, generates: bool) -> None:
        tenant = self.tenants.tenant_of(scope)
        with self.in_flight.lease() as lease:
            await self._serve_tenant(tenant, lease, scope, receive, send, generates=generates)

    async def _serve_tenant(
        self,
        tenant: str,
        lease: Lease,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        generates: bool,
    ) -> None:
        deadline = asyncio.get_running_loop().time() + self.settings.api.request_timeout_s
        limit_bytes = self.settings.api.max_body_bytes
        try:
            async with asyncio.timeout_at(deadline):
                body = await read_body(scope, receive, limit_bytes=limit_bytes, lease=lease)
        except TimeoutError:
            raise DeadlineError("The request body took too long to arrive.") from None
        extension = read_extension(body)
        context = RequestContext(
            key=uuid.uuid4().hex,
            request_id=scope["state"]["request_id"],
            tenant=tenant,
            deadline=deadline,
            explain=extension.explain,
            pinned=pinned_placement.get(),
        )
        scope["state"]["context"] = context
        rewriter = ResponseRewriter(_timed(send, self.metrics, context), context)
        connection = _Connection(receive, rewriter)
        work = self._answer(
            scope, body, extension, context, lease, connection, rewriter, generates=generates
        )
        del body  # not to be held while the answer is made
        try:
            async with asyncio.timeout_at(context.deadline):
                await connection.unless_gone(work)
        except TimeoutError:
            limit_s = self.settings.api.request_timeout_s
            await _fail(
                send, rewriter, DeadlineError(f"The request was not done after {limit_s:g} s.")
            )
        except SaccadeError as error:
            await _fail(send, rewriter, error)
        finally:
            if context.encoded is not None:
                context.encoded.cancel()

    async def _answer(
        self,
        scope: Scope,
        body: dict[str, Any],
        extension: Extension,
        context: RequestContext,
        lease: Lease,
        connection: "_Connection",
        rewriter: ResponseRewriter,
        *,
        generates: bool,
    ) -> None:
        weight = num_answers(body, self.settings.api.max_choices) if generates else 0
        if generates and not self.is_ready() and context.pinned is None:
            raise OverloadedError("The server is not ready.", retry_after_s=5)
        body_bytes = lease.num_bytes
        body = await self._with_placeholders(stripped(body), extension, context, lease)
        lease.give_back(body_bytes)
        current_request.set(context)
        content = _dumps(body)
        inner = _inner_scope(scope, context, content)
        if not generates:
            await self.app(inner, connection.replay(content), rewriter)
            return
        async with self.admission.slot(weight):
            await self.app(inner, connection.replay(content), rewriter)

    async def _with_placeholders(
        self, body: dict[str, Any], extension: Extension, context: RequestContext, lease: Lease
    ) -> dict[str, Any]:
        asked = self._asked(extension)
        messages = body.get("messages")
        if messages is None:
            return body
        video = self.placeholders is not None and self.placeholders.takes_video
        pictures = await load_media(
            messages,
            self.fetcher,
            self.settings.media,
            video=video,
            take_of_all=lease.take,
        )
        if not pictures:
            return body
        unencoded = next((one for one in pictures if not isinstance(one, Embeds)), None)
        if self.placeholders is None or (unencoded and not self.settings.serves_pictures):
            raise InvalidRequestError(
                "This server has no encode instance, so it takes no pictures.",
                param=(unencoded or pictures[0]).param,
                code="unsupported_content_part",
            )
        policy = extension.pruning_question or self.settings.pruning.question
        pending_pictures = []
        for picture in pictures:
            question = question_about(messages, picture.part.message_index, policy)
            pending_pictures.append(await self._pending(picture, asked, question))
        context.pictures = tuple(pending_pictures)
        context.pruning_quality = asked.quality if asked else 1.0
        replacements = [
            (
                pending.picture.part,
                self.placeholders.part(
                    pending.picture.kind, pending.reserved_counts, pending.stamps_s
                ),
            )
            for pending in context.pictures
        ]
        return body | {"messages": replace_parts(messages, replacements)}

    def _asked(self, extension: Extension) -> "Asked | None":
        if self.pruning is not None:
            return self.pruning.asked(extension.pruning)
        if extension.pruning:
            raise InvalidRequestError(
                "This server has no encode instance, so it prunes nothing.", param="saccade.pruning"
            )
        return None

    async def _pending(
        self, picture: Media, asked: "Asked | None", question: str | None
    ) -> PendingPicture:
        placeholders = self.placeholders
        assert placeholders is not None, "pictures are taken"
        if isinstance(picture, Embeds):
            given = await asyncio.to_thread(placeholders.given, picture.files, picture.param)
            return PendingPicture(picture, len(given.embeddings), given=given)
        layout, header = _layout(placeholders, picture), picture.header
        stamps_s: tuple[float, ...] = ()
        if isinstance(header, ClipHeader):
            stamps_s = placeholders.stamps_s(header.shown_since_s())
        planned = None
        if self.pruning is not None and asked is not None:
            planned = self.pruning.planned(asked, layout, question)
        return PendingPicture(picture, layout.num_tokens, planned, stamps_s=stamps_s)


def _dumps(body: dict[str, Any]) -> bytes:
    try:
        return json.dumps(body).encode()
    except RecursionError:
        raise InvalidRequestError(
            "The request body is nested too deeply.", code="invalid_json"
        ) from None


def _layout(placeholders: PicturePlaceholders, picture: Encodable) -> VisualLayout:
    header = picture.header
    try:
        if isinstance(header, ClipHeader):
            return placeholders.clip(
                header.width, header.height, header.num_frames, header.frames_per_s
            )
        return placeholders.picture(header.width, header.height)
    except UnsupportedSizeError as error:
        raise InvalidRequestError(
            f"The {picture.kind} cannot be used: {error}.",
            param=picture.param,
            code=f"unsupported_{picture.kind}_size",
        ) from error


class _Connection:
    """The client's side after its body was read: it may only leave."""

    def __init__(self, receive: Receive, rewriter: ResponseRewriter) -> None:
        self._gone = asyncio.ensure_future(_until_disconnect(receive))
        self._rewriter = rewriter
        self._over = asyncio.Event()
        self._num_listening = 0

    async def unless_gone(self, work: Awaitable[None]) -> None:
        """Run `work`; cancel it, and all stages with it, when the client leaves.

        Raises:
            ClientDisconnectedError: it left.
        """
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, self._gone}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientDisconnectedError
            task.result()
        finally:
            if not task.done():
                await self._end(task)
            self._gone.cancel()

    async def _end(self, task: "asyncio.Task[None]") -> None:
        """vLLM answers in tasks of its own, which a cancellation from here would leave running:
        it ends them itself when it hears that the client has left."""
        self._rewriter.mute()
        self._over.set()
        if self._num_listening:
            await asyncio.wait({task}, timeout=ENDING_TIMEOUT_S)
        task.cancel()
        await asyncio.wait({task})

    def replay(self, body: bytes) -> Receive:
        """A `receive` that gives the body once, and then waits for the end of the request."""
        sent = False

        async def receive() -> Message:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": body, "more_body": False}
            self._num_listening += 1
            try:
                await self._over.wait()
            finally:
                self._num_listening -= 1
            return {"type": "http.disconnect"}

        return receive


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _fail(send: Send, rewriter: ResponseRewriter, error: SaccadeError) -> None:
    if not rewriter.started:
        await send_error(send, error)
    elif not rewriter.finished:
        await rewriter.fail_stream(error_body(error))


def _inner_scope(scope: Scope, context: RequestContext, content: bytes) -> Scope:
    """The request as vLLM may see it: our body and our id, none of its steering headers."""
    headers = [
        (name, value)
        for name, value in scope["headers"]
        if name not in STRIPPED_HEADERS | _OF_THE_BODY
    ]
    headers += [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"x-request-id", context.key.encode()),
    ]
    return {**scope, "headers": headers, "state": {}}


def _timed(send: Send, metrics: GatewayMetrics, context: RequestContext) -> Send:
    """Observes the time to the first token, of streamed answers."""
    arrived = time.perf_counter()
    waiting = True

    async def timed(message: Message) -> None:
        nonlocal waiting
        body = message.get("body", b"")
        if waiting and body.startswith(b"data: ") and b'"choices":[{' in body:
            waiting = False
            modality = "image" if context.pictures else "text"
            metrics.ttft.labels(modality).observe(time.perf_counter() - arrived)
        await send(message)

    return timed
