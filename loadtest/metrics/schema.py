"""What `summary.json` holds: the numbers of one run, in seconds, tokens and requests.

`Summary.model_json_schema()` is its JSON Schema. Fields may be added within a schema version; a
reader should skip what it does not know. Null always means: not defined for this run, never zero.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from saccade.loadtest.statistics import Interval

SCHEMA_VERSION: Literal[1] = 1
ALL = "all"
"""Key of the group that holds every request."""

PERCENTILES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class Distribution(_Model):
    """A metric over the measured requests of a group, in the metric's unit."""

    count: int
    """Samples: one for each request that has the metric; for `itl` one for each gap."""
    mean: float
    std: float
    """Of the sample (n - 1); 0 for a single value."""
    min: float
    max: float
    p50: Interval
    p90: Interval
    p95: Interval
    p99: Interval

    def percentile(self, name: str) -> Interval:
        """By name: one of `PERCENTILES`."""
        if name not in PERCENTILES:
            raise KeyError(name)
        found: Interval = getattr(self, name)
        return found


class Goodput(_Model):
    """How the requests of a group stand to the SLO. Failed requests have missed it."""

    slo: str
    """As it was given, such as `ttft=500ms,image.ttft=2s`."""
    num_met: int
    num_missed: int
    num_undetermined: int
    """Nothing missed, but a bounded metric is not defined: TPOT of an answer of one token."""
    attainment: Interval
    """num_met / all requests sent, failed and undetermined ones included; Wilson's interval."""
    rate: float
    """Requests that met it, by second of the window."""
    attainment_by_metric: dict[str, float] = Field(default_factory=dict)
    """Each bounded metric by itself: requests that met its limit / requests that it is for."""


class Accuracy(_Model):
    """Answers against what was expected, where the workload knows it."""

    num_scored: int
    num_correct: int
    ratio: Interval
    """num_correct / num_scored, with Wilson's interval. Failed requests are not scored."""


class Group(_Model):
    """All requests of one modality, or all, that were due in the measured window."""

    num_sent: int
    """Failed ones included, cancelled ones (by an interruption) not."""
    num_ok: int
    num_failed: int
    latencies: dict[str, Distribution]
    """By key of metric: ttft, scheduled_ttft, itl, tpot, e2e, …; absent without any sample."""
    request_throughput: float
    """Successful requests by second of the window."""
    input_throughput: float | None = None
    """Input tokens (text and visual) by second; null when the server reports none."""
    visual_throughput: float | None = None
    """Visual tokens by second; null when the server reports none."""
    output_throughput: float | None = None
    """Output tokens by second."""
    tokens_per_chunk: float | None = None
    """Mean; clearly above 1 the gaps (`itl`) lie between chunks of several tokens."""
    goodput: Goodput | None = None
    """Null without an SLO."""
    accuracy: Accuracy | None = None
    """Null where nothing is expected."""


class ClientSummary(_Model):
    """Whether the client itself kept up."""

    num_processes: int
    cpu_ratio: float
    """CPU time by elapsed time of the busiest process; near 1 the client is the bottleneck."""
    loop_lag_p99_s: float
    """By how much the event loop woke late."""
    send_lag_p99_s: float | None = None
    """Actual minus scheduled send time; null when nothing was sent."""
    max_send_lag_s: float
    """The bound on it that was set."""
    trustworthy: bool
    """False when the client was late or overloaded, so that the numbers tell about it."""
    warning: str | None = None
    """Why it is not trustworthy, and what to do."""


class StageSummary(_Model):
    """Mean of one of the server's own duration histograms over the run."""

    metric: str
    labels: dict[str, str]
    count: int
    mean_s: float


class WholeRun(_Model):
    """Over everything from the first send to the last response, warm-up included.

    As `vllm bench serve` computes throughput, to compare with it.
    """

    duration_s: float
    num_ok: int
    request_throughput: float
    output_throughput: float | None = None
    total_token_throughput: float | None = None
    """Input and output tokens."""


class Summary(_Model):
    """One run."""

    schema_version: Literal[1] = SCHEMA_VERSION
    label: str
    """Name of the server, for titles."""
    url: str
    model: str
    workload: str
    """In words."""
    arrivals: str
    """In words."""
    offered_rate: float | None = None
    """Mean arrivals by second that were asked for; null in a closed loop."""
    concurrency: int | None = None
    """Users of a closed loop; null in an open one."""
    seed: int
    started_at: datetime
    """By the clock on the wall, with its time zone."""
    warmup_s: float
    cooldown_s: float
    window_s: float
    """Length of the measured window: the schedule without warm-up and cool-down."""
    interrupted: bool = False
    """Ctrl-C ended it early; the numbers are of what ran."""
    groups: dict[str, Group]
    """`all`, and each modality that occurs: text, image, video."""
    errors: dict[str, int] = Field(default_factory=dict)
    """Failed requests by kind, over all phases."""
    client: ClientSummary
    """The load tester itself."""
    server_stages: tuple[StageSummary, ...] = ()
    """Where the server exposes them."""
    whole_run: WholeRun
    """For comparison with `vllm bench serve`."""

    @property
    def all(self) -> Group:
        """The group of every request."""
        return self.groups[ALL]

    @property
    def modalities(self) -> dict[str, Group]:
        """The groups by modality, without the one of all."""
        return {name: group for name, group in self.groups.items() if name != ALL}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader has to know before believing the numbers."""
        found = [self.client.warning] if self.client.warning else []
        if self.interrupted:
            found.append("The run was interrupted: the numbers are of what ran until then.")
        return tuple(found)
