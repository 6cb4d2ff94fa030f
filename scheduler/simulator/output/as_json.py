"""Runs as JSON."""

import json
import math
from collections.abc import Sequence
from typing import Any

from saccade.scheduler.simulator.output.rows import LATENCY, SERVICE
from saccade.scheduler.simulator.runs import Interval, grouped
from saccade.scheduler.simulator.scenario import SIMULATED, Outcome, Scenario


def as_json(outcomes: Sequence[Outcome], scenarios: Sequence[Scenario]) -> str:
    """Summary with intervals, then every run. Same runs, same bytes; what is no number is null."""
    content = {
        "simulation": True,
        "note": SIMULATED,
        "settings": _settings(scenarios[0]),
        "summary": [_summary(key, runs) for key, runs in grouped(outcomes).items()],
        "runs": [outcome.to_json() for outcome in outcomes],
    }
    return json.dumps(_clean(content), indent=1, allow_nan=False)


def _settings(scenario: Scenario) -> dict[str, Any]:
    return {
        "gpu": scenario.gpu,
        "model": scenario.model,
        "num_instances": scenario.num_instances,
        "noise_sigma": scenario.noise_sigma,
        "duration_s": scenario.workload.duration_s,
        "image_ratio": scenario.workload.image_ratio,
        "slo_of_scale_1": {
            modality: {"ttft_s": slo.ttft_s, "tpot_s": slo.tpot_s}
            for modality, slo in scenario.slos
        },
    }


def _summary(key: tuple[str, float], runs: Sequence[Outcome]) -> dict[str, Any]:
    values = {}
    for column in (*LATENCY, *SERVICE):
        interval = Interval.of(column.value(one) * column.factor for one in runs)
        values[column.name] = {"mean": interval.mean, "half_width_95": interval.half_width}
    return {"policy": key[0], "rate": key[1], "num_seeds": len(runs), "values": values}


def _clean(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _clean(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    return value
