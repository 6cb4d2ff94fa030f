"""Where the gateway gets visual tokens from."""

import asyncio
from dataclasses import replace

import pytest

from saccade.encoders.base import VisualLayout
from saccade.scheduler.cluster import Role
from saccade.scheduler.placement import Placement
from saccade.serving.caches.keys import PictureId, bytes_key, cache_salt
from saccade.serving.config.visual_cache import VisualCacheConfig
from saccade.serving.errors import InternalError, InvalidRequestError
from saccade.serving.gateway.context import PlannedPruning, RequestContext
from saccade.serving.gateway.instances import Encoded
from saccade.serving.instance.pruning import PruningOrder
from saccade.serving.media.load import Encodable
from tests.unit.gateway.fakes import (
    NUM_BYTES,
    NUM_VISUAL_TOKENS,
    SPLIT,
    TOKENS,
    WHOLE,
    Cluster,
    FakeInstance,
    Script,
    a_request,
    tokens,
)

ON = VisualCacheConfig()
THREE_ENCODERS: dict[str, frozenset[Role]] = SPLIT | {
    "encode-1": frozenset({"encode"}),
    "encode-2": frozenset({"encode"}),
}


def stages(context: RequestContext) -> list[tuple[str, str, str | None]]:
    return [
        (stage["stage"], stage["instance"], stage.get("cache"))
        for stage in context.explanation()["stages"]
    ]


def hits(cluster: Cluster, tier: str = "shared") -> float:
    return cluster.metric("visual_cache_hits_total", tier=tier)


async def test_a_picture_that_was_encoded_is_not_sent_to_an_encoder_again() -> None:
    cluster, second = Cluster(visual_cache=ON), a_request(num_pictures=1)
    await cluster.answer(a_request(num_pictures=1))
    await cluster.answer(second)
    assert cluster.world.count("encode") == 1
    assert cluster.fakes["decode-0"].seen == [("a", ["tokens of messages[0].content[0]"])] * 2
    assert stages(second)[0] == ("encode", "gateway", "shared")
    assert (hits(cluster), cluster.metric("visual_cache_misses_total")) == (1, 1)
    assert cluster.metric("visual_cache_saved_seconds_total", tier="shared") == 0.005
    assert cluster.metric("stage_seconds_count", stage="encode") == 1
    assert cluster.metric("visual_tokens_total", stage="in") == 2 * NUM_VISUAL_TOKENS
    held = {"instance": "gateway", "tier": "shared"}
    assert cluster.metric("visual_cache_bytes", **held) == NUM_BYTES


async def test_a_thousand_requests_at_once_encode_once() -> None:
    cluster = Cluster(THREE_ENCODERS, visual_cache=ON)
    contexts = [a_request(num_pictures=1) for _ in range(1000)]
    answers = await asyncio.gather(
        *(cluster.answer(context, str(index)) for index, context in enumerate(contexts))
    )
    assert all(tokens(answer) == list(TOKENS) for answer in answers)
    assert cluster.world.count("encode") == 1
    assert cluster.metric("visual_cache_joins_total") == 999
    assert stages(contexts[-1])[0] == ("encode", "encode-0", "joined")


async def test_one_picture_twice_in_a_request_is_encoded_once() -> None:
    cluster, context = Cluster(visual_cache=ON), a_request(num_pictures=1)
    context.pictures *= 2
    await cluster.answer(context)
    assert cluster.world.count("encode") == 1


async def test_tenants_share_nothing() -> None:
    cluster = Cluster(visual_cache=ON)
    await asyncio.gather(
        cluster.answer(a_request(1, tenant="a"), "a"), cluster.answer(a_request(1, tenant="b"), "b")
    )
    assert cluster.metric("visual_cache_misses_total") == 2
    assert cluster.fakes["encode-0"].identities == [
        PictureId(cache_salt(tenant), "hash-0") for tenant in "ab"
    ]


async def test_without_a_cache_everything_is_encoded_each_time_and_nothing_is_kept() -> None:
    cluster = Cluster()
    for _ in range(2):
        await cluster.answer(a_request(num_pictures=1))
    assert cluster.fakes["encode-0"].identities == [None, None]
    assert cluster.visual.stats() == {}


async def test_the_warm_up_reaches_the_encoder_whatever_is_kept() -> None:
    cluster = Cluster(visual_cache=ON)
    for _ in range(2):
        context = a_request(num_pictures=1)
        context.pinned = Placement("prefill-0", "decode-0", encode=("encode-0",))
        await cluster.answer(context)
    assert cluster.fakes["encode-0"].identities == [None, None]
    assert cluster.metric("visual_cache_misses_total") == 0


async def test_what_is_shared_no_more_is_asked_of_who_encoded_it() -> None:
    config = VisualCacheConfig(shared_bytes=0)
    cluster = Cluster(THREE_ENCODERS, visual_cache=config)
    # All three have had something.
    await cluster.answer(a_request(num_pictures=3))
    for _ in range(3):
        await cluster.answer(a_request(num_pictures=3))
    asked = {name: cluster.world.count("encode", name) for name in THREE_ENCODERS}
    assert [asked[f"encode-{index}"] for index in range(3)] == [4, 4, 4]


async def test_who_has_gone_is_not_asked_for_what_it_held() -> None:
    cluster = Cluster(THREE_ENCODERS, visual_cache=VisualCacheConfig(shared_bytes=0))
    await cluster.answer(a_request(num_pictures=1))
    cluster.instances["encode-0"].alive = False
    await cluster.answer(a_request(num_pictures=1))
    assert cluster.world.count("encode", "encode-0") == 1


async def test_after_a_restart_who_has_a_picture_on_its_disk_is_asked() -> None:
    cluster = Cluster(THREE_ENCODERS, visual_cache=ON)
    kept = bytes_key(PictureId(cache_salt("default"), "hash-0"), "revision")
    cluster.instances["encode-2"].encoder_revision = "revision"
    cluster.instances["encode-2"].kept_at_start = frozenset({kept})
    await cluster.answer(a_request(1, tenant="another"))
    assert cluster.world.count("encode", "encode-2") == 0
    await cluster.answer(a_request(1))
    assert cluster.world.count("encode", "encode-2") == 1


async def test_a_hit_of_an_instance_is_counted_as_that() -> None:
    class Remembering(FakeInstance):
        async def encode(
            self, picture: Encodable, identity: PictureId | None, pruning: PruningOrder | None
        ) -> Encoded:
            encoded = await super().encode(picture, identity, pruning)
            return replace(encoded, source="disk", preprocess_ms=0.0, encode_ms=0.0, saved_ms=4.0)

    cluster, context = Cluster(visual_cache=ON), a_request(num_pictures=1)
    cluster.instances["encode-0"].client = Remembering("encode-0", cluster.world)
    await cluster.answer(context)
    assert stages(context)[0] == ("encode", "encode-0", "disk")
    assert hits(cluster, "disk") == 1
    assert cluster.metric("visual_cache_saved_seconds_total", tier="disk") == 0.004
    assert cluster.metric("visual_cache_misses_total") == 0
    assert cluster.metric("stage_seconds_count", stage="encode") == 0


async def test_an_error_names_the_place_in_the_request_of_each_who_waited() -> None:
    class Refusing(FakeInstance):
        async def encode(
            self, picture: Encodable, identity: PictureId | None, pruning: PruningOrder | None
        ) -> Encoded:
            await super().encode(picture, identity, pruning)
            raise InvalidRequestError("broken", param=picture.param, code="invalid_image")

    cluster = Cluster(visual_cache=ON)
    cluster.instances["encode-0"].client = Refusing("encode-0", cluster.world)
    one, other = a_request(num_pictures=1), a_request(num_pictures=1)
    [pending] = other.pictures
    part = replace(pending.picture.part, param="messages[7].content[3]")
    other.pictures = (replace(pending, picture=replace(pending.picture, part=part)),)  # type: ignore[arg-type]
    errors = await asyncio.gather(
        cluster.answer(one, "a"), cluster.answer(other, "b"), return_exceptions=True
    )
    assert [getattr(error, "param", None) for error in errors] == [
        "messages[0].content[0]", "messages[7].content[3]",
    ]  # fmt: skip
    assert cluster.world.count("encode") == 1


async def test_who_leaves_while_a_picture_is_encoded_does_not_disturb_who_stays() -> None:
    cluster = Cluster(visual_cache=ON)
    one, other = a_request(num_pictures=1), a_request(num_pictures=1)
    leaving = asyncio.ensure_future(cluster.until(cluster.answer(one, "a"), one))
    staying = asyncio.ensure_future(cluster.answer(other, "b"))
    for _ in range(3):
        await asyncio.sleep(0)
    leaving.cancel()
    assert tokens(await staying) == list(TOKENS)
    assert cluster.world.count("encode") == 1


@pytest.mark.parametrize("resident", [SPLIT, WHOLE], ids=["split", "whole"])
async def test_visual_tokens_that_were_lost_are_encoded_again(
    resident: dict[str, frozenset[Role]],
) -> None:
    cluster = Cluster(resident, Script(), visual_cache=ON)
    await cluster.answer(a_request(num_pictures=1))
    cluster.world.script.lost_stagings = 1
    answer = await cluster.answer(a_request(num_pictures=1))
    assert tokens(answer) == list(TOKENS)
    assert cluster.world.count("encode") == 2


async def test_clearing_one_tenant_leaves_the_other() -> None:
    cluster = Cluster(visual_cache=ON)
    for tenant in "ab":
        await cluster.answer(a_request(1, tenant=tenant))
    assert await cluster.visual.clear(cache_salt("a")) == 2  # here, and on the instance
    await cluster.answer(a_request(1, tenant="b"))
    assert hits(cluster) == 1
    await cluster.answer(a_request(1, tenant="a"))
    assert cluster.metric("visual_cache_misses_total") == 3


def pruned(context: RequestContext, key: str, num_tokens: int, *, is_exact: bool = True) -> None:
    """Let a request's pictures be pruned."""
    order = PruningOrder("[]", None, VisualLayout(NUM_VISUAL_TOKENS))
    planned = PlannedPruning(order, num_tokens, is_exact, key)
    context.pictures = tuple(replace(one, pruning=planned) for one in context.pictures)


async def test_tokens_that_were_chosen_otherwise_are_not_taken_for_each_other() -> None:
    cluster = Cluster(visual_cache=ON, script=Script(num_visual_tokens=5))
    for key in ("one question", "another", "one question"):
        context = a_request(num_pictures=1)
        pruned(context, key, 5)
        await cluster.answer(context)
        assert context.num_visual_tokens_kept == 5
    assert cluster.world.count("encode") == 2
    assert cluster.metric("visual_tokens_total", stage="in") == 3 * NUM_VISUAL_TOKENS
    assert cluster.metric("visual_tokens_total", stage="kept") == 15


async def test_another_question_goes_to_the_instance_that_has_the_picture() -> None:
    cluster = Cluster(THREE_ENCODERS, visual_cache=ON, script=Script(num_visual_tokens=5))
    for key in "abcdef":
        context = a_request(num_pictures=1)
        pruned(context, key, 5)
        await cluster.answer(context)
    assert cluster.world.count("encode", "encode-0") == 6


@pytest.mark.parametrize(
    ("num_tokens", "is_exact", "fails"),
    [(5, True, False), (6, True, True), (6, False, False), (4, False, True)],
)
async def test_what_is_left_must_be_what_was_planned_or_within_its_bound(
    num_tokens: int, is_exact: bool, fails: bool
) -> None:
    cluster, context = Cluster(script=Script(num_visual_tokens=5)), a_request(num_pictures=1)
    pruned(context, "key", num_tokens, is_exact=is_exact)
    if fails:
        with pytest.raises(InternalError):
            await cluster.answer(context)
    else:
        assert tokens(await cluster.answer(context)) == list(TOKENS)


def stepped(num_pictures: int = 1) -> RequestContext:
    """A request with clips of two steps that stand apart."""
    context = a_request(num_pictures=num_pictures)
    context.pictures = tuple(replace(one, stamps_s=(0.5, 1.5)) for one in context.pictures)
    return context


async def test_steps_that_stand_apart_are_reserved_evenly_and_counted_when_they_are_there() -> None:
    cluster = Cluster(visual_cache=ON, script=Script(num_visual_tokens=5, step_counts=(0, 5)))
    half = NUM_VISUAL_TOKENS // 2
    assert await cluster.dispatcher.visual_token_counts(stepped()) == [(half, half)]
    for _ in range(2):  # encoded, then shared
        context = stepped()
        pruned(context, "key", 5)
        assert context.pictures[0].reserved_counts == (3, 3)
        assert await cluster.dispatcher.visual_token_counts(context) == [(0, 5)]


@pytest.mark.parametrize("step_counts", [(), (5,), (1, 2, 2)])
async def test_another_number_of_steps_than_the_prompt_says_is_an_error(
    step_counts: tuple[int, ...],
) -> None:
    cluster = Cluster(script=Script(num_visual_tokens=5, step_counts=step_counts))
    context = stepped()
    pruned(context, "key", 5)
    with pytest.raises(InternalError):
        await cluster.answer(context)
