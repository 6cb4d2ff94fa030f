import asyncio
import base64
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.scheduler.cluster import Role
from saccade.scheduler.placement import Placement
from saccade.scheduler.roles import initial_roles
from saccade.serving.api.asgi import Receive, Scope, Send, header, send_json
from saccade.serving.gateway.context import pinned_placement
from saccade.serving.gateway.instances import Instances
from saccade.serving.media.inspect import inspect
from saccade.serving.warmup import WarmUpError, placements, warm_up
from tests.unit.gateway.fakes import SPLIT, WHOLE, Cluster
from tests.unit.loop_clock import LoopClock
from tests.unit.some_settings import some_settings

KEY = "the-server's-own"
SETS: list[frozenset[Role]] = [
    frozenset({"encode"}),
    frozenset({"prefill", "decode"}),
    frozenset({"prefill"}),
    frozenset({"decode"}),
    frozenset({"encode", "prefill", "decode"}),
]
clusters = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(SETS)).filter(
    lambda resident: frozenset({"prefill", "decode"}) <= frozenset().union(*resident.values())
)


def instances(resident: dict[str, frozenset[Role]]) -> Instances:
    return Cluster(resident).instances


@given(clusters)
def test_every_instance_is_reached_in_every_role_that_it_serves(
    resident: dict[str, frozenset[Role]],
) -> None:
    planned = placements(instances(resident))
    reached = {(p.prefill, "prefill") for p in planned}
    reached |= {(p.decode, "decode") for p in planned}
    reached |= {(name, "encode") for p in planned for name in p.encode}
    served = {(name, role) for name, roles in initial_roles(resident).items() for role in roles}
    assert reached == served


@given(clusters)
def test_every_pair_that_may_hand_over_does(resident: dict[str, frozenset[Role]]) -> None:
    roles = initial_roles(resident)
    pairs = {
        (prefill, decode)
        for prefill, decode in itertools.permutations(roles, 2)
        if "prefill" in roles[prefill]
        and "decode" in roles[decode]
        # Two that do both never hand over to each other.
        and not {"prefill", "decode"} <= roles[prefill] & roles[decode]
    }
    assert pairs <= {(p.prefill, p.decode) for p in placements(instances(resident))}


def test_the_local_configuration_needs_one_request() -> None:
    assert len(placements(instances(SPLIT))) == 1
    assert len(placements(instances(WHOLE))) == 1


class FakeServer:
    """An ASGI app that notes what it is asked, and where the request is pinned to."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.placements: list[Placement | None] = []
        self.keys: list[str | None] = []
        self.bodies: list[Any] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.placements.append(pinned_placement.get())
        self.keys.append(header(scope, b"authorization"))
        self.bodies.append(json.loads((await receive())["body"]))
        await send_json(send, self.status, {"error": {"message": "the reason"}})


async def test_warm_up_sends_one_request_for_each_placement() -> None:
    server, cluster = FakeServer(), instances(SPLIT | {"decode-1": frozenset({"decode"})})
    await warm_up(server, some_settings(), cluster, KEY)
    assert server.placements == placements(cluster)
    assert len(server.placements) == 2
    assert pinned_placement.get() is None


async def test_the_picture_of_the_warm_up_is_a_good_one() -> None:
    server = FakeServer()
    await warm_up(server, some_settings(), instances(SPLIT), KEY)
    url = server.bodies[0]["messages"][0]["content"][0]["image_url"]["url"]
    kind, _, data = url.partition(",")
    assert kind == "data:image/png;base64"
    header = inspect(base64.b64decode(data), max_pixels=64, max_side=8, param=None)
    assert (header.format, header.width, header.height) == ("PNG", 8, 8)


async def test_the_warm_up_is_text_where_no_pictures_are_served() -> None:
    server = FakeServer()
    settings = some_settings(instances={"llm": {"roles": ["prefill", "decode"]}})
    await warm_up(server, settings, instances({"llm-0": frozenset({"prefill", "decode"})}), KEY)
    kinds = [part["type"] for part in server.bodies[0]["messages"][0]["content"]]
    assert kinds == ["text"]


async def test_the_warm_up_comes_with_the_key_that_it_was_given() -> None:
    server = FakeServer()
    await warm_up(server, some_settings(), instances(SPLIT), KEY)
    assert server.keys == [f"Bearer {KEY}"]


async def test_a_failed_warm_up_names_the_way_and_the_reason() -> None:
    server = FakeServer(status=500)
    with pytest.raises(WarmUpError, match=r"encode-0 -> prefill-0 -> decode-0.*500.*the reason"):
        await warm_up(server, some_settings(), instances(SPLIT), KEY)
    assert pinned_placement.get() is None


@pytest.mark.parametrize("dead", ["prefill-0", "decode-0"])
async def test_an_instance_that_died_before_the_warm_up_is_a_failed_warm_up(dead: str) -> None:
    cluster = instances(SPLIT)
    cluster[dead].alive = False
    with pytest.raises(WarmUpError):
        await warm_up(FakeServer(status=503), some_settings(), cluster, KEY)


async def test_a_warm_up_that_is_never_answered_ends() -> None:
    reached = asyncio.Event()

    async def silent(_: Scope, __: Receive, ___: Send) -> None:
        reached.set()
        await asyncio.Event().wait()

    clock = LoopClock()
    waiting = asyncio.create_task(warm_up(silent, some_settings(), instances(SPLIT), KEY))
    await reached.wait()
    await clock.advance(121)
    with pytest.raises(WarmUpError, match="was not answered within 120 s"):
        await waiting
    assert pinned_placement.get() is None
