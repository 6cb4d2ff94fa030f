"""Answers into accuracies, with 95 % intervals."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from saccade.training.data import STILL_KINDS
from saccade.training.evaluation.items import Item

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Accuracy:
    right: int
    asked: int

    @property
    def ratio(self) -> float:
        return self.right / self.asked if self.asked else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, which holds near 0 and 1 too."""
        from scipy.stats import binomtest

        if not self.asked:
            return 0.0, 1.0
        found = binomtest(self.right, self.asked).proportion_ci(CONFIDENCE, method="wilson")
        return float(found.low), float(found.high)

    @staticmethod
    def of(hits: Iterable[bool]) -> "Accuracy":
        counted = list(hits)
        return Accuracy(sum(counted), len(counted))


@dataclass(frozen=True)
class Verdict:
    kind: str
    held_out: bool
    text_first: bool
    question: str
    expected: str
    answer: str
    blind_answer: str | None

    @property
    def right(self) -> bool:
        return self.answer.strip() == self.expected

    @property
    def blind_right(self) -> bool:
        return self.blind_answer is not None and self.blind_answer.strip() == self.expected


@dataclass(frozen=True)
class Line:
    """One line of the table; `blind` is missing where blind answers were not asked for."""

    name: str
    accuracy: Accuracy
    blind: Accuracy | None


def judge(
    items: Sequence[Item], answers: Sequence[str], blind_answers: Sequence[str] | None
) -> list[Verdict]:
    blinds: Sequence[str | None] = blind_answers or [None] * len(items)
    return [
        Verdict(
            kind=item.question.kind,
            held_out=item.question.held_out,
            text_first=item.text_first,
            question=item.question.text,
            expected=item.question.answer,
            answer=answer,
            blind_answer=blind,
        )
        for item, answer, blind in zip(items, answers, blinds, strict=True)
    ]


def table(verdicts: Sequence[Verdict]) -> list[Line]:
    """A line for each kind; then all stills, those about seen and held-out pairs of colour and
    shape, and both orders of text and picture; then all clips."""
    kinds = list(dict.fromkeys(v.kind for v in verdicts))
    lines = [_line(kind, [v for v in verdicts if v.kind == kind]) for kind in kinds]
    stills = [v for v in verdicts if v.kind in STILL_KINDS]
    clips = [v for v in verdicts if v.kind not in STILL_KINDS]
    if stills:
        lines += [
            _line("all stills", stills),
            _line("… seen pairs", [v for v in stills if not v.held_out]),
            _line("… held-out pairs", [v for v in stills if v.held_out]),
            _line("… picture first", [v for v in stills if not v.text_first]),
            _line("… text first", [v for v in stills if v.text_first]),
        ]
    if clips:
        lines.append(_line("all clips", clips))
    return lines


def _line(name: str, verdicts: Sequence[Verdict]) -> Line:
    asked_blind = any(v.blind_answer is not None for v in verdicts)
    return Line(
        name,
        Accuracy.of(v.right for v in verdicts),
        Accuracy.of(v.blind_right for v in verdicts) if asked_blind else None,
    )
