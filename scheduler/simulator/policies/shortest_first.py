"""Shortest first by the size of the modality, as RPS-Serve: sand before pebbles before rocks.

A coupled engine of today whose waiting queue is ordered by class. A class may only overtake within
its head start: the order is arrival plus the class's penalty, which is what linear ageing amounts
to, so that nobody starves.
"""

from saccade.scheduler.simulator.job import Job
from saccade.scheduler.simulator.policies.coupled_vllm_today import CoupledVllmToday

_PEBBLE_TOKENS = 512
_ROCK_TOKENS = 2048
_PEBBLE_PENALTY_S = 2.0
_ROCK_PENALTY_S = 5.0


class ShortestFirst(CoupledVllmToday):
    name = "shortest-first"
    title = "shortest first by modality size (RPS-Serve), coupled"

    def prefill_order(self, job: Job) -> float:
        tokens = job.request.input_tokens
        if tokens < _PEBBLE_TOKENS:
            return job.request.arrival_s
        penalty_s = _PEBBLE_PENALTY_S if tokens < _ROCK_TOKENS else _ROCK_PENALTY_S
        return job.request.arrival_s + penalty_s
