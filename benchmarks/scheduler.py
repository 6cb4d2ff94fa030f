"""How fast the scheduler decides: placements a second, and milliseconds a tick.

    python benchmarks/scheduler.py                    # 1,000 and 10,000 instances
    python benchmarks/scheduler.py --instances 100 --requests 2000

Processor time of one core. "placements/s" is `place` with its entry in the journal from which
decisions are replayed. "with loads" adds what an owner of the index does for each request: its
load is put on the instances and that of an old request is taken away, caches are noted, all of it
journalled. Half of the requests carry pictures; half begin with a system prompt that many
instances hold and a conversation that few hold. A tick is that of a loaded cluster in a burst of
pictures, when there is most to decide.
"""

import argparse
import gc
import random
import statistics
import sys
import time
from collections import deque

from saccade.scheduler.cluster import (
    ROLES,
    ClusterState,
    GroupState,
    InstanceState,
    Role,
    StageLoad,
)
from saccade.scheduler.cost_model import cost_model_of
from saccade.scheduler.index import Change, PlacementIndex
from saccade.scheduler.manager import Manager
from saccade.scheduler.placement import AddedLoad, added_loads, place
from saccade.scheduler.policy import Policy
from saccade.scheduler.requests import PrefixKey, RequestShape, VisualItem

COST = cost_model_of("h200")
JOURNAL_ENTRIES = 100_000
TARGETS = {1_000: 20_000, 10_000: 10_000}
TARGET_TICK_MS = 50.0


def cluster(num: int) -> list[InstanceState]:
    """A third for text, the rest for pictures, one role each."""
    stages: dict[str, tuple[Role, ...]] = {
        "text": ("prefill", "decode"),
        "multimodal": ("encode", "prefill", "prefill", "decode"),
    }
    instances = []
    for number in range(num):
        group = "multimodal" if number % 3 else "text"
        roles = stages[group]
        instances.append(
            InstanceState(
                f"instance-{number:05}",
                frozenset(ROLES),
                frozenset({roles[number // 3 % len(roles)]}),
                group,
                kv_capacity_tokens=COST.kv_capacity_tokens(),
            )
        )
    return instances


def request(number: int, rng: random.Random) -> RequestShape:
    prefix: tuple[PrefixKey, ...] = ()
    if rng.random() < 0.5:
        prefix = (
            PrefixKey(f"system-{rng.randrange(3)}", 200),
            PrefixKey(f"conversation-{rng.randrange(2000)}", 800),
        )
    visual: tuple[VisualItem, ...] = ()
    if rng.random() < 0.5:
        # Images of a request as in ServeGen's mm-image: 80 % have one, the mean is 1.6.
        num = rng.choices((1, 2, 3, 4), (80, 7, 8, 5))[0]
        visual = tuple(
            VisualItem(f"picture-{rng.randrange(20_000)}", rng.randrange(64, 1271))
            for _ in range(num)
        )
    return RequestShape(
        f"request-{number}",
        "image" if visual else "text",
        rng.randrange(801, 3000),
        visual,
        output_tokens=rng.randrange(1, 500),
        prefix=prefix,
    )


def placements_per_s(num_instances: int, num_requests: int) -> tuple[float, float]:
    """(`place`, with the loads), a second."""
    rng = random.Random(0)
    journal: list[Change] = []
    index = PlacementIndex(Policy(), COST, cluster(num_instances), journal)
    requests = [request(number, rng) for number in range(num_requests)]
    # What stays is no matter of the garbage collector, as in a server after its start.
    gc.collect()
    gc.freeze()
    running: deque[list[AddedLoad]] = deque()
    placing_s = 0.0
    started_s = time.process_time()
    for shape in requests:
        before_s = time.process_time()
        placement = place(index, shape)
        placing_s += time.process_time() - before_s
        added = added_loads(COST, shape, placement)
        for one in added:
            index.add_load(*one)
        running.append(added)
        if placement.prefill is not None:
            for prefix in shape.prefix:
                index.hold_prefix(placement.prefill, prefix.key)
            for item in shape.visual:
                index.hold_visual(placement.prefill, item.key)
        if len(running) > 4 * num_instances:
            for one in running.popleft():
                index.take_load(*one)
        if len(journal) > JOURNAL_ENTRIES:
            journal.clear()
    return num_requests / placing_s, num_requests / (time.process_time() - started_s)


def tick_ms(num_instances: int, num_ticks: int) -> tuple[float, float, int]:
    """(median, worst, moves) of ticks in a burst."""
    rng = random.Random(0)
    instances = []
    for one in cluster(num_instances):
        (role,) = one.roles
        num = rng.randrange(5, 30)
        load = StageLoad(num, num * 0.05, num * 1500, num * 80, num / 1500, num / 2)
        used = load.tokens if role == "decode" else 0
        instances.append(
            InstanceState(
                one.name,
                one.resident,
                one.roles,
                one.group,
                load={role: load},
                kv_capacity_tokens=one.kv_capacity_tokens,
                kv_used_tokens=used,
            )
        )
    pictures = [
        RequestShape("p", "image", 100, (VisualItem("v", 2000),), output_tokens=150)
    ] * num_instances
    texts = [RequestShape("t", text_tokens=500, output_tokens=150)] * num_instances
    groups = {
        "text": GroupState(COST.traffic(texts)),
        "multimodal": GroupState(COST.traffic(pictures * 8), oldest_wait_s=2.0),
    }
    state = ClusterState(tuple(instances), groups)
    manager = Manager(Policy(), COST)
    times_ms, num_moves = [], 0
    for number in range(num_ticks):
        started_s = time.process_time()
        # Each tick finds the same cluster as long after the last as lets everybody move again.
        decision = manager.tick(state, 20.0 * number)
        times_ms.append((time.process_time() - started_s) * 1e3)
        num_moves += len(decision.moves)
    return statistics.median(times_ms), max(times_ms), num_moves


def best_of(repeats: int, num_instances: int, num_requests: int) -> tuple[float, float]:
    """The fastest run: the others were disturbed."""
    return max(placements_per_s(num_instances, num_requests) for _ in range(repeats))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--instances", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--ticks", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print("instances  placements/s  with loads/s  tick ms (median, worst)  moves")
    missed = False
    for num in arguments.instances:
        placed, loaded = best_of(arguments.repeats, num, arguments.requests)
        median_ms, worst_ms, num_moves = tick_ms(num, arguments.ticks)
        print(
            f"{num:9,}  {placed:12,.0f}  {loaded:12,.0f}  {median_ms:11.1f} {worst_ms:11.1f}"
            f"  {num_moves:5}"
        )
        missed |= placed < TARGETS.get(num, 0)
        missed |= num == 1_000 and worst_ms > TARGET_TICK_MS
    if missed:
        print("slower than it should be: 20,000 placements/s and 50 ms a tick at 1,000 instances,")
        print("10,000 placements/s at 10,000 instances")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
