"""From an exchange to its record."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from saccade.loadtest.client.exchange import Exchange, FailedError
from saccade.loadtest.records import Phase, RequestRecord, Status
from saccade.loadtest.workloads.session import Session
from saccade.loadtest.workloads.text import TextSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request that is due."""

    id: str
    session_index: int
    session: Session
    turn: int
    scheduled_ns: int
    """After the origin."""
    phase: Phase
    streamed: bool


def make_record(
    ask: Ask,
    exchange: Exchange,
    failure: FailedError | None,
    *,
    origin_ns: int,
    body_bytes: int,
    cancelled: bool,
    text: TextSource,
    keep_answer: bool,
) -> RequestRecord:
    """All times after the origin. `failure` is None when all went well or it was cancelled."""

    def after(time_ns: int | None) -> int | None:
        return None if time_ns is None else time_ns - origin_ns

    turn = ask.session.turns[ask.turn]
    answer = exchange.answer
    ok = failure is None and not cancelled
    tokens, tokens_from = _output_tokens(exchange, ask.streamed, text)
    usage = exchange.usage or {}
    return RequestRecord(
        id=ask.id,
        session=ask.session_index,
        turn=ask.turn,
        component=ask.session.component,
        modality=ask.session.modality(ask.turn),
        phase=ask.phase,
        scheduled_ns=ask.scheduled_ns,
        sent_ns=after(exchange.sent_ns),
        headers_ns=after(exchange.headers_ns),
        content_ns=tuple(time_ns - origin_ns for time_ns in exchange.content_ns),
        end_ns=after(exchange.end_ns),
        streamed=ask.streamed,
        status=Status.CANCELLED if cancelled else Status.OK if ok else Status.ERROR,
        error_kind=failure.kind if failure else None,
        error_message=failure.message if failure else None,
        http_status=exchange.http_status,
        finish_reason=exchange.finish_reason,
        num_images=sum(_is_picture(one) for one in turn_media(ask.session, ask.turn)),
        num_pixels=sum(one.num_pixels for one in turn_media(ask.session, ask.turn)),
        body_bytes=body_bytes,
        wanted_input_tokens=turn.text_tokens,
        wanted_output_tokens=turn.max_tokens,
        input_tokens=_integer(usage, "prompt_tokens"),
        visual_tokens=_visual_tokens(usage),
        cached_tokens=_integer(usage.get("prompt_tokens_details"), "cached_tokens"),
        output_tokens=tokens,
        output_tokens_from=tokens_from,
        stages_s=_stages(exchange.extension),
        answer=answer if keep_answer or turn.expected is not None else None,
        expected=turn.expected,
        correct=is_correct(answer, turn.expected) if ok and turn.expected is not None else None,
    )


def turn_media(session: Session, turn: int) -> list[Any]:
    """Media in the body of a turn: its own and those of the history."""
    return [one for t in session.turns[: turn + 1] for one in t.media]


def is_correct(answer: str, expected: str) -> bool:
    """Whether the answer begins with the expected words, whatever the case and punctuation."""
    said, wanted = (_words(text) for text in (answer, expected))
    return said[: len(wanted)] == wanted


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


def _is_picture(media: Any) -> bool:
    return type(media).__name__ == "Picture" or getattr(media, "modality", None) == "image"


def _output_tokens(
    exchange: Exchange, streamed: bool, text: TextSource
) -> tuple[int | None, str | None]:
    told = _integer(exchange.usage, "completion_tokens")
    if told is not None:
        return told, "usage"
    if not exchange.content_ns:
        return None, None
    counted = text.count(exchange.answer)
    if counted is not None:
        return counted, "tokenizer"
    return (len(exchange.content_ns), "chunks") if streamed else (None, None)


def _visual_tokens(usage: Mapping[str, Any]) -> int | None:
    """As Saccade (`visual_tokens`), vLLM (`multimodal_tokens`) and OpenAI (`image_tokens`) say."""
    own = _integer(usage, "visual_tokens")
    if own is not None:
        return own
    details = usage.get("prompt_tokens_details") or {}
    by_modality = details.get("multimodal_tokens") if isinstance(details, Mapping) else None
    if isinstance(by_modality, Mapping):
        return sum(_integer(by_modality, kind) or 0 for kind in ("image", "video"))
    return _integer(details, "image_tokens")


def _integer(fields: Any, key: str) -> int | None:
    value = fields.get(key) if isinstance(fields, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _stages(extension: Mapping[str, Any] | None) -> dict[str, float]:
    """Seconds by stage; a stage that is there several times is summed."""
    found: dict[str, float] = {}
    stages = (extension or {}).get("stages")
    for stage in stages if isinstance(stages, list) else ():
        if isinstance(stage, Mapping) and isinstance(stage.get("ms"), int | float):
            name = str(stage.get("stage"))
            found[name] = found.get(name, 0.0) + stage["ms"] / 1000
    return found
