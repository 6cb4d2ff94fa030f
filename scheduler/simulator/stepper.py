"""What a GPU does next: one step at a time, and nothing else while the step runs."""

from collections.abc import Callable
from dataclasses import dataclass

from saccade.scheduler.simulator.caches import cached_prefix_tokens
from saccade.scheduler.simulator.costs import Costs
from saccade.scheduler.simulator.events import EventQueue
from saccade.scheduler.simulator.instance import EncodeTask, Instance
from saccade.scheduler.simulator.job import Job


@dataclass(frozen=True)
class StepCallbacks:
    """What happens to requests when a step ends, and who decides the size of a batch."""

    encoded: Callable[[Job, int, int, Instance, bool], None]
    """Job, picture, stamp of the task, where, and whether it was computed (else passed over)."""
    prefilled: Callable[[Job, Instance], None]
    finished: Callable[[Job, Instance], None]
    num_to_prefill: Callable[[Instance, int], int]
    """How many from the head of the queue, given the KV tokens that are free."""
    take_to_prefill: Callable[[Instance, int], list[Job]]
    """These leave the queue."""
    take_to_encode: Callable[[Instance], EncodeTask]
    between_steps: Callable[[Instance], None]
    """An instance that is emptied for another role is between two steps."""


class Stepper:
    """Chooses and runs the steps of instances. A prefill comes before decoding; encode and LLM take
    turns where one instance serves both."""

    def __init__(self, events: EventQueue, costs: Costs, callbacks: StepCallbacks) -> None:
        self._events = events
        self._costs = costs
        self._traits = costs.traits
        self._call = callbacks

    def wake(self, instance: Instance) -> None:
        """Work arrived, or room was made."""
        if not instance.alive or instance.stepping:
            return
        if not instance.segment:
            self._next(instance)
        elif instance.joining:
            self._join_segment(instance)
            if self._has_other_work(instance):
                self._interrupt(instance)
        elif self._has_other_work(instance):
            self._interrupt(instance)

    def halt_decode(self, instance: Instance) -> None:
        """Stop a decode segment at the end of its step, so that its batch can be taken apart."""
        if instance.segment:
            instance.decode.advance_to_boundary(self._events.now_s)
            instance.segment = False
            instance.plan += 1
        self._finish_decoded(instance)

    # Between steps ------------------------------------------------------------------------------

    def _next(self, instance: Instance) -> None:
        """The GPU is free now."""
        instance.stepping = False
        self._finish_decoded(instance)
        while instance.joining:
            instance.decode.add(instance.joining.pop())
        if instance.moving:
            self._call.between_steps(instance)
        if instance.encode_queue and (instance.turn_encode or not self._has_llm_work(instance)):
            self._start_encode(instance)
        elif self._start_prefill(instance):
            instance.turn_encode = True
        elif instance.encode_queue:
            self._start_encode(instance)
        elif len(instance.decode):
            self._start_segment(instance)

    def _has_llm_work(self, instance: Instance) -> bool:
        return bool(instance.prefill_queue or instance.partial or len(instance.decode))

    def _has_other_work(self, instance: Instance) -> bool:
        if instance.encode_queue or instance.partial:
            return True
        return bool(instance.prefill_queue) and self._num_fitting(instance) > 0

    def _after(self, instance: Instance, span_s: float, end: Callable[..., None]) -> None:
        instance.stepping = True
        self._events.after(span_s, self._step_end, instance, instance.epoch, end)

    def _step_end(self, instance: Instance, epoch: int, end: Callable[..., None]) -> None:
        if epoch != instance.epoch:
            return
        end(instance)  # still stepping: whatever it sets off must not start another step
        self._next(instance)

    # Decode alone: analytic ----------------------------------------------------------------------

    def _start_segment(self, instance: Instance) -> None:
        instance.segment = True
        instance.decode.resume(self._events.now_s)
        self._plan(instance)

    def _plan(self, instance: Instance) -> None:
        instance.plan += 1
        self._events.at(instance.decode.next_finish_s(), self._segment_end, instance, instance.plan)

    def _segment_end(self, instance: Instance, plan: int) -> None:
        if plan != instance.plan or not instance.segment:
            return
        instance.decode.advance_to_finish()
        instance.segment = False
        self._next(instance)

    def _join_segment(self, instance: Instance) -> None:
        instance.decode.advance_to_boundary(self._events.now_s)
        while instance.joining:
            instance.decode.add(instance.joining.pop())
        self._plan(instance)

    def _interrupt(self, instance: Instance) -> None:
        """Other work waits: end the segment with its current step."""
        boundary_s = instance.decode.advance_to_boundary(self._events.now_s)
        instance.segment = False
        instance.plan += 1
        self._after(instance, boundary_s - self._events.now_s, _nothing)

    def _finish_decoded(self, instance: Instance) -> None:
        if not len(instance.decode):
            return
        stepping, instance.stepping = instance.stepping, True  # a callback may wake this instance
        for job in instance.decode.pop_finished():
            self._call.finished(job, instance)
        instance.stepping = stepping

    # Encode --------------------------------------------------------------------------------------

    def _start_encode(self, instance: Instance) -> None:
        job, number, stamp = self._call.take_to_encode(instance)
        instance.turn_encode = False
        if job.ended or stamp != job.stamp:
            self._call.encoded(job, number, stamp, instance, False)
            self._after(instance, 0.0, _nothing)
            return
        instance.encoding = (job, number, stamp)
        span_s = self._costs.encode_step_s(job.request.image_tokens[number])
        instance.busy_s["encode"] += span_s

        def end(where: Instance) -> None:
            where.encoding = None
            self._call.encoded(job, number, stamp, where, True)

        self._after(instance, span_s, end)

    # Prefill -------------------------------------------------------------------------------------

    def _start_prefill(self, instance: Instance) -> bool:
        if not instance.prefill_queue and instance.partial is None:
            return False
        if self._traits.chunked_prefill and (len(instance.decode) or self._traits.inline_encode):
            return self._start_mixed(instance)
        return self._start_batch(instance)

    def _num_fitting(self, instance: Instance) -> int:
        """Requests from the head of the queue that may start now; ended ones are dropped."""
        queue = instance.prefill_queue
        while queue and queue[0][2].ended:
            del queue[0]
        room = self._traits.max_sequences - instance.num_decoding
        if not queue or room <= 0:
            return 0
        return min(room, self._call.num_to_prefill(instance, instance.kv_free_tokens))

    def _take(self, instance: Instance, count: int) -> list[Job]:
        """Their prefill begins: KV is set aside, the cache is looked up."""
        taken = self._call.take_to_prefill(instance, count)
        for job in taken:
            job.moved("prefill", instance.index)
            cached = cached_prefix_tokens(instance.prefix_cache, job.request)
            job.cached_tokens = min(cached, job.context_tokens - 1)
            job.prefilled_tokens = job.cached_tokens
            instance.reserve_kv(job)
        return taken

    def _start_batch(self, instance: Instance) -> bool:
        """Whole prompts in one step; decoding halts meanwhile."""
        batch = self._take(instance, self._num_fitting(instance))
        if instance.partial is not None:
            batch.append(instance.partial)
            instance.partial = None
        if not batch:
            return False
        sequences, pictures = [], []
        for job in batch:
            before, job.prefilled_tokens = job.prefilled_tokens, job.context_tokens
            sequences.append((job.context_tokens, before))
            if self._traits.inline_encode:
                pictures += self._pictures(job, instance, before)
        span_s, encode_s = self._costs.prefill_step_s(sequences, pictures)
        self._spend(instance, span_s, encode_s, 0.0)
        instance.running = batch
        self._after(instance, span_s, self._end_prefill)
        return True

    def _start_mixed(self, instance: Instance) -> bool:
        """One token for each decoding sequence, and chunks of prompts up to the budget."""
        num_decoding, context = len(instance.decode), instance.decode.context_tokens
        left = max(1, self._costs.budget_tokens - num_decoding)
        sequences: list[tuple[int, int]] = []
        pictures: list[int] = []
        running: list[Job] = []
        while left > 0:
            job = instance.partial
            if job is None:
                job = next(iter(self._take(instance, min(1, self._num_fitting(instance)))), None)
            if job is None:
                break
            before = job.prefilled_tokens
            job.prefilled_tokens = min(job.context_tokens, before + left)
            left -= job.prefilled_tokens - before
            sequences.append((job.prefilled_tokens, before))
            if self._traits.inline_encode:
                pictures += self._pictures(job, instance, before)
            done = job.prefilled_tokens == job.context_tokens
            instance.partial = None if done else job
            if done:
                running.append(job)
        if not sequences:
            return False
        decoding = (num_decoding, context)
        span_s, encode_s = self._costs.prefill_step_s(sequences, pictures, decoding)
        decode_s = self._costs.model.decode_slope_s(*decoding) if num_decoding else 0.0
        self._spend(instance, span_s, encode_s, decode_s)
        instance.running = running
        self._after(instance, span_s, self._end_mixed)
        return True

    def _end_mixed(self, instance: Instance) -> None:
        if len(instance.decode):
            instance.decode.one_step()
            self._finish_decoded(instance)
        self._end_prefill(instance)

    def _end_prefill(self, instance: Instance) -> None:
        batch, instance.running = instance.running, []
        for job in batch:
            self._call.prefilled(job, instance)

    def _pictures(self, job: Job, instance: Instance, before: int) -> list[int]:
        """Pictures whose first token that is not cached lies in the chunk from `before` on.

        Pictures stand at the start of the prompt, in their order; under cross-attention they are
        not in it, and the first chunk needs them all.
        """
        found, end = [], 0
        keys = job.request.image_keys
        for number, tokens in enumerate(job.request.image_tokens):
            first, end = max(end, job.cached_tokens), end + tokens
            if self._costs.cross_attention:
                wanted = before == job.cached_tokens
            else:
                wanted = first < end and before <= first < job.prefilled_tokens
            if wanted and not (keys and instance.visual_cache.touch(keys[number])):
                found.append(tokens)
                if keys:
                    instance.visual_cache.put(keys[number], tokens)
        return found

    def _spend(self, instance: Instance, span_s: float, encode_s: float, decode_s: float) -> None:
        instance.busy_s["encode"] += encode_s
        instance.busy_s["prefill"] += span_s - encode_s - decode_s
        instance.decode.busy_s += decode_s


def _nothing(_: Instance) -> None:
    pass
