"""Start Ray and the instances, watch them, and stop them again."""

import asyncio
import contextlib
import logging
import math
import signal
import tempfile
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from saccade.scheduler.cluster import Role
from saccade.scheduler.roles import initial_roles
from saccade.serving.cluster.environment import why_ray_failed
from saccade.serving.cluster.remote import RemoteInstance
from saccade.serving.config.api import ApiConfig
from saccade.serving.config.instances import InstanceGroup
from saccade.serving.config.settings import Settings
from saccade.serving.gateway.instances import Instance, Instances
from saccade.serving.instance.actor import InstanceActor, InstanceCheck, InstanceFacts, InstanceSpec

log = logging.getLogger(__name__)

CHECK_INTERVAL_S = 2.0

Progress = Callable[[str, str], None]
"""Called with an instance's name and what it is doing."""


OnCheck = Callable[[str, InstanceCheck | None], None]
"""Called every few seconds with an instance's name, and how things are there; None when it does
not answer."""


class StartError(Exception):
    """The cluster could not start; the message says which part, and why."""


class Cluster:
    """Ray, and the instances on it. Use as `async with`."""

    def __init__(self, settings: Settings, instances: Instances, on_check: OnCheck) -> None:
        self._settings = settings
        self._on_check = on_check
        self._actors: dict[str, Any] = {}
        self._remotes: dict[str, RemoteInstance] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._socket_folder = tempfile.TemporaryDirectory(prefix="saccade-")
        self.instances = instances

    async def start(self, progress: Progress) -> None:
        """Start everything; returns when every instance has loaded.

        Raises:
            StartError: an instance failed or took too long.
        """
        progress("ray", "starting")
        await _unhurried(asyncio.to_thread(start_ray, self._settings))
        _take_back_signals()
        progress("ray", "ready")
        specs = _specs(self._settings, self._socket_folder.name)
        roles = initial_roles({spec.name: spec.resident for spec in specs})
        for spec in specs:
            progress(spec.name, "starting its process")
            self._actors[spec.name] = _create(spec, self._settings)
        await self._start_instances(specs, roles, progress)
        self._watchers = [asyncio.create_task(self._watch(name)) for name in self._remotes]

    async def stop(self) -> None:
        """Stop the instances, then Ray; whatever does not stop in time is killed."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for remote in self._remotes.values():
            await remote.close()
        timeout_s = self._settings.cluster.stop_timeout_s
        stops = [actor.stop.remote(timeout_s * 2 / 3) for actor in self._actors.values()]
        if stops:
            await asyncio.wait(
                [asyncio.ensure_future(_quietly(s)) for s in stops], timeout=timeout_s
            )
        for actor in self._actors.values():
            with contextlib.suppress(RayError):
                ray.kill(actor)
        await asyncio.to_thread(ray.shutdown)
        self._socket_folder.cleanup()

    async def _start_instances(
        self, specs: list[InstanceSpec], roles: dict[str, frozenset[Role]], progress: Progress
    ) -> None:
        """All at once; the first that fails ends the others' start."""
        starts = [
            asyncio.create_task(self._start_instance(spec, roles[spec.name], progress))
            for spec in specs
        ]
        try:
            await asyncio.gather(*starts)
        finally:
            for start in starts:
                start.cancel()
            await asyncio.wait(starts)

    async def _start_instance(
        self, spec: InstanceSpec, roles: frozenset[Role], progress: Progress
    ) -> None:
        actor = self._actors[spec.name]
        started = actor.start.remote()
        waiter = asyncio.ensure_future(_result(started))
        deadline = time.monotonic() + self._settings.cluster.start_timeout_s
        try:
            while not (await asyncio.wait({waiter}, timeout=0.5))[0]:
                if phase := await _phase(actor):
                    progress(spec.name, phase)
                if time.monotonic() > deadline:
                    limit_s = self._settings.cluster.start_timeout_s
                    raise StartError(
                        f"{spec.name} was not ready after {limit_s:g} s (cluster.start_timeout_s)"
                    )
            facts: InstanceFacts = waiter.result()
        except RayError as error:
            raise StartError(f"{spec.name} could not start.\n  {_cause(error)}") from None
        finally:
            waiter.cancel()
        remote = RemoteInstance(spec.name, actor, facts.grpc_address)
        self._remotes[spec.name] = remote
        self.instances[spec.name] = Instance(
            spec.name,
            remote,
            spec.resident,
            roles,
            encoder_revision=facts.encoder_revision,
            kept_at_start=facts.kept,
            kv_events=facts.kv_events,
        )
        progress(spec.name, f"ready (process {facts.pid})")

    async def _watch(self, name: str) -> None:
        """Give an instance no work while it does not answer."""
        instance = self.instances[name]
        while True:
            check = None
            try:
                check = await self._remotes[name].check()
            except Exception as error:
                if instance.alive:
                    log.error("instance %s does not answer: %s", name, error)
            instance.alive = check is not None
            self._on_check(name, check)
            await asyncio.sleep(CHECK_INTERVAL_S)


def _specs(settings: Settings, socket_folder: str) -> list[InstanceSpec]:
    return [
        InstanceSpec(
            name=f"{name}-{index}",
            resident=frozenset(group.roles),
            threads=group.threads,
            device="cuda" if group.gpus else "cpu",
            socket_folder=socket_folder,
            # No keys of clients: the actor's description is kept by Ray.
            settings=settings.model_copy(update={"api": ApiConfig()}),
        )
        for name, group in settings.instances.items()
        for index in range(group.replicas)
    ]


def _create(spec: InstanceSpec, settings: Settings) -> Any:
    group = settings.instances[spec.name.rpartition("-")[0]]
    actor = ray.remote(InstanceActor).options(
        name=spec.name,
        num_cpus=group.cpus,
        num_gpus=group.gpus,
        resources=group.resources,
        # A node that is lost should not take all instances of one kind with it.
        scheduling_strategy="SPREAD",
        max_concurrency=4096,
    )
    return actor.remote(spec)


def start_ray(settings: Settings) -> None:
    cluster = settings.cluster
    common: dict[str, Any] = {
        # Several systems may share a cluster.
        "namespace": f"saccade-{uuid.uuid4().hex[:8]}",
        "log_to_driver": False,
        "logging_level": logging.ERROR,
    }
    if cluster.address:
        try:
            ray.init(address=cluster.address, **common)
        except (ConnectionError, RayError, RuntimeError) as error:
            raise StartError(f"no Ray cluster at {cluster.address}: {error}") from None
        return
    groups = settings.instances.values()
    try:
        ray.init(
            address="local",
            num_cpus=max(1, math.ceil(sum(group.cpus * group.replicas for group in groups))),
            resources=custom_resources(groups),
            include_dashboard=False,
            object_store_memory=cluster.object_store_bytes,
            **common,
        )
    except Exception as error:  # of whatever type: Ray has none for it
        raise StartError(why_ray_failed(error)) from None


def custom_resources(groups: Iterable[InstanceGroup]) -> dict[str, float]:
    """What a Ray that is started here has to offer, so that all instances fit."""
    total: defaultdict[str, float] = defaultdict(float)
    for group in groups:
        for name, amount in group.resources.items():
            total[name] += amount * group.replicas
    return dict(total)


def _take_back_signals() -> None:
    """Ray puts a crash handler on SIGTERM, which ends the process three seconds later."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.getsignal(number))


async def _unhurried(work: Awaitable[None]) -> None:
    """Finish `work` even when cancelled: half a Ray cannot be stopped."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def _result(reference: Any) -> Any:
    return await reference


async def _quietly(reference: Any) -> None:
    with contextlib.suppress(RayError):
        await reference


async def _phase(actor: Any) -> str | None:
    """What the instance is doing; None when it is too busy to say, or gone."""
    try:
        async with asyncio.timeout(1.0):
            phase: str = await actor.phase.remote()
            return phase
    except (TimeoutError, RayError):
        return None


def _cause(error: RayError) -> str:
    if isinstance(error, RayTaskError):
        return str(error.cause)
    if isinstance(error, RayActorError):
        return f"Its process died: {error}"
    return str(error)
