"""The way of a request through the stages, and what brings it back when an instance is lost."""

import heapq
from collections import deque
from collections.abc import Callable, Iterator

from saccade.scheduler.cluster import Role
from saccade.scheduler.simulator.caches import LruCache, remember_prefix
from saccade.scheduler.simulator.costs import Costs
from saccade.scheduler.simulator.events import EventQueue
from saccade.scheduler.simulator.instance import EncodeTask, Instance
from saccade.scheduler.simulator.job import Job
from saccade.scheduler.simulator.metrics import Metrics
from saccade.scheduler.simulator.policies.base import Policy
from saccade.scheduler.simulator.stepper import StepCallbacks, Stepper
from saccade.scheduler.simulator.workloads.base import TraceRequest


class Pipeline:
    """Moves requests from stage to stage; a policy says where each goes.

    Invariant: a request that arrived is in exactly one place (a pool, a queue, a batch, a transfer,
    parked) until it ends, once, as finished, cancelled or rejected.
    """

    def __init__(
        self, events: EventQueue, costs: Costs, instances: list[Instance], policy: Policy,
        metrics: Metrics,
    ) -> None:  # fmt: skip
        self.events = events
        self.costs = costs
        self.instances = instances
        self.policy = policy
        self.metrics = metrics
        self.traits = costs.traits
        self.in_system: dict[int, Job] = {}
        self.parked: dict[int, tuple[Job, Role]] = {}
        """Requests for which no instance serves the next stage."""
        self.stepper = Stepper(
            events, costs,
            StepCallbacks(self._encoded, self._prefilled, self._finished,
                          policy.num_to_prefill, policy.take_to_prefill, policy.take_to_encode,
                          self._between_steps),
        )  # fmt: skip
        # A pool for all, or each instance's own beside the engine.
        shared = not self.traits.inline_encode
        cores = self.traits.preprocess_cores
        self._cores = (
            [[0.0] * (cores * len(instances))] if shared else [[0.0] * cores for _ in instances]
        )
        self.visual_cache = LruCache(
            self.traits.visual_cache_tokens * len(instances) if shared else 0
        )
        self.on_between_steps: Callable[[Instance], None] = lambda _: None
        self._arrivals: Iterator[TraceRequest] = iter(())
        self._num_arrived = 0
        self.exhausted = False

    def _between_steps(self, instance: Instance) -> None:
        self.on_between_steps(instance)

    # Arrival -------------------------------------------------------------------------------------

    def feed(self, requests: Iterator[TraceRequest]) -> None:
        """Take arrivals from here on, one at a time."""
        self._arrivals = requests
        self._next_arrival()

    def _next_arrival(self) -> None:
        request = next(self._arrivals, None)
        if request is None:
            self.exhausted = True
        else:
            self.events.at(request.arrival_s, self._arrive, request)

    def _arrive(self, request: TraceRequest) -> None:
        self._next_arrival()
        job = Job(self._num_arrived, request, self.costs.prompt_tokens(request))
        self._num_arrived += 1
        self.metrics.arrived(job)
        self.in_system[job.key] = job
        if request.patience_s != float("inf"):
            self.events.after(request.patience_s, self._lose_patience, job)
        if job.kv_tokens > self.instances[0].kv_capacity_tokens or not self.policy.admit(job):
            self._end(job, "rejected")
        elif not request.image_tokens or self.traits.inline_encode:
            self.to_prefill(job)
        else:
            self.to_encode(job)

    def _lose_patience(self, job: Job) -> None:
        if job.first_token_s is None and not job.ended:
            home = job.home
            self._leave(job)
            self._end(job, "cancelled")
            if home >= 0:
                self.stepper.wake(self.instances[home])

    # Preprocess and encode -----------------------------------------------------------------------

    def to_encode(self, job: Job) -> None:
        """Pictures that are not in the cache go to the CPU pool, each on its own."""
        self._leave(job)
        stamp = job.moved("preprocess")
        self.policy.encode_begins(job)
        request = job.request
        job.images_left = 0
        for number, tokens in enumerate(request.image_tokens):
            if request.image_keys and self.visual_cache.touch(request.image_keys[number]):
                continue
            job.images_left += 1
            self.events.at(self._preprocessed_s(0, tokens), self._place_encode, job, number, stamp)
        if job.images_left == 0:
            self.to_prefill(job)

    def _preprocessed_s(self, pool: int, tokens: int) -> float:
        """When the first free core will have done a picture."""
        cores = self._cores[pool]
        done_s = max(self.events.now_s, cores[0]) + self.costs.preprocess_s(tokens)
        heapq.heapreplace(cores, done_s)
        return done_s

    def _place_encode(self, job: Job, number: int, stamp: int) -> None:
        if stamp != job.stamp:
            return
        keys = job.request.image_keys
        if keys and keys[number] in self.visual_cache:
            self._one_encoded(job)  # another request has brought it meanwhile
            return
        instance = self.policy.choose_encode(job, number)
        if instance is None:
            self._park(job, "encode")
            return
        job.state = "encode"
        job.queued_s = self.events.now_s
        self.policy.encode_placed(job, number, instance)
        task = (job, number, stamp)
        instance.encode_queue.append(task)
        self.policy.encode_queued(task, instance)
        self.stepper.wake(instance)

    def _encoded(
        self, job: Job, number: int, stamp: int, instance: Instance, computed: bool
    ) -> None:
        self.policy.encode_done(job, number, instance)
        if not computed:
            return
        keys = job.request.image_keys
        if keys:
            gone = self.visual_cache.put(keys[number], job.request.image_tokens[number])
            self.policy.visual_cached(instance, keys[number], gone)
        if stamp == job.stamp:
            self._one_encoded(job)

    def _one_encoded(self, job: Job) -> None:
        job.images_left -= 1
        if job.images_left == 0:
            self.to_prefill(job)

    # Prefill -------------------------------------------------------------------------------------

    def to_prefill(self, job: Job) -> None:
        """Send it, with its visual tokens, to an instance that prefills."""
        self._leave(job)
        instance = self.policy.choose_prefill(job)
        if instance is None:
            self._park(job, "prefill")
            return
        stamp = job.moved("prefill_wait", instance.index)
        self.policy.placed(job, "prefill", instance)
        pictures = job.request.image_tokens
        now_s = ready_s = self.events.now_s
        if pictures and self.traits.inline_encode and not self.traits.blocking_preprocess:
            ready_s = max(self._preprocessed_s(instance.index, tokens) for tokens in pictures)
        elif pictures and not self.traits.inline_encode:
            ready_s = now_s + self.costs.model.visual_transfer_s(sum(pictures))
        if ready_s > now_s:
            self.events.at(ready_s, self._queue_prefill, job, stamp)
        else:
            self._queue_prefill(job, stamp)

    def _queue_prefill(self, job: Job, stamp: int) -> None:
        if stamp != job.stamp:
            return
        instance = self.instances[job.home]
        if not instance.serves("prefill"):
            self.to_prefill(job)
            return
        job.queued_s = self.events.now_s
        instance.queue_prefill(self.policy.prefill_order(job), job)
        self.policy.prefill_queued(job, instance)
        self.stepper.wake(instance)

    def _prefilled(self, job: Job, instance: Instance) -> None:
        """Its first token (the next one, after a failure) is there."""
        if job.ended or job.home != instance.index or job.state != "prefill":
            self._release(job, instance)
            return
        self.policy.left(job, "prefill", instance)
        self.policy.prefix_cached(
            instance, job, remember_prefix(instance.prefix_cache, job.request)
        )
        job.generated_tokens += 1
        if job.first_token_s is None:
            job.first_token_s = self.events.now_s
            self.metrics.first_token(job, self.events.now_s)
        if job.remaining_tokens == 0:
            self._release(job, instance)
            self._end(job, "finished")
        else:
            self.to_decode(job)

    # Decode --------------------------------------------------------------------------------------

    def to_decode(self, job: Job, delay_s: float | None = None) -> None:
        """Hand its KV over to an instance that decodes; `delay_s`: as part of a migration."""
        source = self.instances[job.kv_holder]
        target = self.policy.choose_decode(job, source)
        if target is None:
            self._park(job, "decode")
            return
        stamp = job.moved("transfer", target.index)
        self.policy.placed(job, "decode", target)
        if target is source:
            delay_s = 0.0
            if job.kv_reserved:
                self._join(job, target)
                return
        if delay_s is None:
            delay_s = self.costs.model.kv_transfer_s(job.context_tokens)
        self.metrics.transferred_kv_tokens += job.context_tokens
        self.events.after(delay_s, self._receive_kv, job, stamp)

    def _receive_kv(self, job: Job, stamp: int) -> None:
        if stamp != job.stamp:
            return
        target = self.instances[job.home]
        if not target.serves("decode"):
            self.policy.left(job, "decode", target)
            self.to_decode(job)
            return
        # Whether there is room or not, the source is free of it: instances that wait for each
        # other's room would wait for ever.
        source = self.instances[job.kv_holder]
        self._release(job, source)
        if target.kv_free_tokens < job.kv_tokens:
            job.kv_holder = target.index
            target.kv_waiting.append(job)
        else:
            target.reserve_kv(job)
            self._join(job, target)
        self.stepper.wake(source)

    def _join(self, job: Job, target: Instance) -> None:
        job.state = "decode"
        target.joining.append(job)
        self.stepper.wake(target)

    def _finished(self, job: Job, instance: Instance) -> None:
        self.policy.left(job, "decode", instance)
        self._release(job, instance)
        self._end(job, "finished")

    # Ends ----------------------------------------------------------------------------------------

    def _end(self, job: Job, how: str) -> None:
        del self.in_system[job.key]  # a second end is a KeyError
        job.moved(how)  # type: ignore[arg-type]
        self.policy.ended(job)
        self.metrics.ended(job, self.events.now_s)

    def _release(self, job: Job, instance: Instance) -> None:
        """Its KV on `instance` is free; others may have waited for the room."""
        if job.kv_holder != instance.index:
            return
        instance.release_kv(job)
        waiting = instance.kv_waiting
        while waiting and (waiting[0].state != "transfer" or waiting[0].home != instance.index):
            waiting.popleft()
        if waiting and instance.kv_free_tokens >= waiting[0].kv_tokens:
            head = waiting.popleft()
            self.events.after(0.0, self._receive_kv, head, head.stamp)

    def _park(self, job: Job, role: Role) -> None:
        if job.state in ("preprocess", "encode"):
            self.policy.encode_ends(job)
        job.moved("parked")
        self.parked[job.key] = (job, role)

    def evacuate(self, instance: Instance, roles: frozenset[Role]) -> int:
        """Send elsewhere what waits or decodes for `roles`; a running step is finished first.

        Sequences that decode move one after another over one link: migration is charged once.
        Returns the KV tokens that move.
        """
        if "encode" in roles:
            tasks = self._without_pictures(instance)
            for job, number, stamp in tasks:
                self.policy.encode_done(job, number, instance)
                self._place_encode(job, number, stamp)
        if "prefill" in roles:
            for job in [entry[2] for entry in instance.prefill_queue]:
                self.to_prefill(job)
        if "decode" in roles:
            return self._migrate(instance)
        return 0

    def _without_pictures(self, instance: Instance) -> deque[EncodeTask]:
        """Empty its encode queue; returns what waited there."""
        tasks, instance.encode_queue = instance.encode_queue, deque()
        self.policy.encode_queue_lost(instance)
        return tasks

    def _migrate(self, instance: Instance) -> int:
        self.stepper.halt_decode(instance)
        moved_tokens = 0
        for job in instance.decode_jobs():
            self.policy.left(job, "decode", instance)
            if job in instance.decode:
                instance.decode.remove(job)
            moved_tokens += job.context_tokens
            self.to_decode(job, self.costs.model.migration_s(moved_tokens))
        instance.joining.clear()
        for job in list(instance.kv_waiting):
            self.events.after(0.0, self._receive_kv, job, job.stamp)
        instance.kv_waiting.clear()
        return moved_tokens

    def lose(self, instance: Instance) -> None:
        """The instance is gone: what it did is done again from the last stage that survives."""
        tasks = self._without_pictures(instance)
        if instance.encoding is not None:
            tasks.appendleft(instance.encoding)
        affected = [
            job for job in self.in_system.values() if instance.index in (job.home, job.kv_holder)
        ]
        for job in affected:
            self._lose_job(job, instance)
        instance.kv_used_tokens = 0
        for job, number, stamp in tasks:
            self.policy.encode_done(job, number, instance)
            self._place_encode(job, number, stamp)

    def _lose_job(self, job: Job, instance: Instance) -> None:
        """With its KV lost it prefills again, generated tokens included; else it is sent on."""
        if job.kv_holder == instance.index or job.state not in ("transfer", "decode"):
            self._leave(job)
            job.kv_holder, job.kv_reserved = -1, False
            self.to_prefill(job)
        else:
            self.policy.left(job, "decode", instance)
            self.to_decode(job)

    def retry_parked(self) -> None:
        """Roles have changed: try again for those that found no instance."""
        waiting, self.parked = self.parked, {}
        for job, role in waiting.values():
            if role == "encode":
                self.to_encode(job)
            elif role == "prefill":
                self.to_prefill(job)
            else:
                self.to_decode(job)

    def _leave(self, job: Job) -> None:
        """Take it out of wherever it waits or runs, so that it can go elsewhere or end."""
        self.parked.pop(job.key, None)
        if job.home < 0:
            if job.state in ("preprocess", "encode"):
                self.policy.encode_ends(job)
            return
        instance = self.instances[job.home]
        if job.state in ("prefill_wait", "prefill"):
            self.policy.left(job, "prefill", instance)
            instance.prefill_queue = [one for one in instance.prefill_queue if one[2] is not job]
            if instance.partial is job:
                instance.partial = None
                self._release(job, instance)
        elif job.state in ("transfer", "decode"):
            self.policy.left(job, "decode", instance)
            if job in instance.decode:
                instance.decode.remove(job)
            elif job in instance.joining:
                instance.joining.remove(job)
        if job.kv_holder >= 0 and job.state != "prefill":
            self._release(job, self.instances[job.kv_holder])
        job.home = -1
