"""The analytic batch against one that visits every step."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.scheduler.simulator.costs import Costs, EngineTraits, steps_s, steps_within
from saccade.scheduler.simulator.decode import DecodeBatch
from saccade.scheduler.simulator.job import Job
from saccade.scheduler.simulator.workloads.base import TraceRequest
from tests.unit.scheduler.simulator.some_costs import SomeCosts

MODEL = SomeCosts(decode_constant_s=0.01, decode_sequence_s=2e-4, decode_context_s=3e-6)


class Arrival(NamedTuple):
    at_s: float
    prompt: int
    output: int


# Not within rounding errors of the end of a step.
times = st.integers(0, 3000).map(lambda number: number * 1e-3 + 3.7e-5)
arrivals = st.lists(
    st.builds(Arrival, times, st.integers(1, 5000), st.integers(1, 120)), max_size=12
)


def visited(given_arrivals: list[Arrival]) -> dict[int, float]:
    """When each finishes, by stepping: one token a step for all that are there at its start."""
    waiting = sorted((one.at_s, number, one) for number, one in enumerate(given_arrivals))
    running: dict[int, tuple[int, int]] = {}  # number -> context, remaining
    now_s, finished = 0.0, {}
    while waiting or running:
        if not running:
            now_s = max(now_s, waiting[0][0])
        while waiting and waiting[0][0] <= now_s + 1e-12:
            _, number, one = waiting.pop(0)
            running[number] = (one.prompt, one.output)
        now_s += MODEL.decode_step_s(len(running), sum(context for context, _ in running.values()))
        running = {n: (context + 1, left - 1) for n, (context, left) in running.items()}
        for number in [n for n, (_, left) in running.items() if left == 0]:
            finished[number] = now_s
            del running[number]
    return finished


def advanced(given_arrivals: list[Arrival]) -> dict[int, float]:
    """The same through DecodeBatch."""
    batch = DecodeBatch(Costs(MODEL, EngineTraits()))
    finished: dict[int, float] = {}

    def finish_until(limit_s: float) -> None:
        while len(batch) and batch.next_finish_s() <= limit_s:
            batch.advance_to_finish()
            for job in batch.pop_finished():
                finished[job.key] = batch.base_s

    for number, one in sorted(enumerate(given_arrivals), key=lambda entry: entry[1].at_s):
        finish_until(one.at_s)
        if not len(batch):
            batch.resume(max(one.at_s, batch.base_s))
        batch.advance_to_boundary(one.at_s)
        for job in batch.pop_finished():
            finished[job.key] = batch.base_s
        if not len(batch):
            batch.resume(max(one.at_s, batch.base_s))
        batch.add(Job(number, TraceRequest(one.at_s, one.prompt, one.output), one.prompt))
    finish_until(float("inf"))
    return finished


@given(arrivals)
def test_an_analytic_batch_finishes_everything_when_a_stepping_one_does(
    given_arrivals: list[Arrival],
) -> None:
    assert advanced(given_arrivals) == pytest.approx(visited(given_arrivals), rel=1e-6, abs=1e-6)


@given(st.floats(1e-3, 1), st.floats(0, 1e-2), st.integers(0, 5000), st.floats(0.01, 0.99))
def test_steps_within_inverts_their_time(
    first_s: float, growth_s: float, count: int, part: float
) -> None:
    next_step_s = first_s + count * growth_s
    span_s = steps_s(first_s, growth_s, count) + part * next_step_s
    assert steps_within(first_s, growth_s, span_s) == count


@given(arrivals.filter(bool), st.integers(0, 60))
def test_taking_a_sequence_out_keeps_the_tokens_that_it_got(
    given_arrivals: list[Arrival], num_steps: int
) -> None:
    batch = DecodeBatch(Costs(MODEL, EngineTraits()))
    jobs = [Job(n, TraceRequest(0, a.prompt, a.output), a.prompt) for n, a in
            enumerate(given_arrivals)]  # fmt: skip
    for job in jobs:
        batch.add(job)
    done = min([num_steps, *(one.output for one in given_arrivals)])
    for _ in range(done):
        batch.one_step()
    for job in jobs:
        batch.remove(job)
        assert job.generated_tokens == done
    assert (len(batch), batch.context_tokens) == (0, 0)


def test_a_sequence_that_comes_back_finishes_by_its_new_step() -> None:
    batch = DecodeBatch(Costs(MODEL, EngineTraits()))
    back, other = (Job(n, TraceRequest(0, 10, 40), 10) for n in range(2))
    batch.add(back)
    batch.add(other)
    for _ in range(15):
        batch.one_step()
    batch.remove(back)
    for _ in range(10):
        batch.one_step()
    batch.add(back)
    finished = []
    while len(batch):
        batch.advance_to_finish()
        finished += [(job.key, batch.steps) for job in batch.pop_finished()]
        assert all(job.generated_tokens == 40 for job in (back, other) if job not in batch)
    assert [key for key, _ in finished] == [1, 0]
