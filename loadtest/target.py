"""What has to be known of a server before it is measured, and what it says of itself."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import httpx2

from saccade.loadtest.errors import TargetError
from saccade.loadtest.records import ServerStage

_TIMEOUT_S = 30.0
_DURATIONS = ("_stage_seconds", "_time_seconds", "_token_seconds", "_latency_seconds")

Histograms = Mapping[tuple[str, tuple[tuple[str, str], ...]], tuple[float, float]]
"""Name and labels to count and sum."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server that answers."""

    model: str
    is_saccade: bool
    histograms: Histograms


def look_at(url: str, headers: Mapping[str, str], model: str | None) -> Target:
    """Ask a server for its models and metrics.

    Raises:
        TargetError: it does not answer, refuses the key, or does not have the model.
    """
    with httpx2.Client(headers=dict(headers), timeout=_TIMEOUT_S) as client:
        try:
            found = _models(client, url)
        except httpx2.HTTPError as error:
            raise TargetError(
                url, f"no answer ({str(error) or type(error).__name__}); is the server running?"
            ) from None
        except httpx2.InvalidURL as error:
            raise TargetError(url, f"not an address ({error})") from None
        if model is not None and found and model not in found:
            raise TargetError(url, f"has no model {model!r}, but {', '.join(found)}")
        if model is None and not found:
            raise TargetError(
                url,
                "does not list its models at /v1/models; is this the base URL of an "
                "OpenAI-compatible server? Then name one with --model",
            )
        exposition = _exposition(client, url)
    name = model if model is not None else found[0]
    return Target(name, "saccade_requests" in exposition, read_histograms(exposition))


def stages_between(before: Histograms, after: Histograms) -> tuple[ServerStage, ...]:
    """Means of what was observed between two readings."""
    stages = []
    for (metric, labels), (count, total) in sorted(after.items()):
        old_count, old_total = before.get((metric, labels), (0.0, 0.0))
        observed = count - old_count
        # A server that was restarted in between counts from 0 again.
        if observed > 0 and total >= old_total:
            mean_s = (total - old_total) / observed
            stage = ServerStage(
                metric=metric, labels=dict(labels), count=round(observed), mean_s=mean_s
            )
            stages.append(stage)
    return tuple(stages)


def histograms_of(url: str, headers: Mapping[str, str]) -> Histograms:
    """A server's histograms of durations now; empty if it does not answer."""
    with httpx2.Client(headers=dict(headers), timeout=_TIMEOUT_S) as client:
        return read_histograms(_exposition(client, url))


def read_histograms(exposition: str) -> Histograms:
    """Counts and sums of the histograms of durations in a Prometheus exposition."""
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[float, float]] = {}
    try:
        for family in text_string_to_metric_families(exposition):
            if family.type == "histogram" and family.name.endswith(_DURATIONS):
                for labels, values in _sums(family.samples).items():
                    found[family.name, labels] = values
    except ValueError:
        return {}
    return found


def _sums(samples: Iterable[object]) -> dict[tuple[tuple[str, str], ...], tuple[float, float]]:
    parts: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for sample in samples:
        name, labels, value = sample.name, sample.labels, sample.value  # type: ignore[attr-defined]
        part = name.rpartition("_")[2]
        if part in ("count", "sum"):
            parts.setdefault(tuple(sorted(labels.items())), {})[part] = value
    return {key: (p.get("count", 0.0), p.get("sum", 0.0)) for key, p in parts.items()}


def _models(client: httpx2.Client, url: str) -> list[str]:
    response = client.get(f"{url}/v1/models")
    if response.status_code in (401, 403):
        raise TargetError(
            url, "wants another API key; set the variable SACCADE_API_KEY, or --api-key-env"
        )
    if response.status_code >= 500:
        raise TargetError(url, f"is not ready: GET /v1/models gives {response.status_code}")
    if response.status_code != 200:
        return []
    try:
        return [str(model["id"]) for model in response.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return []


def _exposition(client: httpx2.Client, url: str) -> str:
    try:
        response = client.get(f"{url}/metrics")
    except httpx2.HTTPError:
        return ""
    return response.text if response.status_code == 200 else ""
