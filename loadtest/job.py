"""What passes between the process that runs a test and those that send for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saccade.loadtest.records import Modality, RequestRecord
from saccade.loadtest.schedule import Planned
from saccade.loadtest.spool import Place
from saccade.loadtest.workloads.session import Media


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One sending process's part of a run."""

    url: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    """Fields of every body."""
    exact_output: bool
    planned: tuple[Planned, ...]
    spool: Path
    places: Mapping[Media, Place]
    concurrency: int | None
    """Users of this process in a closed loop; None if sessions have their times."""
    length_s: float | None
    warmup_s: float
    cooldown_s: float
    timeout_s: float
    drain_s: float
    tokenizer: Path | None
    keep_answers: bool


@dataclass(frozen=True, slots=True)
class Ready:
    """The process can begin."""


@dataclass(frozen=True, slots=True)
class Start:
    """Begin at this time of the monotonic clock."""

    origin_ns: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Send no more, and give up what is in flight."""


@dataclass(slots=True)
class News:
    """What has happened since the last news."""

    num_sent: int = 0
    num_ok: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    ttfts_s: list[tuple[Modality, float]] = field(default_factory=list)
    max_lag_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All that a process has recorded."""

    requests: tuple[RequestRecord, ...]
    end_ns: int
    """After the origin."""
    cpu_ratio: float
    loop_lag_p99_s: float
    used_up: bool
    """A closed loop ran out of sessions before its time was over."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The process could not go on; its traceback."""

    traceback: str
