from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import pytest_asyncio

from saccade.serving.instance.staging import StagedVisualTokens
from tests.unit.loop_clock import LoopClock

if TYPE_CHECKING:
    from saccade.encoders.base import VisualTokens

LIFETIME_S = 120.0


def visual_tokens(*names: str) -> "Sequence[VisualTokens]":
    """What is staged is never looked into."""
    return cast("Sequence[VisualTokens]", names)


def take(staged: StagedVisualTokens, request_key: str) -> tuple[object, ...]:
    return tuple(staged.take(request_key))


@pytest_asyncio.fixture
async def clock() -> LoopClock:
    return LoopClock()


async def test_what_is_staged_is_taken_once() -> None:
    staged = StagedVisualTokens(LIFETIME_S)
    staged.put("r", visual_tokens("a", "b"))
    assert take(staged, "r") == ("a", "b")
    assert take(staged, "r") == ()
    assert len(staged) == 0


async def test_a_request_without_pictures_takes_nothing() -> None:
    assert take(StagedVisualTokens(LIFETIME_S), "r") == ()


async def test_requests_do_not_share_what_is_staged() -> None:
    staged = StagedVisualTokens(LIFETIME_S)
    staged.put("r/0", visual_tokens("a"))
    staged.put("r/1", visual_tokens("b"))
    assert take(staged, "r/1") == ("b",)
    assert take(staged, "r/0") == ("a",)


async def test_what_nobody_takes_is_dropped(clock: LoopClock) -> None:
    staged = StagedVisualTokens(LIFETIME_S)
    staged.put("r", visual_tokens("a"))
    await clock.advance(LIFETIME_S - 1)
    assert len(staged) == 1
    await clock.advance(1)
    assert len(staged) == 0
    assert take(staged, "r") == ()


async def test_staging_again_replaces_what_was_there_and_starts_its_time_anew(
    clock: LoopClock,
) -> None:
    staged = StagedVisualTokens(LIFETIME_S)
    staged.put("r", visual_tokens("a"))
    await clock.advance(LIFETIME_S - 1)
    staged.put("r", visual_tokens("b"))
    assert len(staged) == 1
    await clock.advance(LIFETIME_S - 1)
    assert take(staged, "r") == ("b",)


async def test_the_timer_of_what_was_taken_does_not_drop_what_comes_later(clock: LoopClock) -> None:
    staged = StagedVisualTokens(LIFETIME_S)
    staged.put("r", visual_tokens("a"))
    staged.take("r")
    await clock.advance(LIFETIME_S - 1)
    staged.put("r", visual_tokens("b"))
    await clock.advance(2)
    assert take(staged, "r") == ("b",)
