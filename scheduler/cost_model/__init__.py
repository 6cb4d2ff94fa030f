"""What a stage costs in seconds, from measured constants or from live timings."""

from saccade.scheduler.cost_model.model import CostModel, StageSeconds, cost_model_of
from saccade.scheduler.cost_model.profiles import GPUS, MODELS, UNIT_GPU, UNIT_MODEL

UNIT = CostModel(UNIT_GPU, UNIT_MODEL)
"""Every stage of a request takes a second: queues in seconds are then numbers of requests."""

__all__ = ["GPUS", "MODELS", "UNIT", "CostModel", "StageSeconds", "cost_model_of"]
