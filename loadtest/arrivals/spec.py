"""Which arrivals a plan asks for."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from saccade.loadtest.arrivals.process import Process
from saccade.loadtest.arrivals.profile import Segment, duration_s, mean_rate, scaled
from saccade.loadtest.errors import PlanError


class OpenArrivals(BaseModel):
    """At times that do not depend on the server: an open loop."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["open"] = "open"
    process: Process = "poisson"
    burstiness: float = Field(default=1.0, ge=0.01)
    """Shape of the Gamma distribution of gaps. Much below, practically all of them are 0."""
    profile: tuple[Segment, ...] = Field(min_length=1)

    def with_rate(self, rate: float) -> "OpenArrivals":
        """The same shape in time with this mean rate."""
        before = mean_rate(self.profile)
        if before <= 0:
            raise PlanError("A profile whose rate is 0 throughout cannot be scaled.")
        return self.model_copy(update={"profile": scaled(self.profile, rate / before)})

    def with_duration(self, new_duration_s: float) -> "OpenArrivals":
        """The same rates, stretched or squeezed in time."""
        factor = new_duration_s / duration_s(self.profile)
        profile = tuple(
            segment.model_copy(update={"duration_s": segment.duration_s * factor})
            for segment in self.profile
        )
        return self.model_copy(update={"profile": profile})

    def describe(self) -> str:
        """For titles."""
        name = {"poisson": "Poisson", "constant": "constant"}.get(
            self.process, f"Gamma (burstiness {self.burstiness:g})"
        )
        if len(self.profile) > 1:
            stages = ", ".join(_describe(segment) for segment in self.profile)
            return f"{name}, {stages} requests/s"
        return f"{name}, {_describe_rates(self.profile[0])} requests/s"


class ClosedArrivals(BaseModel):
    """A fixed number of users, each of whom sends when the answer before is there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["closed"] = "closed"
    concurrency: int = Field(ge=1)

    def describe(self) -> str:
        """For titles."""
        return f"closed loop of {self.concurrency}"


class TraceArrivals(BaseModel):
    """At the times that the workload's own records give."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["trace"] = "trace"
    speed: float = Field(default=1.0, gt=0)
    """2 replays twice as fast."""

    def describe(self) -> str:
        """For titles."""
        return "recorded times" + (f", {self.speed:g} times as fast" if self.speed != 1 else "")


Arrivals = Annotated[OpenArrivals | ClosedArrivals | TraceArrivals, Field(discriminator="kind")]


def steady(rate: float, seconds: float) -> tuple[Segment, ...]:
    """One rate throughout."""
    return (Segment(duration_s=seconds, begin_rate=rate, end_rate=rate),)


def _describe(segment: Segment) -> str:
    return f"{_describe_rates(segment)} for {segment.duration_s:g} s"


def _describe_rates(segment: Segment) -> str:
    if segment.begin_rate == segment.end_rate:
        return f"{segment.begin_rate:g}"
    return f"{segment.begin_rate:g} to {segment.end_rate:g}"
