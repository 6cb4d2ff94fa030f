"""Encoding on an instance belongs to the call of the gateway, as Ray brings it."""

from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from ray._common.signature import extract_signature, flatten_args, recover_args

from saccade.serving import tracing
from saccade.serving.caches.stats import Source
from saccade.serving.instance import actor as actor_module
from saccade.serving.instance.actor import InstanceActor, InstanceSpec
from saccade.serving.media.sampling import ClipHeader
from tests.unit.some_settings import some_settings


class Encoder:
    """In the place of the stage: made, or found where `source` says."""

    def __init__(self, source: Source) -> None:
        tokens = SimpleNamespace(embeddings=[1, 2], step_counts=(2,))
        self.done = SimpleNamespace(
            features=SimpleNamespace(tokens=tokens),
            source=source,
            preprocess_ms=2.0,
            encode_ms=3.0,
            cost_ms=5.0,
            saved_ms=0.0,
        )

    async def encode(self, data: bytes, picture: Any) -> Any:
        return self.done

    async def encode_clip(self, files: tuple[bytes, ...], header: Any, picture: Any) -> Any:
        assert files == (b"one", b"two")
        return self.done


def an_actor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, source: Source = "encoded"
) -> InstanceActor:
    monkeypatch.setattr(actor_module, "prepare_environment", lambda **_: None)
    monkeypatch.setattr("saccade.serving.caches.tokens.num_token_bytes", lambda _: 0)
    monkeypatch.setenv("VLLM_RPC_BASE_PATH", str(tmp_path))  # put back afterwards
    roles: Any = frozenset({"encode"})
    actor = InstanceActor(InstanceSpec("encode-0", roles, 1, "cpu", str(tmp_path), some_settings()))
    actor._encode = Encoder(source)
    return actor


@pytest.mark.parametrize("traced", [True, False])
@pytest.mark.parametrize("source", ["encoded", "memory"])
@pytest.mark.parametrize("clip", [True, False])
async def test_what_an_instance_does_is_under_the_gateways_span(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, traced: bool, source: Source, clip: bool
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    actor = an_actor(monkeypatch, tmp_path, source)
    with tracing.using(provider):
        with tracing.span("call") as call:
            carried = tracing.carrier() if traced else {}
        arguments: tuple[Any, ...] = (None, None, b"picture")
        if clip:
            arguments = (None, None, ClipHeader, b"one", b"two")
        method: Any = actor.encode_clip if clip else actor.encode
        # As Ray takes a call apart, and puts it together in the other process.
        signature = extract_signature(method)
        flat = flatten_args(signature, arguments, {"trace": carried})
        args, kwargs = recover_args(flat)
        _, report = await method(*args, **kwargs)
    assert (report.num_visual_tokens, report.source) == (2, source)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    parts = ["preprocess", "encode batch"] if source == "encoded" else ["look up"]
    assert spans.keys() == {"call", "encode", *parts}
    parent = spans["encode"].parent
    assert (parent.span_id if parent else None) == (
        call.get_span_context().span_id if traced else None
    )
    for part in parts:
        of_part = spans[part].parent
        assert of_part is not None
        assert of_part.span_id == spans["encode"].context.span_id
