"""A batch that decodes, advanced analytically.

Between two changes of the batch each step makes every context one token longer, so that step k
takes a + k b seconds. Where the batch stands at any moment follows without visiting the steps:
one event for a change instead of one for a token.
"""

import heapq
from typing import NamedTuple

from saccade.scheduler.simulator.costs import Costs, steps_s, steps_within
from saccade.scheduler.simulator.job import Job


class Outlook(NamedTuple):
    """What a batch has before it."""

    num_sequences: int
    context_tokens: int
    remaining_tokens: int
    inverse_outputs: float
    """Sum of 1/output_len."""
    remaining_ratio: float
    """Sum of remaining/output_len."""


class DecodeBatch:
    """Sequences that decode together. `steps` were done when the clock showed `base_s`."""

    __slots__ = ("_costs", "_finish", "_finish_ratio", "_finish_sum", "_first_s", "_growth_s",
                 "_inverse_sum", "_joined", "base_s", "busy_s", "context_tokens",
                 "steps")  # fmt: skip

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self.base_s = 0.0
        self.steps = 0
        self.context_tokens = 0
        self.busy_s = 0.0
        self._joined: dict[int, tuple[Job, int, int]] = {}  # key -> job, joined at, finishes at
        self._finish: list[tuple[int, int]] = []  # heap of (finishing step, key)
        self._first_s = self._growth_s = 0.0
        # Over the sequences: of finishing steps, of 1/output, and of finishing step/output.
        self._finish_sum = 0
        self._inverse_sum = self._finish_ratio = 0.0

    def __len__(self) -> int:
        return len(self._joined)

    def __contains__(self, job: Job) -> bool:
        return job.key in self._joined

    def jobs(self) -> list[Job]:
        return [entry[0] for entry in self._joined.values()]

    def outlook(self, now_s: float | None) -> Outlook:
        """Sums over the batch without a look at each; `now_s` is None while decoding is halted."""
        steps = 0
        if now_s is not None and self._joined:
            steps = steps_within(self._first_s, self._growth_s, now_s - self.base_s)
            steps = min(steps, self._steps_to_finish())
        count, done = len(self._joined), self.steps + steps
        return Outlook(
            count,
            self.context_tokens + steps * count,
            self._finish_sum - done * count,
            self._inverse_sum,
            max(0.0, self._finish_ratio - done * self._inverse_sum),
        )

    def add(self, job: Job) -> None:
        """From the step at `base_s` on; its context counts from now."""
        finish = self.steps + job.remaining_tokens
        self._joined[job.key] = (job, self.steps, finish)
        heapq.heappush(self._finish, (finish, job.key))
        self.context_tokens += job.context_tokens
        self._sum(job, finish, 1)
        self._refit()

    def remove(self, job: Job) -> None:
        """Take it out with the tokens that it has got so far."""
        self._take(job.key)
        self._refit()

    def pop_finished(self) -> list[Job]:
        """Those whose last step is done."""
        done: list[Job] = []
        while self._finish and self._finish[0][0] <= self.steps:
            finish, key = heapq.heappop(self._finish)
            if self._is_due(finish, key):
                done.append(self._take(key))
        if done:
            self._refit()
        return done

    def next_finish_s(self) -> float:
        """When the first of them has its last token; the batch must not be empty."""
        return self.base_s + steps_s(self._first_s, self._growth_s, self._steps_to_finish())

    def advance_to_boundary(self, now_s: float) -> float:
        """Do the steps up to the first end of a step that is not before `now_s`; returns it."""
        span_s = now_s - self.base_s
        if span_s > 0 and self._joined:
            count = steps_within(self._first_s, self._growth_s, span_s)
            if steps_s(self._first_s, self._growth_s, count) < span_s - 1e-9:
                count += 1
            self._advance(min(count, self._steps_to_finish()))
        self.base_s = max(self.base_s, now_s)
        return self.base_s

    def advance_to_finish(self) -> None:
        """Do the steps until the first sequence has its last token."""
        self._advance(self._steps_to_finish())

    def one_step(self) -> None:
        """Count a step that ran beside a prefill; the caller knows its time."""
        self.steps += 1
        self.context_tokens += len(self._joined)
        self._refit()

    def resume(self, now_s: float) -> None:
        """Decoding goes on now, after the GPU did something else."""
        self.base_s = now_s

    def _steps_to_finish(self) -> int:
        while not self._is_due(*self._finish[0]):
            heapq.heappop(self._finish)
        return max(0, self._finish[0][0] - self.steps)

    def _is_due(self, finish: int, key: int) -> bool:
        """False for what was taken out, even when it has come back since."""
        entry = self._joined.get(key)
        return entry is not None and entry[2] == finish

    def _advance(self, count: int) -> None:
        span_s = steps_s(self._first_s, self._growth_s, count)
        self.base_s += span_s
        self.busy_s += span_s
        self.steps += count
        self.context_tokens += count * len(self._joined)
        self._first_s += count * self._growth_s

    def _take(self, key: int) -> Job:
        job, joined, finish = self._joined.pop(key)
        got = self.steps - joined
        self._sum(job, finish, -1)
        self.context_tokens -= job.context_tokens + got
        job.generated_tokens += got
        return job

    def _sum(self, job: Job, finish: int, sign: int) -> None:
        inverse = sign / job.request.output_tokens
        self._finish_sum += sign * finish
        self._inverse_sum += inverse
        self._finish_ratio += finish * inverse

    def _refit(self) -> None:
        count = len(self._joined)
        if count:
            self._first_s = self._costs.decode_step_s(count, self.context_tokens)
            self._growth_s = self._costs.decode_context_s * count
        else:
            self._finish.clear()
            self.context_tokens = self.steps = self._finish_sum = 0
            self._inverse_sum = self._finish_ratio = 0.0
