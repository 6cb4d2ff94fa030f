"""`saccade eval --pruning`: accuracy against visual tokens kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from saccade.serving.cli.options import fail

if TYPE_CHECKING:
    from saccade.encoders.pruning.pipeline import Pipeline
    from saccade.training.evaluation.items import Item
    from saccade.training.evaluation.pruned import PrunedModel, Seen
    from saccade.training.evaluation.sweep import Point


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """What the command line has asked for."""

    checkpoint: Path
    methods: Sequence[str]
    keep_ratios: Sequence[float]
    relevance: str
    keep_positions: bool
    dtype: str
    json_file: Path | None
    plot: Path | None
    markdown: Path | None


def read_methods(text: str) -> list[str]:
    """`all`, or names separated by commas."""
    from saccade.encoders.pruning.registry import installed

    names = installed().names
    wanted = names if text == "all" else [one.strip() for one in text.split(",")]
    unknown = [one for one in wanted if one not in names]
    if unknown:
        fail(f"--pruning: there is no method {unknown[0]!r}; there are {', '.join(names)}", 2)
    return wanted


def read_ratios(text: str) -> list[float]:
    """Shares, separated by commas."""
    try:
        ratios = [float(one) for one in text.split(",")]
    except ValueError:
        fail(f"--keep {text}: give shares of the visual tokens, such as 0.5,0.25,0.11", 2)
    if not all(0 < one <= 1 for one in ratios):
        fail(f"--keep {text}: a share is above 0 and at most 1", 2)
    return ratios


def evaluate_pruning(asked: "Sequence[Item]", options: SweepOptions) -> None:
    """Ask with all tokens, and with each method at each budget; print and write the results."""
    from rich.console import Console

    from saccade.training.evaluation import sweep
    from saccade.training.evaluation.answering import AnswerError

    try:
        model = _model(options)
        points = _points(model, asked, options)
    except AnswerError as error:
        fail(str(error))
    decoder = model.decoder
    title = f"{options.checkpoint}, {len(asked)} questions, pruned"
    Console().print(sweep.as_table(points, decoder, title))
    kinds = dict.fromkeys(item.question.kind for item in asked)
    about = {
        "checkpoint": str(options.checkpoint),
        "questions": f"{len(asked)} about {', '.join(kinds)}",
        "relevance": options.relevance,
        "positions": "kept" if options.keep_positions else "counted anew",
        "number_format": options.dtype,
    }
    if options.json_file is not None:
        options.json_file.write_text(sweep.as_json(points, about), encoding="utf-8")
    if options.plot is not None:
        sweep.draw(points, title, options.plot)
    if options.markdown is not None:
        plot = None if options.plot is None else options.plot.name
        page = sweep.as_page(points, decoder, about, plot)
        options.markdown.write_text(page, encoding="utf-8")


def _model(options: SweepOptions) -> "PrunedModel":
    from saccade.encoders.questions import text_tower_of
    from saccade.training.evaluation.pruned import PrunedModel

    tower = None if options.relevance == "language" else text_tower_of(options.checkpoint, None)
    return PrunedModel(
        options.checkpoint, tower, options.dtype, keep_positions=options.keep_positions
    )


def _points(model: "PrunedModel", asked: "Sequence[Item]", options: SweepOptions) -> "list[Point]":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from saccade.encoders.pruning.pipeline import Pipeline
    from saccade.encoders.pruning.registry import installed

    settings = [("none", 1.0, Pipeline([]))]
    settings += [
        (method, ratio, Pipeline.of(_settings(method, ratio, options), installed()))
        for method in options.methods
        for ratio in options.keep_ratios
    ]
    with Progress(
        TextColumn("{task.description:>18}"), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(), console=Console(stderr=True), transient=True,
    ) as progress:  # fmt: skip
        bar = progress.add_task("encoding", total=len(asked))
        seen = []
        for one in model.see(asked):
            seen.append(one)
            progress.advance(bar)
        bar = progress.add_task("asking", total=len(asked) * len(settings))
        points = []
        for setting in settings:
            progress.update(bar, description=f"{setting[0]} {setting[1]:g}")
            points.append(_point(setting, model, seen, lambda: progress.advance(bar)))
        return points


def _settings(method: str, ratio: float, options: SweepOptions) -> dict[str, object]:
    from saccade.encoders.pruning.registry import installed

    settings: dict[str, object] = {"method": method, "keep_ratio": ratio}
    has_sign = "negate" in installed().stage_type(method).options_type.model_fields
    return settings | ({"negate": False} if has_sign and options.relevance == "aligned" else {})


def _point(
    setting: "tuple[str, float, Pipeline]",
    model: "PrunedModel",
    seen: "Sequence[Seen]",
    advance: Callable[[], None],
) -> "Point":
    from saccade.training.evaluation.scores import Accuracy
    from saccade.training.evaluation.sweep import Point

    method, ratio, pipeline = setting
    hits, num_tokens = [], 0
    for number, answer, count in model.answers(seen, pipeline):
        hits.append(answer.strip() == seen[number].item.question.answer)
        num_tokens += count
        advance()
    return Point(method, ratio, num_tokens / max(len(hits), 1), Accuracy.of(hits))
