"""How long a million requests take, and how much memory.

python -m saccade.scheduler.simulator.scale                      # 1,000 instances
python -m saccade.scheduler.simulator.scale --requests 100000    # a tenth of it
"""

import argparse
import resource
import time
from collections.abc import Iterator, Sequence
from itertools import islice

from saccade.scheduler.simulator.engine import Options, Simulation
from saccade.scheduler.simulator.policies import policy_named
from saccade.scheduler.simulator.scenario import SIMULATED, Scenario, WorkloadSpec
from saccade.scheduler.simulator.workloads.base import TraceRequest

_RATE_PER_INSTANCE = 4.0


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m saccade.scheduler.simulator.scale",
        description="Simulate a large cluster on one core, and print the time and the memory.",
    )
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--instances", type=int, default=1_000)
    parser.add_argument("--policy", default="elasticmm")
    given = parser.parse_args(arguments)
    if given.requests < 1 or given.instances < 2:
        parser.error("a request and two instances are needed at least")
    scale(given.requests, given.instances, given.policy)


def scale(num_requests: int, num_instances: int, policy: str) -> None:
    """Simulate, and print how far it is at every tenth."""
    rate = _RATE_PER_INSTANCE * num_instances
    spec = WorkloadSpec("sharegpt4o", rate, 2 * num_requests / rate)
    model = Scenario(policy, spec).cost_model
    simulation = Simulation(policy_named(policy), model, Options(num_instances))
    requests: Iterator[TraceRequest] = islice(spec.build().requests(0), num_requests)
    started_s = time.process_time()
    shown = 0

    def report(now_s: float, num_arrived: int) -> None:
        nonlocal shown
        if num_arrived * 10 // num_requests > shown:
            shown = num_arrived * 10 // num_requests
            spent_s = time.process_time() - started_s
            print(f"{num_arrived:>9,} arrived, {now_s:6.1f} s simulated, {spent_s:6.1f} s of CPU, "
                  f"{_memory(simulation)}")  # fmt: skip

    print(f"{SIMULATED} {policy}, {num_instances:,} instances, {rate:g} requests/s")
    metrics = simulation.run(requests, report)
    spent_s = time.process_time() - started_s
    print(f"{metrics.num_ended['finished']:,} of {metrics.num_arrived:,} finished, "
          f"{metrics.num_flips:,} flips, {simulation.events.num_processed:,} events, "
          f"{spent_s:.0f} s of CPU, {spent_s / metrics.num_arrived * 1e6:.0f} µs a request, "
          f"{_memory(simulation)}")  # fmt: skip


def _memory(simulation: Simulation) -> str:
    """And what it grows with until they are full: the keys in the simulated caches."""
    num_cached = len(simulation.pipeline.visual_cache)
    for one in simulation.instances:
        num_cached += len(one.prefix_cache) + len(one.visual_cache)
    return f"{_memory_mib():,.0f} MiB at most, {num_cached:,} keys cached"


def _memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
