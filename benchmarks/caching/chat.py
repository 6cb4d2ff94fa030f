"""Several turns about one picture, and many users with the same picture."""

import asyncio
import statistics
from dataclasses import dataclass

import httpx2

from benchmarks.caching.asking import Answer, Message, a_client, ask, metric, picture_message
from tests.integration.pictures import data_url, drawn

ENCODES = 'saccade_stage_seconds_count{stage="encode"}'
QUESTIONS = (
    "What is in the picture?",
    "Which colours are there?",
    "How many shapes are there?",
    "What is on the left?",
    "What is on the right?",
    "Is anything red?",
)


@dataclass(frozen=True)
class Outcome:
    """Of one server, times in seconds."""

    first_ttft_s: float
    """Median over pictures, of the first request about each."""
    later_ttft_s: float
    """Median over all the others."""
    cached_ratio: float
    """Of the later requests' prompt tokens."""
    encodes: int | None
    """By metric; None for a server that has none."""
    num_pictures: int


async def turns(url: str, num_pictures: int, num_turns: int, seed: int, *, ours: bool) -> Outcome:
    """One conversation after the other, each about a picture of its own."""
    async with a_client(url) as client:
        before = await metric(client, ENCODES)
        talks = [
            await _talk(client, data_url(drawn(seed + number)), num_turns)
            for number in range(num_pictures)
        ]
        encodes = round(await metric(client, ENCODES) - before) if ours else None
    return _outcome([talk[0] for talk in talks], [a for talk in talks for a in talk[1:]], encodes)


async def _talk(client: httpx2.AsyncClient, url: str, num_turns: int) -> list[Answer]:
    messages: list[Message] = []
    answers = []
    for turn in range(num_turns):
        question = QUESTIONS[turn % len(QUESTIONS)]
        asked: Message = {"role": "user", "content": question}
        messages.append(asked if turn else picture_message(url, question))
        answers.append(await ask(client, messages, max_tokens=16))
        messages.append({"role": "assistant", "content": answers[-1].text or "?"})
    return answers


async def users(url: str, num_pictures: int, num_users: int, seed: int, *, ours: bool) -> Outcome:
    """After the first has asked about a picture, the others ask, four at a time."""
    limit = asyncio.Semaphore(4)
    async with a_client(url) as client:

        async def one(picture: str, number: int) -> Answer:
            async with limit:
                message = picture_message(picture, QUESTIONS[number % len(QUESTIONS)])
                return await ask(client, [message], max_tokens=16)

        before = await metric(client, ENCODES)
        first, later = [], []
        for number in range(num_pictures):
            picture = data_url(drawn(seed + number))
            first.append(await one(picture, 0))
            later += await asyncio.gather(*(one(picture, 1 + n) for n in range(num_users - 1)))
        encodes = round(await metric(client, ENCODES) - before) if ours else None
    return _outcome(first, later, encodes)


def _outcome(first: list[Answer], later: list[Answer], encodes: int | None) -> Outcome:
    return Outcome(
        statistics.median(one.ttft_s for one in first),
        statistics.median(one.ttft_s for one in later),
        sum(one.cached_tokens for one in later) / sum(one.prompt_tokens for one in later),
        encodes,
        len(first),
    )
