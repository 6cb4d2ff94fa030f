"""`saccade dataset`: look at the synthetic pictures and questions."""

from pathlib import Path
from typing import Annotated

import typer

from saccade.serving.cli.options import fail

app = typer.Typer(help="The synthetic pictures and questions.", no_args_is_help=True)


@app.command()
def preview(
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG file to write.")] = Path(
        "dataset-preview.png"
    ),
    split: Annotated[
        str, typer.Option(help="train or held-out: other seeds, other pairs of colour and shape.")
    ] = "train",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same file.")] = 0,
    stills: Annotated[int, typer.Option(min=0, max=200, help="Pictures to show.")] = 12,
    clips: Annotated[int, typer.Option(min=0, max=50, help="Clips to show, a row each.")] = 3,
    questions: Annotated[
        int, typer.Option(min=1, max=16, help="Questions beside each picture.")
    ] = 6,
) -> None:
    """Write a contact sheet: pictures with questions and answers, and clips frame by frame.

    Example: saccade dataset preview --split held-out --seed 7 -o sheet.png
    """
    from saccade.training.data import Split
    from saccade.training.data.preview import contact_sheet

    if split not in list(Split):
        fail(f"--split {split}: {' or '.join(Split)}", 2)
    if stills + clips == 0:
        fail("nothing to show: give --stills or --clips", 2)
    sheet = contact_sheet(Split(split), seed, stills, clips, questions)
    try:
        sheet.save(output, "PNG")
    except OSError as error:
        fail(f"{output}: {error.strerror or error}")
    typer.echo(f"{output}: {stills} pictures and {clips} clips of the {split} split, seed {seed}")
