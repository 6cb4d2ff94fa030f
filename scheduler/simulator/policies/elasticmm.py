"""ElasticMM: the scheduler itself, as the live system runs it.

Nothing is decided here. This translates what happens in the simulator into the scheduler's terms,
asks `place` for every stage of a request when its turn comes, `FairQueue` who of those that wait is
next, `prefill_batch` for every prefill step and `Manager.tick` every second, and hands the answers
back.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from saccade.scheduler.cluster import (
    NO_LOAD,
    ROLES,
    ClusterState,
    GroupState,
    InstanceState,
    Role,
    StageLoad,
)
from saccade.scheduler.cost_model import CostModel
from saccade.scheduler.fairness import FairQueue
from saccade.scheduler.index import PlacementIndex
from saccade.scheduler.manager import Manager
from saccade.scheduler.placement import NoInstanceError, place
from saccade.scheduler.policy import Policy as Settings
from saccade.scheduler.requests import RequestShape
from saccade.scheduler.simulator.caches import prefix_blocks
from saccade.scheduler.simulator.instance import EncodeTask, Instance
from saccade.scheduler.simulator.job import Job
from saccade.scheduler.simulator.policies.base import MULTIMODAL, TEXT, Policy, RoleMove
from saccade.scheduler.simulator.policies.layouts import Layout, of
from saccade.scheduler.simulator.policies.shapes import picture_of, shape_of
from saccade.scheduler.simulator.policies.static_split import DISAGGREGATED, EqualSplit
from saccade.scheduler.stages import Waiting, prefill_batch

if TYPE_CHECKING:
    from saccade.scheduler.simulator.engine import Simulation

_ALL_ROLES = frozenset(ROLES)
_TEXT_ONE = (TEXT, of("prefill", "decode"))
_FEW: tuple[Layout, ...] = (
    [],
    [],
    [_TEXT_ONE, (MULTIMODAL, _ALL_ROLES)],
    [_TEXT_ONE, (MULTIMODAL, of("encode")), (MULTIMODAL, of("prefill", "decode"))],
    [_TEXT_ONE, *((MULTIMODAL, of(role)) for role in ROLES)],
)
"""Layouts of fewer than five instances, by their number."""


class ElasticMM(Policy):
    name = "elasticmm"
    title = "ElasticMM: elastic groups and stages, unified cache, encoding apart"
    traits = DISAGGREGATED
    settings = Settings()
    elastic = True

    def __init__(self) -> None:
        super().__init__()
        self.tick_s = self.settings.tick_s if self.elastic else None
        self._shapes: dict[int, RequestShape] = {}
        self._booked: dict[tuple[int, Role], StageLoad] = {}
        self._arrived: dict[str, list[RequestShape]] = {}
        self._destinations: dict[int, RoleMove] = {}

    # Roles ---------------------------------------------------------------------------------------

    def layout(self, num_instances: int) -> Layout:
        """Half for each group at the start: nothing is known of the traffic yet.

        With fewer instances than roles some serve several.
        """
        if num_instances < len(_FEW):
            few = _FEW[num_instances]
            if not few:
                raise ValueError("two groups need two instances at least")
            return few
        return EqualSplit().layout(num_instances)

    def start(self, simulation: "Simulation") -> None:
        super().start(simulation)
        model = simulation.cost_model
        if not isinstance(model, CostModel):
            raise TypeError("ElasticMM decides with the scheduler's own cost model")
        model = self._model = self.decision_model(model)
        self._placement = PlacementIndex(self.settings, model, map(self._state, self.instances))
        self._manager = Manager(self.settings, model)
        fairness = self.settings.fairness
        self._prefills = [FairQueue[Job](fairness) for _ in self.instances]
        self._encodes = [FairQueue[EncodeTask](fairness) for _ in self.instances]

    def decision_model(self, model: CostModel) -> CostModel:
        """What decisions are reckoned with; the simulator's times stay as they are."""
        return model

    def roles_changed(self, instance: Instance) -> None:
        name = instance.name
        if not instance.moving:
            self._destinations.pop(instance.index, None)
        if name in self._placement:
            now = self._state(instance)
            known = self._placement.state(name)
            self._placement.upsert(
                replace(known, roles=now.roles, group=now.group, moving=now.moving)
            )
        elif instance.alive:
            self._placement.upsert(self._state(instance))

    def memory_lost(self, instance: Instance) -> None:
        self._placement.remove(instance.name)

    def _state(self, instance: Instance) -> InstanceState:
        """One that is on its way counts where it goes, so that nobody asks for it twice."""
        goes = self._destinations.get(instance.index)
        return InstanceState(
            name=instance.name,
            resident=_ALL_ROLES,
            roles=goes.roles if goes else instance.roles,
            group=goes.group if goes else instance.group,
            kv_capacity_tokens=instance.kv_capacity_tokens,
            kv_used_tokens=instance.kv_used_tokens,
            moving=not instance.open,
        )

    # Requests ------------------------------------------------------------------------------------

    def admit(self, job: Job) -> bool:
        """All are: the paper has no admission control (`elasticmm-admission` has). The traffic is
        noted here."""
        shape = self._shapes[job.key] = shape_of(job)
        group = self.settings.group_of(shape.modality).name
        self._arrived.setdefault(group, []).append(shape)
        return True

    def ended(self, job: Job) -> None:
        self._shapes.pop(job.key, None)

    def choose_encode(self, job: Job, number: int) -> Instance | None:
        """Each picture when it is preprocessed: its siblings may go elsewhere."""
        return self._placed_on(picture_of(self._shapes[job.key], number), "encode")

    def choose_prefill(self, job: Job) -> Instance | None:
        return self._placed_on(self._shapes[job.key], "prefill")

    def choose_decode(self, job: Job, source: Instance) -> Instance | None:
        group = self.settings.group_of(job.modality).name
        if source.serves("decode") and source.group == group:
            return source
        return self._placed_on(self._shapes[job.key], "decode")

    def _placed_on(self, shape: RequestShape, role: Role) -> Instance | None:
        try:
            placement = place(self._placement, shape, (role,))
        except NoInstanceError:
            return None
        name = placement.encode[0] if role == "encode" else getattr(placement, role)
        return None if name is None else self.instances[int(name[1:])]

    def num_to_prefill(self, instance: Instance, free_kv_tokens: int) -> int:
        waiting = (
            Waiting(str(job.key), job.context_tokens, job.kv_tokens)
            for job in self._prefills[instance.index].in_order()
        )
        return prefill_batch(waiting, free_kv_tokens, self._model.tipping_point_tokens).num_requests

    # The order of those that wait, by the scheduler's fair queue ----------------------------------

    def prefill_queued(self, job: Job, instance: Instance) -> None:
        work_s = self._booked[job.key, "prefill"].work_s
        self._prefills[instance.index].push(job, self._shapes[job.key], work_s)

    def take_to_prefill(self, instance: Instance, count: int) -> list[Job]:
        queue = self._prefills[instance.index]
        taken = [queue.pop() for _ in range(count)]
        for job in taken:
            position = next(n for n, one in enumerate(instance.prefill_queue) if one[2] is job)
            del instance.prefill_queue[position]
        return taken

    def encode_queued(self, task: EncodeTask, instance: Instance) -> None:
        job, number, stamp = task
        shape = replace(self._shapes[job.key], key=f"{job.key}/{number}/{stamp}")
        work_s = self._model.encode_s(job.request.image_tokens[number])
        self._encodes[instance.index].push(task, shape, work_s)

    def take_to_encode(self, instance: Instance) -> EncodeTask:
        task = self._encodes[instance.index].pop()
        instance.encode_queue.remove(task)
        return task

    def encode_queue_lost(self, instance: Instance) -> None:
        self._encodes[instance.index] = FairQueue(self.settings.fairness)

    # Loads ---------------------------------------------------------------------------------------

    def placed(self, job: Job, role: Role, instance: Instance) -> None:
        load = self._booked[job.key, role] = self._stage_load(job, role)
        self._placement.add_load(instance.name, role, load, self._kv_tokens(job, role))

    def left(self, job: Job, role: Role, instance: Instance) -> None:
        queue = self._prefills[instance.index]
        if role == "prefill" and str(job.key) in queue:
            queue.remove(str(job.key))
        load = self._booked.pop((job.key, role))
        self._placement.take_load(instance.name, role, load, self._kv_tokens(job, role))

    def encode_placed(self, job: Job, number: int, instance: Instance) -> None:
        self._placement.add_load(instance.name, "encode", self._picture_load(job, number))

    def encode_done(self, job: Job, number: int, instance: Instance) -> None:
        self._placement.take_load(instance.name, "encode", self._picture_load(job, number))

    def prefix_cached(self, instance: Instance, job: Job, gone: list[int]) -> None:
        for key, _ in prefix_blocks(job.request):
            self._placement.hold_prefix(instance.name, str(key))
        for key in gone:
            self._placement.drop_prefix(instance.name, str(key))

    def _picture_load(self, job: Job, number: int) -> StageLoad:
        tokens = job.request.image_tokens[number]
        return StageLoad(1, self._model.encode_s(tokens), tokens, 0, 1 / tokens)

    def _kv_tokens(self, job: Job, role: Role) -> int:
        return job.prompt_tokens if role == "prefill" else job.kv_tokens

    def _stage_load(self, job: Job, role: Role) -> StageLoad:
        prompt, output = job.context_tokens, job.remaining_tokens
        if role == "prefill":
            return StageLoad(1, self._model.prefill_s(prompt), prompt, 0, 1 / prompt)
        work_s = self._model.decode_s(prompt + output / 2, output)
        whole = job.request.output_tokens
        return StageLoad(1, work_s, prompt, output, 1 / whole, output / whole)

    # Control -------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> list[RoleMove]:
        decision = self._manager.tick(self._cluster_state(now_s), now_s)
        self.simulation.metrics.tolerance(now_s, dict(decision.burst_tolerance))
        moves = [
            RoleMove(self.instances[int(move.instance[1:])], move.to_group, move.to_roles)
            for move in decision.moves
        ]
        self._destinations |= {move.instance.index: move for move in moves}
        return moves

    def _cluster_state(self, now_s: float) -> ClusterState:
        alive = [one for one in self.instances if one.alive]
        states = tuple(replace(self._state(one), load=self._loads(one, now_s)) for one in alive)
        groups = {
            spec.name: self._group_state(spec.name, alive, now_s) for spec in self.settings.groups
        }
        self._arrived = {}
        return ClusterState(states, groups)

    def _loads(self, instance: Instance, now_s: float) -> dict[Role, StageLoad]:
        """As the index has them, but decode as far as it has come."""
        loads = dict(self._placement.entry(instance.name).load)
        outlook = instance.decode.outlook(now_s if instance.segment else None)
        decode = NO_LOAD
        if outlook.num_sequences:
            context = outlook.context_tokens / outlook.num_sequences
            decode = StageLoad(
                outlook.num_sequences,
                self._model.decode_s(context, outlook.remaining_tokens),
                outlook.context_tokens,
                outlook.remaining_tokens,
                outlook.inverse_outputs,
                outlook.remaining_ratio,
            )
        for job in (*instance.joining, *instance.kv_waiting):
            decode = decode.plus(self._stage_load(job, "decode"))
        loads["decode"] = decode
        return loads

    def _group_state(self, name: str, alive: list[Instance], now_s: float) -> GroupState:
        members = [one for one in alive if one.group == name]
        waits = [
            now_s - queue_s
            for one in members
            for queue_s in (
                *(job.queued_s for _, _, job in one.prefill_queue[:1]),
                *(task[0].queued_s for task in list(one.encode_queue)[:1]),
            )
        ]
        parked: dict[Role, StageLoad] = {}
        for job, role in self.simulation.pipeline.parked.values():
            if self.settings.group_of(job.modality).name == name:
                load = self._parked_load(job, role)
                parked[role] = parked.get(role, NO_LOAD).plus(load)
                waits.append(now_s - max(job.queued_s, job.request.arrival_s))
        return GroupState(
            traffic=self._model.traffic(self._arrived.get(name, ())),
            waiting=parked,
            oldest_wait_s=max(waits, default=0.0),
            decode_step_s=self._mean_step_s(members),
        )

    def _parked_load(self, job: Job, role: Role) -> StageLoad:
        if role != "encode":
            return self._stage_load(job, role)
        total = NO_LOAD
        for number in range(len(job.request.image_tokens)):
            total = total.plus(self._picture_load(job, number))
        return total

    def _mean_step_s(self, members: list[Instance]) -> float | None:
        """Weighted by sequences; None when nothing decodes."""
        batches = [one.decode for one in members if len(one.decode)]
        num = sum(map(len, batches))
        if not num:
            return None
        costs = self.simulation.costs
        return sum(len(b) * costs.decode_step_s(len(b), b.context_tokens) for b in batches) / num
