"""What a run is to do. A plan is complete: the same plan sends the same requests."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from saccade.loadtest.arrivals.profile import duration_s as profile_duration_s
from saccade.loadtest.arrivals.profile import mean_rate
from saccade.loadtest.arrivals.spec import Arrivals, ClosedArrivals, OpenArrivals, TraceArrivals
from saccade.loadtest.errors import PlanError
from saccade.loadtest.records import RunRecord
from saccade.loadtest.slo import Slo
from saccade.loadtest.workloads.spec import FileSpec, MixtureSpec, TraceSpec, WorkloadSpec

Run = Callable[["Plan"], RunRecord]
"""What carries out a plan; the modes take it as an argument."""


class Plan(BaseModel):
    """Everything that decides what is sent, where to, and how it is judged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    """Base URL, without /v1."""
    label: str = "server"
    """Name of the server in reports."""
    model: str | None = None
    """The server's first one if not given."""
    api_key: SecretStr | None = None
    workload: WorkloadSpec
    arrivals: Arrivals
    duration_s: float | None = Field(default=None, gt=0)
    """Of a closed loop or a recording; open arrivals have their own."""
    num_requests: int | None = Field(default=None, ge=1)
    """Stop after this many sessions."""
    warmup_s: float = Field(default=0.0, ge=0)
    cooldown_s: float = Field(default=0.0, ge=0)
    seed: int = Field(default=0, ge=0)
    slo: Slo | None = None
    stream: bool = True
    exact_output: bool = True
    """Send ignore_eos and min_tokens, so that answers are as long as the workload says."""
    temperature: float | None = 0.0
    extra_body: Mapping[str, Any] = Field(default_factory=dict)
    """Further fields of each body; they win."""
    explain: Literal["auto", "on", "off"] = "auto"
    """Ask for the server's stage times with `saccade.explain`; auto: if it is a Saccade server."""
    timeout_s: float = Field(default=600.0, gt=0)
    drain_s: float = Field(default=600.0, gt=0)
    """How long to wait for the last answers; then they count as timeouts."""
    tokenizer: Path | None = None
    num_processes: int = Field(default=1, ge=1)
    max_send_lag_s: float = Field(default=0.01, gt=0)
    keep_answers: bool = False

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        scheme, _, rest = url.partition("://")
        if scheme not in ("http", "https"):
            raise ValueError(f"{url!r} must begin with http:// or https://")
        if not rest.strip("/"):
            raise ValueError(f"{url!r} names no server; write for example http://127.0.0.1:8000")
        return url.rstrip("/").removesuffix("/v1")

    @model_validator(mode="after")
    def _check(self) -> Self:
        recorded = isinstance(self.workload, (TraceSpec, FileSpec))
        if isinstance(self.arrivals, TraceArrivals) and not recorded:
            raise ValueError(
                f"the workload {self.workload.name!r} has no recorded times; give a rate "
                "or a concurrency"
            )
        if isinstance(self.arrivals, ClosedArrivals):
            self._check_closed()
        length = self.schedule_s
        if length is not None and self.warmup_s + self.cooldown_s >= length:
            raise ValueError(
                f"warm-up ({self.warmup_s:g} s) and cool-down ({self.cooldown_s:g} s) leave "
                f"nothing of a run of {length:g} s; make the run longer or these shorter"
            )
        return self

    def _check_closed(self) -> None:
        if self.duration_s is None and self.num_requests is None:
            raise ValueError("a closed loop needs a duration or a number of requests")
        if isinstance(self.workload, MixtureSpec) and any(
            component.waves for component in self.workload.components
        ):
            raise ValueError(
                f"the workload {self.workload.name!r} has a rhythm of its own, which a closed "
                "loop cannot follow; give a rate"
            )

    @property
    def schedule_s(self) -> float | None:
        """Length of the schedule; None if the number of requests decides it."""
        if isinstance(self.arrivals, OpenArrivals):
            own = profile_duration_s(self.arrivals.profile)
            return own if self.duration_s is None else min(own, self.duration_s)
        return self.duration_s

    @property
    def offered_rate(self) -> float | None:
        """Mean arrivals per second, where the plan gives them."""
        return mean_rate(self.arrivals.profile) if isinstance(self.arrivals, OpenArrivals) else None

    @property
    def concurrency(self) -> int | None:
        """Of a closed loop."""
        return self.arrivals.concurrency if isinstance(self.arrivals, ClosedArrivals) else None

    def with_rate(self, rate: float) -> "Plan":
        """The same shape in time with this mean rate, in requests per second.

        Raises:
            PlanError: the plan's arrivals have no rate.
        """
        if not isinstance(self.arrivals, OpenArrivals):
            raise PlanError(f"A {self.arrivals.describe()} has no rate to change.")
        return self.model_copy(update={"arrivals": self.arrivals.with_rate(rate)})

    def with_concurrency(self, concurrency: int) -> "Plan":
        """As a closed loop of this many users."""
        changes: dict[str, Any] = {"arrivals": ClosedArrivals(concurrency=concurrency)}
        if self.duration_s is None and self.num_requests is None:
            changes["duration_s"] = self.schedule_s
        return self._changed(**changes)

    def with_target(self, url: str, label: str, model: str | None = None) -> "Plan":
        """Against another server."""
        return self._changed(url=url, label=label, model=model)

    def with_seed(self, seed: int) -> "Plan":
        """Other requests of the same kind, at other times."""
        return self.model_copy(update={"seed": seed})

    def with_duration(self, new_duration_s: float) -> "Plan":
        """Longer or shorter, at the same rates."""
        if isinstance(self.arrivals, OpenArrivals):
            changed = self.arrivals.with_duration(new_duration_s)
            return self._changed(arrivals=changed, duration_s=None)
        return self._changed(duration_s=new_duration_s)

    def _changed(self, **changes: Any) -> "Plan":
        """A copy that was checked again."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return Plan(**(values | changes))

    def fingerprint(self) -> str:
        """The same for plans that measure the same: to find what was measured already."""
        # Keys are not written; the number of processes does not change what is sent.
        fields = self.model_dump_json(exclude={"api_key", "label", "num_processes"})
        digest = hashlib.sha256(fields.encode())
        if isinstance(self.workload, (TraceSpec, FileSpec)) and self.workload.path.is_file():
            digest.update(self.workload.path.read_bytes())
        return digest.hexdigest()[:16]

    def describe(self) -> str:
        """One line for titles."""
        if isinstance(self.arrivals, ClosedArrivals) and self.num_requests is not None:
            return f"{self.workload.name}, {self.arrivals.describe()}, {self.num_requests} sessions"
        length = self.schedule_s
        seconds = f" for {length:g} s" if length is not None else ""
        return f"{self.workload.name}, {self.arrivals.describe()}{seconds}"
