"""Workloads by name: presets, and files by their format."""

import math
from collections.abc import Callable
from pathlib import Path

from saccade.scheduler.simulator.errors import SimulatorError
from saccade.scheduler.simulator.workloads import presets
from saccade.scheduler.simulator.workloads.base import ScaledWorkload, Workload
from saccade.scheduler.simulator.workloads.readers import FORMATS, format_of, open_trace

PRESETS: dict[str, Callable[..., Workload]] = {
    "sharegpt4o": presets.sharegpt4o,
    "visualwebinstruct": presets.visualwebinstruct,
    "servegen": presets.servegen,
    "azure-lmm": presets.azure_lmm,
    "image-burst": presets.image_burst,
    "text-burst": presets.text_burst,
    "antiphase": presets.antiphase,
}


def preset(
    name: str, rate_per_s: float, duration_s: float, image_ratio: float | None = None
) -> Workload:
    """The synthetic workload `name` at a mean rate; SimulatorError when there is no such one."""
    if name not in PRESETS:
        raise SimulatorError(
            f"there is no workload {name!r}; the workloads are {', '.join(PRESETS)}, "
            f"or give a file with --trace (formats: {', '.join(FORMATS)})"
        )
    if not (0 < rate_per_s < math.inf and 0 < duration_s < math.inf):
        raise SimulatorError(
            f"a rate of {rate_per_s:g} requests/s over {duration_s:g} s is not possible: "
            "both must be above 0 and finite"
        )
    if image_ratio is None:
        return PRESETS[name](rate_per_s, duration_s)
    if not 0 <= image_ratio <= 1:
        raise SimulatorError(f"an image ratio of {image_ratio} is not possible: give 0 to 1")
    return PRESETS[name](rate_per_s, duration_s, image_ratio)


def recorded(
    path: Path,
    format_name: str | None = None,
    *,
    speed: float = 1.0,
    limit_s: float = float("inf"),
    limit_requests: int | None = None,
) -> Workload:
    """A trace file (or ServeGen folder), `speed` times as fast, cut to size."""
    if not (0 < speed < math.inf and limit_s > 0):
        raise SimulatorError(
            f"{limit_s:g} s at a speed of {speed:g} are not possible: both must be above 0"
        )
    trace = open_trace(path, format_name or format_of(path))
    return ScaledWorkload(trace, speed, limit_s, limit_requests)
