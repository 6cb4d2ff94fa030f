"""What every instance serves, and how much of it at the moment, as this gateway knows."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from saccade.serving.gateway.instances import Instance


class InstanceMetrics(Collector):
    """Read from the instances whenever somebody looks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._instances: Callable[[], Mapping[str, Instance]] = dict
        registry.register(self)

    def watch(self, instances: Mapping[str, Instance]) -> None:
        """Asked at every look at the metrics."""
        self._instances = lambda: instances

    def collect(self) -> Iterator[Metric]:
        """Implements prometheus_client's `Collector`."""
        roles = GaugeMetricFamily(
            "saccade_instance_roles",
            "1 for a role that the instance serves, 0 for one that it could take.",
            labels=["instance", "role"],
        )
        requests = GaugeMetricFamily(
            "saccade_instance_stage_requests",
            "Requests of this gateway that wait or are worked on at the instance, by its role.",
            labels=["instance", "role"],
        )
        for name, instance in self._instances().items():
            for role in sorted(instance.resident):
                roles.add_metric([name, role], float(role in instance.roles))
                requests.add_metric([name, role], instance.load.get(role, 0))
        yield roles
        yield requests
