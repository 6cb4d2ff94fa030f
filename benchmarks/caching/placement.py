"""Prompts that share beginnings, over four prefill instances whose caches do not hold them all."""

import asyncio
import random
import statistics
from dataclasses import dataclass

from benchmarks.caching.asking import Answer, a_client, ask, metric, words

PREFIX_WORDS = 160


@dataclass(frozen=True)
class Workload:
    """Requests in a closed loop; the beginnings are popular as 1/rank."""

    num_prefixes: int
    num_requests: int
    num_clients: int
    seed: int = 7


@dataclass(frozen=True)
class Outcome:
    """Of one placement."""

    hit_ratio: float
    """Cached of all prompt tokens."""
    median_ttft_s: float
    p90_ttft_s: float
    expected_tokens: int
    cached_tokens: int
    too_many_tokens: int


async def run(url: str, workload: Workload) -> Outcome:
    """Each request is one of the beginnings and a question of its own."""
    source = random.Random(workload.seed)
    ranks = range(1, workload.num_prefixes + 1)
    chosen = source.choices(ranks, [1 / rank for rank in ranks], k=workload.num_requests)
    todo = list(enumerate(chosen))[::-1]
    answers: list[Answer] = []
    async with a_client(url) as client:
        names = (
            "saccade_prefix_expected_tokens_total",
            "saccade_prefix_cached_tokens_total",
            'saccade_prefix_misjudged_tokens_total{direction="too_many"}',
        )
        before = [await metric(client, name) for name in names]

        async def work() -> None:
            while todo:
                number, rank = todo.pop()
                messages = [
                    {"role": "system", "content": words(1000 + rank, PREFIX_WORDS)},
                    {"role": "user", "content": words(number, 6)},
                ]
                answers.append(await ask(client, messages, max_tokens=8))

        await asyncio.gather(*(work() for _ in range(workload.num_clients)))
        grown = [
            round(await metric(client, name) - value)
            for name, value in zip(names, before, strict=True)
        ]
    times = [answer.ttft_s for answer in answers]
    return Outcome(
        sum(a.cached_tokens for a in answers) / sum(a.prompt_tokens for a in answers),
        statistics.median(times),
        statistics.quantiles(times, n=10)[-1],
        *grown,
    )
