"""How long a million requests take: `python -m saccade.scheduler.simulator.scale`."""

import resource
import sys
import time
from collections.abc import Iterator
from itertools import islice

from saccade.scheduler.simulator.engine import Options, Simulation
from saccade.scheduler.simulator.policies import policy_named
from saccade.scheduler.simulator.scenario import SIMULATED, Scenario, WorkloadSpec
from saccade.scheduler.simulator.workloads.base import TraceRequest

_RATE_PER_INSTANCE = 4.0


def main(num_requests: int = 1_000_000, num_instances: int = 1000, name: str = "elasticmm") -> None:
    rate = _RATE_PER_INSTANCE * num_instances
    spec = WorkloadSpec("sharegpt4o", rate, 2 * num_requests / rate)
    model = Scenario(name, spec).cost_model
    simulation = Simulation(policy_named(name), model, Options(num_instances))
    requests: Iterator[TraceRequest] = islice(spec.build().requests(0), num_requests)
    started_s = time.process_time()
    shown = 0

    def report(now_s: float, num_arrived: int) -> None:
        nonlocal shown
        if num_arrived * 10 // num_requests > shown:
            shown = num_arrived * 10 // num_requests
            spent_s = time.process_time() - started_s
            print(f"{num_arrived:>9,} arrived, {now_s:6.1f} s simulated, {spent_s:6.1f} s of CPU, "
                  f"{_memory_mib():,.0f} MiB at most")  # fmt: skip

    print(f"{SIMULATED} {name}, {num_instances:,} instances, {rate:g} requests/s")
    metrics = simulation.run(requests, report)
    spent_s = time.process_time() - started_s
    print(f"{metrics.num_ended['finished']:,} of {metrics.num_arrived:,} finished, "
          f"{metrics.num_flips:,} flips, {simulation.events.num_processed:,} events, "
          f"{spent_s:.0f} s of CPU, {spent_s / metrics.num_arrived * 1e6:.0f} µs a request, "
          f"{_memory_mib():,.0f} MiB at most")  # fmt: skip


def _memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    given = [*sys.argv[1:], *("1000000", "1000", "elasticmm")[len(sys.argv) - 1 :]]
    main(int(given[0]), int(given[1]), name=given[2])
