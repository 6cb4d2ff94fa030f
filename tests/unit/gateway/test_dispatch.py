import asyncio

import pytest

from saccade.scheduler.cluster import Role
from saccade.scheduler.placement import Placement
from saccade.serving.caches.keys import PictureId
from saccade.serving.errors import InternalError, InvalidRequestError, OverloadedError
from saccade.serving.gateway.context import RequestContext
from saccade.serving.gateway.instances import Encoded
from saccade.serving.instance.pruning import PruningOrder
from saccade.serving.media.load import Encodable
from tests.unit.gateway.fakes import (
    NUM_VISUAL_TOKENS,
    SPLIT,
    TOKENS,
    WHOLE,
    Cluster,
    FakeInstance,
    Pull,
    Script,
    a_request,
    an_answer,
    collect,
    some_embeds,
    tokens,
)


def stages(context: RequestContext) -> list[tuple[str, str]]:
    return [(stage["stage"], stage["instance"]) for stage in context.explanation()["stages"]]


async def test_text_goes_through_prefill_and_decode() -> None:
    cluster, context = Cluster(), a_request()
    chunks = await cluster.answer(context)
    await cluster.dispatcher.settle()
    assert tokens(chunks) == list(TOKENS)
    assert chunks[-1].finish_reason == "stop"
    assert cluster.world.calls == [("prefill-0", "prefill"), ("decode-0", "generate")]
    assert stages(context) == [("prefill", "prefill-0"), ("decode", "decode-0")]
    assert cluster.metric("kv_transfers_total") == 1


async def test_one_instance_needs_no_hand_over() -> None:
    cluster, context = Cluster(WHOLE), a_request()
    assert tokens(await cluster.answer(context)) == list(TOKENS)
    assert cluster.world.calls == [("llm-0", "generate")]
    assert cluster.world.ledger.granted == []
    assert stages(context) == [("prefill", "llm-0"), ("decode", "llm-0")]
    assert cluster.metric("kv_transfers_total") == 0


async def test_prompt_log_probabilities_stay_on_one_instance() -> None:
    cluster = Cluster(SPLIT | WHOLE)
    await collect(cluster.dispatcher.generate(a_request(), an_answer(one_instance=True)))
    assert cluster.world.calls == [("llm-0", "generate")]


async def test_a_picture_is_encoded_and_given_to_both_llm_stages() -> None:
    cluster, context = Cluster(), a_request(num_pictures=1)
    await cluster.answer(context)
    assert cluster.world.calls == [
        ("encode-0", "encode"),
        ("prefill-0", "stage"),
        ("prefill-0", "prefill"),
        ("decode-0", "stage"),
        ("decode-0", "generate"),
    ]
    seen = [("a", ["tokens of messages[0].content[0]"])]
    assert cluster.fakes["prefill-0"].seen == seen
    assert cluster.fakes["decode-0"].seen == seen


async def test_what_a_client_has_encoded_goes_to_the_llm_as_it_is() -> None:
    cluster, context = Cluster(), a_request(num_pictures=1)
    embeds = some_embeds(1)
    context.pictures = (*context.pictures, embeds)
    await cluster.answer(context)
    assert cluster.world.count("encode") == 1
    seen = [("a", ["tokens of messages[0].content[0]", embeds.given])]
    assert cluster.fakes["prefill-0"].seen == cluster.fakes["decode-0"].seen == seen


async def test_the_explanation_names_all_stages_in_order() -> None:
    cluster, context = Cluster(), a_request(num_pictures=1)
    await cluster.answer(context)
    assert stages(context) == [
        ("preprocess", "encode-0"),
        ("encode", "encode-0"),
        ("prefill", "prefill-0"),
        ("decode", "decode-0"),
    ]
    times = [stage["ms"] for stage in context.explanation()["stages"]]
    assert times == [2.0, 3.0, 0.0, 0.0]


async def test_the_time_of_a_stage_is_measured_with_the_given_clock() -> None:
    cluster, context = Cluster(), a_request()
    cluster.world.takes_s = {"prefilling": 0.5, "between chunks": 0.25}
    await cluster.answer(context)
    assert [stage["ms"] for stage in context.explanation()["stages"]] == [500.0, 750.0]


async def test_pictures_keep_their_order_and_are_encoded_on_several_instances() -> None:
    resident = SPLIT | {"encode-1": frozenset({"encode"})}
    cluster = Cluster(resident)
    await cluster.answer(a_request(num_pictures=3))
    assert cluster.world.count("encode", "encode-0") == 2
    assert cluster.world.count("encode", "encode-1") == 1
    assert cluster.fakes["decode-0"].seen == [
        ("a", [f"tokens of messages[0].content[{index}]" for index in range(3)])
    ]


@pytest.mark.parametrize("resident", [SPLIT, WHOLE], ids=["split", "whole"])
async def test_pictures_are_encoded_once_for_all_choices(
    resident: dict[str, frozenset[Role]],
) -> None:
    cluster, context = Cluster(resident), a_request(num_pictures=2)
    answers = await asyncio.gather(*(cluster.answer(context, key) for key in "abc"))
    assert [tokens(chunks) for chunks in answers] == [list(TOKENS)] * 3
    assert cluster.world.count("encode") == 2
    assert cluster.metric("visual_tokens_total", stage="in") == 2 * NUM_VISUAL_TOKENS
    assert cluster.metric("visual_tokens_total", stage="kept") == 2 * NUM_VISUAL_TOKENS


async def test_tokens_are_counted() -> None:
    cluster = Cluster()
    await cluster.answer(a_request())
    assert cluster.metric("prompt_tokens_total") == 3
    assert cluster.metric("generation_tokens_total") == len(TOKENS)


async def test_choices_have_one_hand_over_each() -> None:
    cluster, context = Cluster(), a_request()
    await asyncio.gather(*(cluster.answer(context, key) for key in "abc"))
    assert cluster.world.ledger.count() == {"pulled": 3}
    assert cluster.metric("kv_transfers_total") == 3


async def test_a_choice_that_is_cancelled_while_encoding_does_not_stop_the_others() -> None:
    cluster, context = Cluster(), a_request(num_pictures=1)
    first = asyncio.ensure_future(cluster.answer(context, "a"))
    second = asyncio.ensure_future(cluster.answer(context, "b"))
    await asyncio.sleep(0)
    first.cancel()
    assert tokens(await second) == list(TOKENS)
    assert first.cancelled()
    assert cluster.world.count("encode") == 1


async def test_a_wrong_number_of_visual_tokens_is_an_error_before_any_llm_is_bothered() -> None:
    cluster = Cluster(script=Script(num_visual_tokens=NUM_VISUAL_TOKENS - 1))
    with pytest.raises(InternalError):
        await cluster.answer(a_request(num_pictures=1))
    assert cluster.world.calls == [("encode-0", "encode")]
    assert cluster.load == 0


async def test_a_picture_that_cannot_be_decoded_is_the_clients_error() -> None:
    class Refusing(FakeInstance):
        async def encode(
            self, picture: Encodable, identity: PictureId | None, pruning: PruningOrder | None
        ) -> Encoded:
            raise InvalidRequestError("broken", param=picture.param)

    cluster = Cluster()
    cluster.instances["encode-0"].client = Refusing("encode-0", cluster.world)
    with pytest.raises(InvalidRequestError) as caught:
        await cluster.answer(a_request(num_pictures=2))
    assert caught.value.param == "messages[0].content[0]"
    assert cluster.load == 0


@pytest.mark.parametrize(
    ("step", "num_pictures"),
    [("encoding", 1), ("staging on prefill-0", 1), ("prefilling", 0), ("staging on decode-0", 1)],
)
async def test_a_stage_that_hangs_is_ended(step: str, num_pictures: int) -> None:
    cluster = Cluster(script=Script(hang=step), stage_timeout_s=0.001)
    context = a_request(num_pictures)
    with pytest.raises(InternalError):
        await cluster.until(cluster.answer(context), context)
    assert cluster.load == 0
    assert cluster.world.ledger.count()["held"] == 0


async def test_what_broke_inside_is_not_told() -> None:
    cluster = Cluster(script=Script(pulls=["dies"]))
    with pytest.raises(InternalError) as caught:
        await cluster.answer(a_request())
    assert "decode-0" not in caught.value.message


@pytest.mark.parametrize("dead", ["encode-0", "prefill-0", "decode-0"])
async def test_a_stage_whose_only_instance_is_dead_means_overload(dead: str) -> None:
    cluster = Cluster()
    cluster.instances[dead].alive = False
    with pytest.raises(OverloadedError):
        await cluster.answer(a_request(num_pictures=1))
    assert cluster.world.count("generate") == 0
    assert (dead, "encode") not in cluster.world.calls


async def test_dead_instances_get_no_work() -> None:
    cluster = Cluster(SPLIT | {"decode-1": frozenset({"decode"})})
    cluster.instances["decode-0"].alive = False
    await cluster.answer(a_request())
    assert cluster.world.calls == [("prefill-0", "prefill"), ("decode-1", "generate")]


async def test_requests_spread_over_equal_instances() -> None:
    cluster = Cluster(SPLIT | {"decode-1": frozenset({"decode"})})
    await asyncio.gather(*(cluster.answer(a_request(), str(index)) for index in range(2)))
    first = cluster.fakes["decode-0"].seen + cluster.fakes["decode-1"].seen
    assert sorted(key for key, _ in first) == ["0", "1"]


async def test_a_pinned_request_goes_where_it_is_told() -> None:
    resident = SPLIT | {"encode-1": frozenset({"encode"}), "decode-1": frozenset({"decode"})}
    cluster, context = Cluster(resident), a_request(num_pictures=1)
    context.pinned = Placement("prefill-0", "decode-1", encode=("encode-1",))
    await cluster.answer(context)
    assert [name for name, _ in cluster.world.calls] == [
        "encode-1",
        *("prefill-0", "prefill-0"),
        *("decode-1", "decode-1"),
    ]


@pytest.mark.parametrize("resident", [SPLIT, WHOLE], ids=["split", "whole"])
async def test_load_is_counted_while_a_stage_works_and_back_at_zero_after_it(
    resident: dict[str, frozenset[Role]],
) -> None:
    cluster = Cluster(resident)
    chunks = cluster.dispatcher.generate(a_request(), an_answer())
    await anext(chunks)
    assert cluster.load == 1
    await collect(chunks)
    assert cluster.load == 0


async def test_each_stage_counts_as_load_where_it_works() -> None:
    cluster = Cluster()
    loads: list[dict[str, int]] = []

    async def reach(name: str) -> None:
        loads.append({role: n for i in cluster.instances.values() for role, n in i.load.items()})

    cluster.world.steps.reach = reach  # type: ignore[method-assign]
    await cluster.answer(a_request(num_pictures=1))
    working = [{role for role, n in load.items() if n} for load in loads]
    assert working == [
        {"encode"},
        set(),  # staging
        *[{"prefill"}] * 2,
        set(),  # staging
        *[{"decode"}] * (2 + len(TOKENS)),
    ]


@pytest.mark.parametrize("resident", [SPLIT, WHOLE], ids=["split", "whole"])
async def test_a_reader_who_leaves_ends_the_call_to_the_instance_at_once(
    resident: dict[str, frozenset[Role]],
) -> None:
    cluster = Cluster(resident)
    chunks = cluster.dispatcher.generate(a_request(), an_answer())
    await anext(chunks)
    assert cluster.world.open_streams == 1
    await chunks.aclose()
    assert cluster.world.open_streams == 0


@pytest.mark.parametrize("how", ["fails", "refused", "dies"])
async def test_a_failure_of_the_only_instance_is_an_error(how: Pull) -> None:
    cluster = Cluster(WHOLE, Script(pulls=[how]))
    with pytest.raises(InternalError):
        await cluster.answer(a_request())
    assert cluster.world.calls == [("llm-0", "generate")]
    assert cluster.load == 0
