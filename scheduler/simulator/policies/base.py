"""What a policy decides, and the plain way of deciding it."""

from typing import TYPE_CHECKING, NamedTuple

from saccade.scheduler.cluster import Role
from saccade.scheduler.simulator.costs import EngineTraits
from saccade.scheduler.simulator.instance import EncodeTask, Instance
from saccade.scheduler.simulator.job import Job
from saccade.scheduler.simulator.least_loaded import LeastLoaded

if TYPE_CHECKING:
    from saccade.scheduler.simulator.engine import Simulation

TEXT, MULTIMODAL, ALL = "text", "multimodal", "all"


class RoleMove(NamedTuple):
    """An instance shall serve other roles, in another group perhaps."""

    instance: Instance
    group: str
    roles: frozenset[Role]
    reload_s: float = 0.0
    """More time than a flip takes: a cold start."""


class Policy:
    """The least loaded instance for each stage, roles as at the start.

    Policies override what they do otherwise. Hooks (`placed`, `left`, …) keep the loads up to date;
    what overrides one calls it.
    """

    name: str
    title: str
    """One line for tables and help."""
    traits: EngineTraits = EngineTraits()
    tick_s: float | None = None

    def __init__(self) -> None:
        self._least: dict[tuple[str, Role], LeastLoaded] = {}
        self._load: dict[tuple[int, Role], float] = {}

    # Roles ---------------------------------------------------------------------------------------

    def layout(self, num_instances: int) -> list[tuple[str, frozenset[Role]]]:
        """Group and roles of each instance at the start."""
        raise NotImplementedError

    def start(self, simulation: "Simulation") -> None:
        self.simulation = simulation
        self.instances = simulation.instances

    def tick(self, now_s: float) -> list[RoleMove]:
        """What shall change now; asked every `tick_s`."""
        return []

    def roles_changed(self, instance: Instance) -> None:
        """It is there, or gone, or emptied for another role."""
        for (group, role), index in self._least.items():
            if instance.serves(role) and instance.group == group:
                index.put(instance.index, self._load.get((instance.index, role), 0.0))
            else:
                index.drop(instance.index)
        if instance.open:
            for role in instance.roles:
                self._index(instance.group, role)

    # Requests ------------------------------------------------------------------------------------

    def group_of(self, job: Job) -> str:
        return ALL

    def admit(self, job: Job) -> bool:
        return True

    def choose_encode(self, job: Job, number: int) -> Instance | None:
        """Where the picture `number` is encoded; None: nowhere now."""
        return self._best(job, "encode")

    def choose_prefill(self, job: Job) -> Instance | None:
        return self._best(job, "prefill")

    def choose_decode(self, job: Job, source: Instance) -> Instance | None:
        """`source` holds its KV, and is kept when it decodes too."""
        if source.serves("decode") and source.group == self.group_of(job):
            return source
        return self._best(job, "decode")

    def prefill_order(self, job: Job) -> float:
        """The smallest is first. Arrival: FCFS, and a request that comes back keeps its place."""
        return job.request.arrival_s

    def num_to_prefill(self, instance: Instance, free_kv_tokens: int) -> int:
        """From the head of the queue while the KV fits and the step's budget is not reached."""
        budget = self.simulation.costs.budget_tokens
        count = 0
        for _, _, job in instance.prefill_queue:
            free_kv_tokens -= job.kv_tokens
            if free_kv_tokens < 0:
                break
            count += 1
            budget -= job.context_tokens
            if budget <= 0:
                return count if budget == 0 or count == 1 else count - 1
        return count

    def take_to_prefill(self, instance: Instance, count: int) -> list[Job]:
        """Those that `num_to_prefill` counted leave the queue."""
        taken = [entry[2] for entry in instance.prefill_queue[:count]]
        del instance.prefill_queue[:count]
        return taken

    def take_to_encode(self, instance: Instance) -> EncodeTask:
        """The next picture leaves the queue."""
        return instance.encode_queue.popleft()

    # What happened -------------------------------------------------------------------------------

    def prefill_queued(self, job: Job, instance: Instance) -> None:
        """All that its prefill needs is there; it waits."""

    def placed(self, job: Job, role: Role, instance: Instance) -> None:
        self._change(instance, role, self._work(job, role))

    def left(self, job: Job, role: Role, instance: Instance) -> None:
        self._change(instance, role, -self._work(job, role))

    def encode_begins(self, job: Job) -> None:
        """Its pictures go to the CPU pool."""

    def encode_queued(self, task: EncodeTask, instance: Instance) -> None:
        """A picture waits for the tower."""

    def encode_queue_lost(self, instance: Instance) -> None:
        """Its pictures are sent elsewhere, all of them."""

    def encode_placed(self, job: Job, number: int, instance: Instance) -> None:
        self._change(instance, "encode", job.request.image_tokens[number])

    def encode_done(self, job: Job, number: int, instance: Instance) -> None:
        """The picture left the encode queue or the tower, for whatever reason."""
        self._change(instance, "encode", -job.request.image_tokens[number])

    def encode_ends(self, job: Job) -> None:
        """All is encoded, or given up: queued pictures are then passed over in their turn."""

    def visual_cached(self, instance: Instance, key: int, gone: list[int]) -> None:
        pass

    def prefix_cached(self, instance: Instance, job: Job, gone: list[int]) -> None:
        pass

    def memory_lost(self, instance: Instance) -> None:
        """It failed; its caches are empty."""

    def ended(self, job: Job) -> None:
        pass

    # Loads ---------------------------------------------------------------------------------------

    def _work(self, job: Job, role: Role) -> float:
        """The same number when it comes and when it goes."""
        return job.prompt_tokens if role == "prefill" else job.kv_tokens

    def _change(self, instance: Instance, role: Role, by: float) -> None:
        key = (instance.index, role)
        load = self._load[key] = self._load.get(key, 0.0) + by
        index = self._least.get((instance.group, role))
        if index is not None and instance.serves(role):
            index.put(instance.index, load)

    def _best(self, job: Job, role: Role) -> Instance | None:
        found = self._index(self.group_of(job), role).best()
        return None if found is None else self.instances[found]

    def _index(self, group: str, role: Role) -> LeastLoaded:
        index = self._least.get((group, role))
        if index is None:
            index = self._least[group, role] = LeastLoaded()
            for one in self.instances:
                if one.serves(role) and one.group == group:
                    index.put(one.index, self._load.get((one.index, role), 0.0))
        return index
