"""One instance as a single server: queueing theory knows what comes out.

Service times are prompts of a microsecond a token, answers are one token, and a step takes one
request: the sojourn time is the TTFT.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from saccade.scheduler.simulator.costs import EngineTraits
from saccade.scheduler.simulator.engine import Options, Simulation
from saccade.scheduler.simulator.metrics import Metrics
from saccade.scheduler.simulator.workloads.base import TraceRequest
from tests.unit.scheduler.simulator.some_costs import SomeCosts, SomeLayout, of

Services = Callable[[np.random.Generator, int], NDArray[np.float64]]
TOKEN_S = 1e-6
NUM_REQUESTS = 300_000


def poisson(rate_per_s: float, services: Services, seed: int) -> Iterator[TraceRequest]:
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate_per_s, NUM_REQUESTS)).tolist()
    tokens = np.maximum(1, np.rint(services(rng, NUM_REQUESTS) / TOKEN_S)).astype(int).tolist()
    for arrival_s, prompt in zip(arrivals, tokens, strict=True):
        yield TraceRequest(arrival_s, prompt, 1)


def single_server(rate_per_s: float, services: Services, seed: int = 1) -> Metrics:
    one_at_a_time = EngineTraits(prefill_budget_tokens=1)
    simulation = Simulation(
        SomeLayout(of("prefill"), traits=one_at_a_time),
        SomeCosts(prefill_token_s=TOKEN_S),
        Options(num_instances=1, noise_sigma=0.0),
    )
    return simulation.run(poisson(rate_per_s, services, seed))


@pytest.mark.slow
@pytest.mark.parametrize("utilisation", [0.3, 0.6])
def test_exponential_services_are_an_m_m_1_queue(utilisation: float) -> None:
    mean_s = 0.1
    metrics = single_server(utilisation / mean_s, lambda rng, n: rng.exponential(mean_s, n))
    sojourn = metrics.by_modality["text"].ttft_s
    expected_s = mean_s / (1 - utilisation)
    assert sojourn.count == NUM_REQUESTS
    assert sojourn.mean == pytest.approx(expected_s, rel=0.02)
    # The sojourn time of M/M/1 is exponential: every quantile is known too.
    for probability in (0.5, 0.9, 0.99):
        quantile = -expected_s * np.log(1 - probability)
        assert sojourn.quantile(probability) == pytest.approx(quantile, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("cv", [0.0, 0.5, 1.5])
def test_general_services_are_an_m_g_1_queue(cv: float) -> None:
    """Pollaczek-Khinchine: the wait is rho / (1 - rho) (1 + cv²) / 2 mean services."""
    mean_s, utilisation = 0.1, 0.5
    sigma = np.sqrt(np.log(1 + cv**2))
    metrics = single_server(
        utilisation / mean_s,
        lambda rng, n: mean_s * np.exp(sigma * rng.standard_normal(n) - sigma**2 / 2),
    )
    wait_s = utilisation / (1 - utilisation) * (1 + cv**2) / 2 * mean_s
    assert metrics.by_modality["text"].ttft_s.mean == pytest.approx(wait_s + mean_s, rel=0.02)
