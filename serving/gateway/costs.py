"""What a prefill costs here, for placement: the scheduler's cost model, learnt as it goes."""

from dataclasses import replace

from saccade.scheduler.cost_model import UNIT, CostModel, cost_model_of
from saccade.scheduler.cost_model.calibration import Calibration
from saccade.scheduler.cost_model.profiles import Coefficients

# What stands for a prefill until one has been timed.
TYPICAL_PROMPT_TOKENS = 512
# The mean length is that of so many prefills, the latest.
_WINDOW = 50


class PrefillCosts:
    """Seconds of prefills, from measured constants at first and then from what was timed.

    Queues are counted in requests as long as nothing else is known of them; one request stands for
    a prefill of the length that is usual here. Only what is saved for what is waited matters to
    placement, so it is right on any machine once a few prefills have been timed.
    """

    def __init__(self) -> None:
        self._calibration = Calibration(cost_model_of())
        self._model = self._calibration.model
        self._mean_s = self._model.prefill_s(TYPICAL_PROMPT_TOKENS)
        self._num_observed = 0
        self._in_requests = self._scaled()

    def observe(self, tokens: int, cached_tokens: int, seconds: float) -> None:
        """One prefill that had its instance to itself."""
        self._calibration = self._calibration.prefilled([(tokens, cached_tokens)], seconds)
        self._model = self._calibration.model
        self._num_observed = min(self._num_observed + 1, _WINDOW)
        self._mean_s += (seconds - self._mean_s) / self._num_observed
        self._in_requests = self._scaled()

    def prefill_s(self, tokens: int, cached_tokens: int) -> float:
        """What a prefill should take, by all that was timed so far."""
        return self._model.prefill_s(tokens, cached_tokens)

    def saved_s(self, tokens: int, cached_tokens: int) -> float:
        """By how much shorter a prefill is whose first tokens are cached."""
        return self._model.prefill_s(tokens) - self._model.prefill_s(tokens, cached_tokens)

    @property
    def in_requests(self) -> CostModel:
        """With a usual prefill as the unit of time, as the queues are counted."""
        return self._in_requests

    def _scaled(self) -> CostModel:
        unit_s = self._mean_s / self._model.model.compute_ratio
        prefill = Coefficients(*(value / unit_s for value in self._model.gpu.prefill))
        return replace(UNIT, gpu=replace(UNIT.gpu, prefill=prefill))
