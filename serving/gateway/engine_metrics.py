"""vLLM's own metrics, collected from the instances that run an engine."""

import asyncio
import logging
from collections.abc import Iterable, Sequence

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from saccade.serving.gateway.instances import Instance, InstanceError, Instances, in_time

log = logging.getLogger(__name__)

# Prometheus itself waits ten seconds, as it comes.
TIMEOUT_S = 3.0


class EngineMetrics:
    """Of all engines, with the instance's name as a label.

    An engine that is too busy to say is shown as it was the last time; one that is gone is not.
    """

    def __init__(self, instances: Instances, timeout_s: float = TIMEOUT_S) -> None:
        self._instances = instances
        self._timeout_s = timeout_s
        self._latest: dict[str, Sequence[Metric]] = {}

    async def exposition(self) -> bytes:
        """In the form of Prometheus."""
        return generate_latest(_Collected(await self.families()))

    async def families(self) -> list[Metric]:
        """What the engines count at this moment."""
        asked = [one for one in self._instances.values() if _has_engine(one)]
        await asyncio.gather(*(self._ask(instance) for instance in asked))
        names = {instance.name for instance in asked}
        self._latest = {name: found for name, found in self._latest.items() if name in names}
        return merged(self._latest.items())

    async def _ask(self, instance: Instance) -> None:
        call = instance.client.engine_metrics()
        try:
            found = await in_time(instance.name, "its metrics", call, self._timeout_s)
        except InstanceError as error:
            log.debug("no metrics: %s", error)
            return
        self._latest[instance.name] = found


class _Collected(Collector):
    """Implements prometheus_client's `Collector`."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        return self._families


def merged(found: Iterable[tuple[str, Sequence[Metric]]]) -> list[Metric]:
    """One family of each name, whose samples say from which instance they are."""
    families: dict[str, Metric] = {}
    for instance, metrics in found:
        for metric in metrics:
            family = families.setdefault(
                metric.name, Metric(metric.name, metric.documentation, metric.type)
            )
            family.samples += [
                sample._replace(labels={**sample.labels, "instance": instance})
                for sample in metric.samples
            ]
    return list(families.values())


def _has_engine(instance: Instance) -> bool:
    return instance.alive and bool({"prefill", "decode"} & instance.resident)
