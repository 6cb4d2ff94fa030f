"""The log of a run as a picture."""

from collections import defaultdict
from pathlib import Path

from saccade.training.recipe.log import read_log


def draw_curves(log: Path, picture: Path) -> None:
    """Losses on the left, on a logarithmic scale; scores on held-out pictures on the right."""
    from cycler import cycler
    from matplotlib.figure import Figure

    styles = cycler(linestyle=["-", "--"]) * cycler(color=[f"C{number}" for number in range(10)])
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for entry in read_log(log):
        for name, value in entry.items():
            if name not in ("step", "elapsed_s", "learning_rate", "gradient norm"):
                curves[name].append((entry["step"], value))
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    for axis in (losses, scores):
        axis.set_prop_cycle(styles)
    for name, points in curves.items():
        measured = name.startswith("held-out ")
        axis = scores if measured else losses
        axis.plot(*zip(*points, strict=True), label=name.removeprefix("held-out "), linewidth=1.2)
    losses.set(title="Training loss", xlabel="step", yscale="log")
    scores.set(title="Held-out pictures", xlabel="step", ylim=(0, 1.02))
    for axis, corner in ((losses, "lower left"), (scores, "lower right")):
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize=8, loc=corner)
    figure.savefig(picture, dpi=110)
