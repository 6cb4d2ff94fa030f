"""Every decision as a record: inputs, candidates, gain, cost, choice and the reason in one line."""

from dataclasses import dataclass
from typing import Literal

from saccade.scheduler.codec import encode

Kind = Literal["place", "batch", "admit", "proactive", "preempt", "give_back", "role"]
Fact = str | int | float | bool
Call = tuple[str, tuple[object, ...]]
"""Name and arguments of a call that decided something, or changed what decisions look at: an entry
of a journal."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One alternative, in the units of its record."""

    name: str
    gain: float
    cost: float
    note: str = ""
    """Why it was out of the question, when it was."""


@dataclass(frozen=True, slots=True)
class Record:
    """One decision. The text is made when it is read: most records are only stored."""

    kind: Kind
    at_s: float
    subject: str
    """The request or the group that it is about."""
    inputs: tuple[tuple[str, Fact], ...]
    candidates: tuple[Candidate, ...]
    choice: str | None
    """None: nothing is done."""
    gain: float
    cost: float
    template: str
    """The reason, with the names of `inputs` and of the fields above in braces."""

    @property
    def text(self) -> str:
        """The reason, in one English line."""
        return self.template.format(
            **dict(self.inputs),
            subject=self.subject,
            choice=self.choice,
            gain=self.gain,
            cost=self.cost,
        )

    def to_json(self) -> dict[str, object]:
        """Ready for `json.dumps`; candidates from the best net gain down."""
        ordered = sorted(self.candidates, key=lambda one: (one.cost - one.gain, one.name))
        return {
            "kind": self.kind,
            "at_s": self.at_s,
            "subject": self.subject,
            "inputs": {name: encode(value) for name, value in self.inputs},
            "candidates": encode(tuple(ordered)),
            "choice": self.choice,
            "gain": encode(self.gain),
            "cost": encode(self.cost),
            "reason": self.text,
        }
