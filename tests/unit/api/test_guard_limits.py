"""Limits of a tenant, seen from outside."""

import asyncio

from tests.unit.api.guarding import Inner, Server, answer, never, text

KEYS = [{"key": "sk-12345678", "tenant": "one"}, {"key": "sk-87654321", "tenant": "two"}]
ONE = {"authorization": "Bearer sk-12345678"}
TWO = {"authorization": "Bearer sk-87654321"}


async def test_a_tenant_that_fills_its_room_is_refused_and_others_are_not() -> None:
    server = Server(Inner(never), keys=KEYS, max_running_per_tenant=2)
    running = [server.exchange(text(), headers=ONE) for _ in range(2)]
    tasks = [exchange.start() for exchange in running]
    for _ in range(100):
        await asyncio.sleep(0)
    assert server.inner.num_running == 2
    server.inner.behaviour = answer
    refused = await server.send(text(), headers=ONE)
    assert (refused.status, refused.json["error"]["code"]) == (429, "too_many_running")
    assert refused.headers["retry-after"]
    assert (await server.send(text(), headers=TWO)).status == 200
    refusals = server.metrics.registry.get_sample_value(
        "saccade_admission_refusals_total", {"reason": "tenant_limit"}
    )
    assert refusals == 1
    for exchange in running:
        exchange.leave()
    await asyncio.gather(*tasks)
    assert (await server.send(text(), headers=ONE)).status == 200


async def test_more_answers_than_a_tenant_may_ever_have_are_a_mistake_of_the_request() -> None:
    server = Server(keys=KEYS, max_running_per_tenant=2)
    refused = await server.send(text(n=3), headers=ONE)
    assert (refused.status, refused.json["error"]["param"]) == (400, "n")
