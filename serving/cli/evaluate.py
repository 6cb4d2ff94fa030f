"""`saccade eval`: how many questions about pictures a server, or a checkpoint, answers exactly."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saccade.serving.cli.evaluate_pruning import (
    SweepOptions,
    evaluate_pruning,
    read_methods,
    read_ratios,
)
from saccade.serving.cli.options import fail

if TYPE_CHECKING:
    from saccade.training.evaluation.answering import Answerer
    from saccade.training.evaluation.items import Item

DEFAULT_URL = "http://127.0.0.1:8000"


def evaluate(
    url: Annotated[
        str, typer.Option(help="Base URL of any OpenAI-compatible server.")
    ] = DEFAULT_URL,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Evaluate this folder with stock transformers instead of a server."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model to ask for; the server's first one if not given.")
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option(help="Kinds of questions, separated by commas; all of them if not given."),
    ] = None,
    per_kind: Annotated[int, typer.Option(min=1, help="Questions of each kind.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="The same seed asks the same questions.")] = 0,
    blind: Annotated[
        bool, typer.Option(help="Ask again about grey pictures, to see what guessing earns.")
    ] = True,
    concurrency: Annotated[int, typer.Option(min=1, help="Questions under way at once.")] = 8,
    dtype: Annotated[str, typer.Option(help="With --checkpoint: float32 or bfloat16.")] = "float32",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write accuracies and every answer there.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a plot there, as PNG.")] = None,
    pruning: Annotated[
        str | None,
        typer.Option(
            help="With --checkpoint: prune visual tokens by these methods, separated by commas, or "
            "by `all`; each at each share of --keep."
        ),
    ] = None,
    keep: Annotated[
        str, typer.Option(help="With --pruning: shares of the visual tokens that are kept.")
    ] = "0.5,0.25,0.11,0.05",
    relevance: Annotated[
        str,
        typer.Option(
            help="With --pruning, for methods that look at the question: auto (the checkpoint's "
            "text tower, if it has one, with CLIP's sign), aligned (the same, for towers whose "
            "patches were trained to agree with their names), or language (input embeddings)."
        ),
    ] = "auto",
    keep_positions: Annotated[
        bool,
        typer.Option(
            "--keep-positions",
            help="With --pruning: kept tokens and text stand where they would without pruning, as "
            "a server's engine.keep_positions has it.",
        ),
    ] = False,
    markdown: Annotated[
        Path | None,
        typer.Option(help="With --pruning: write a page with table and plot there, as Markdown."),
    ] = None,
) -> None:
    """Exact-match accuracy on held-out synthetic pictures, by kind of question.

    The pictures are drawn on the spot, with seeds and pairs of colour and shape that no training
    picture has. An answer counts if it is the expected word to the letter. The API key, if the
    server wants one, is read from the variable SACCADE_API_KEY.

    Examples:

      saccade eval --per-kind 50 --plot accuracy.png
      saccade eval --url http://127.0.0.1:9000 --kinds colour,count
      saccade eval --checkpoint models/saccade-tiny --dtype bfloat16 --json bf16.json
      saccade eval --checkpoint models/saccade-tiny --pruning all --keep 0.25,0.11 --plot kept.png
    """
    from rich.console import Console

    from saccade.training.evaluation import report, scores
    from saccade.training.evaluation.answering import AnswerError, DirectAnswerer, HttpAnswerer
    from saccade.training.evaluation.items import items

    wanted = _kinds(kinds)
    if dtype not in ("float32", "bfloat16"):
        fail(f"--dtype {dtype}: float32 or bfloat16", 2)
    for target in (json_file, plot, markdown):
        if target is not None and not target.parent.is_dir():
            fail(f"{target}: there is no folder {target.parent}", 2)
    if relevance not in ("auto", "aligned", "language"):
        fail(f"--relevance {relevance}: auto, aligned or language", 2)
    if pruning is not None:
        if checkpoint is None:
            fail("--pruning needs --checkpoint: a server prunes as it is configured", 2)
        options = SweepOptions(
            checkpoint, read_methods(pruning), read_ratios(keep), relevance, keep_positions, dtype,
            json_file, plot, markdown,
        )  # fmt: skip
        evaluate_pruning(list(items(wanted, per_kind, seed)), options)
        return
    subject = str(checkpoint) if checkpoint else url
    try:
        answerer: Answerer = (
            DirectAnswerer(checkpoint, dtype)
            if checkpoint
            else HttpAnswerer(url, model, os.environ.get("SACCADE_API_KEY"), concurrency)
        )
        asked = list(items(wanted, per_kind, seed))
        answers = _answers(answerer, asked, "asking")
        blinds = _answers(answerer, [i.blind() for i in asked], "blind") if blind else None
    except AnswerError as error:
        fail(str(error))
    verdicts = scores.judge(asked, answers, blinds)
    lines = scores.table(verdicts)
    Console().print(report.as_table(lines, f"{subject}, seed {seed}"))
    if json_file is not None:
        about = {"subject": subject, "seed": seed, "per_kind": per_kind, "kinds": wanted}
        about |= {"dtype": dtype} if checkpoint else {}
        json_file.write_text(report.as_json(lines, verdicts, about), encoding="utf-8")
    if plot is not None:
        report.draw(lines, subject, plot)


def _kinds(text: str | None) -> list[str]:
    from saccade.training.evaluation.items import KINDS

    wanted = [k.strip() for k in text.split(",")] if text else list(KINDS)
    unknown = [kind for kind in wanted if kind not in KINDS]
    if unknown:
        fail(f"--kinds: there is no kind {unknown[0]!r}; the kinds are {', '.join(KINDS)}", 2)
    return wanted


def _answers(answerer: "Answerer", asked: "Sequence[Item]", title: str) -> list[str]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    async def collect() -> list[str]:
        answers = [""] * len(asked)
        with Progress(
            TextColumn("{task.description:>7}"), BarColumn(), MofNCompleteColumn(),
            TimeRemainingColumn(), console=Console(stderr=True), transient=True,
        ) as progress:  # fmt: skip
            bar = progress.add_task(title, total=len(asked))
            async for number, answer in answerer.answers(asked):
                answers[number] = answer
                progress.advance(bar)
        return answers

    return asyncio.run(collect())
