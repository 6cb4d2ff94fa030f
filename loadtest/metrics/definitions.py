"""The metrics, each with its definition. Help texts and documentation come from here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from saccade.loadtest.records import RequestRecord

Samples = Callable[[RequestRecord], tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Metric:
    """A latency, in seconds, of which a request gives no, one or many samples."""

    key: str
    title: str
    definition: str
    of: Samples
    unit: str = "s"


def _one(name: str) -> Samples:
    def of(record: RequestRecord) -> tuple[float, ...]:
        value = getattr(record, name)
        return () if value is None else (value,)

    return of


_ALL = (
    Metric(
        "ttft",
        "TTFT",
        "Time to first token: arrival of the first chunk with content (text, reasoning or a tool "
        "call) minus send. Empty, role-only and usage chunks do not count.",
        _one("ttft_s"),
    ),
    Metric(
        "scheduled_ttft",
        "TTFT from schedule",
        "As TTFT, but from the time at which the request should have been sent.",
        _one("scheduled_ttft_s"),
    ),
    Metric(
        "itl",
        "ITL",
        "Inter-token latency: every gap between successive chunks with content, pooled over "
        "requests. Where a chunk has several tokens it is the inter-chunk latency (ICL).",
        lambda record: record.gaps_s,
    ),
    Metric(
        "tpot",
        "TPOT",
        "Time per output token after the first: (E2E - TTFT) / (N - 1), N the output tokens of the "
        "server's usage. Undefined for N < 2.",
        _one("tpot_s"),
    ),
    Metric(
        "e2e",
        "E2E",
        "End-to-end latency: arrival of the last chunk with content minus send; not the usage "
        "chunk. Of requests that succeeded.",
        _one("e2e_s"),
    ),
    Metric(
        "scheduled_e2e",
        "E2E from schedule",
        "As E2E, but from the time at which the request should have been sent.",
        _one("scheduled_e2e_s"),
    ),
    Metric(
        "normalised_input",
        "TTFT / input token",
        "Normalised input latency: TTFT divided by the input tokens that the server counted, "
        "visual tokens included.",
        _one("normalised_input_s"),
    ),
    Metric(
        "normalised_output",
        "(E2E - TTFT) / output token",
        "Normalised output latency: (E2E - TTFT) divided by the output tokens.",
        _one("normalised_output_s"),
    ),
    Metric(
        "normalised_e2e",
        "E2E / output token",
        "Normalised latency: E2E divided by the output tokens.",
        _one("normalised_e2e_s"),
    ),
    Metric(
        "send_lag",
        "Send lag",
        "Actual minus scheduled send time: the client's own slippage.",
        _one("send_lag_s"),
    ),
)

METRICS: Mapping[str, Metric] = {metric.key: metric for metric in _ALL}

RUN_DEFINITIONS: Mapping[str, str] = {
    "request throughput": "Requests that were completed in the measured window, per second.",
    "input, visual throughput": "Tokens of the prompts whose first content came in the measured "
    "window, per second.",
    "output throughput": "Output tokens that came in the measured window, per second.",
    "attainment": "Requests that met every limit of --slo, by requests *sent* in the measured "
    "window: one that failed has missed it. A request for which a limit is undefined (TPOT of one "
    "token) counts as sent and not as good, and is shown apart.",
    "goodput": "Requests that met every limit of --slo, per second of the measured window.",
    "measured window": "The schedule without --warmup and --cooldown. A request belongs to it by "
    "the time at which it was scheduled.",
    "whole run": "As `vllm bench serve` counts: everything completed, divided by the time from the "
    "first send to the last answer, warm-up and cool-down included.",
}


def stage_metric(stage: str) -> Metric:
    """Of the server's own time for a stage."""

    def of(record: RequestRecord) -> tuple[float, ...]:
        value = record.stages_s.get(stage)
        return () if value is None else (value,)

    return Metric(
        f"stage.{stage}", stage, f"Server's own time for {stage}, queueing in it included.", of
    )
