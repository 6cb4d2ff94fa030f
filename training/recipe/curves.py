"""The log of a run as a picture."""

from collections import defaultdict
from pathlib import Path

from saccade.training.recipe.log import read_log

COLOURS = 10
"""Of matplotlib's own cycle; after them they come again, dashed."""


def draw_curves(log: Path, picture: Path) -> None:
    """Losses on the left, on a logarithmic scale; scores on held-out pictures on the right."""
    from matplotlib.figure import Figure

    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for entry in read_log(log):
        for name, value in entry.items():
            if name not in ("step", "elapsed_s", "learning_rate", "gradient norm"):
                curves[name].append((entry["step"], value))
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    for name, points in curves.items():
        measured = name.startswith("held-out ")
        axis = scores if measured else losses
        number = len(axis.lines)
        axis.plot(
            *zip(*points, strict=True),
            label=name.removeprefix("held-out "),
            linewidth=1.2,
            color=f"C{number}",
            linestyle="-" if number < COLOURS else "--",
        )
    losses.set(title="Training loss", xlabel="step", yscale="log")
    scores.set(title="Held-out pictures", xlabel="step", ylim=(0, 1.02))
    for axis, corner in ((losses, "lower left"), (scores, "lower right")):
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize=8, loc=corner)
    figure.savefig(picture, dpi=110)
