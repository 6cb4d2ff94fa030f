"""ModServe: a pool of image instances and one of text instances, each scaled to its own load.

* Image instances encode; text instances prefill and decode together, with chunked prefill.
* Every five minutes replicas_k = ceil(ML_k / MC_k), the measured token load over the capacity of an
  instance; at once when fewer than 99 % of the requests met their TTFT target.
* An instance that changes pool loads its weights: no role switching.
* Pictures of a request are spread over the image instances, least outstanding tokens first; shorter
  requests go before longer ones.
"""

import math
from dataclasses import replace

from saccade.scheduler.cluster import Role
from saccade.scheduler.simulator.instance import Instance
from saccade.scheduler.simulator.job import Job
from saccade.scheduler.simulator.policies.base import ALL, Policy, RoleMove
from saccade.scheduler.simulator.policies.layouts import Layout, layout_of, of
from saccade.scheduler.simulator.policies.static_split import DISAGGREGATED

_RESIZE_S = 300.0
_LOOK_S = 5.0
_SLO_ATTAINMENT = 0.99
_TTFT_TARGET_S = 1.0
_RELOAD_S = 10.0
"""7 billion parameters from local storage take 5 to 20 s."""
_COOL_DOWN_S = 30.0
_LONG_TOKENS = 2048
_IMAGE, _TEXT = of("encode"), of("prefill", "decode")


class ModServe(Policy):
    name = "modserve"
    title = "ModServe: pools of image and text instances, autoscaled"
    traits = replace(DISAGGREGATED, prefix_cache=False, visual_cache_tokens=0,
                     prefill_budget_tokens=2048)  # fmt: skip
    tick_s = _LOOK_S

    def __init__(self) -> None:
        super().__init__()
        self._work_s: dict[str, float] = {"image": 0.0, "text": 0.0}
        self._since_s = self._moved_s = 0.0
        self._num_first = self._num_late = 0

    def layout(self, num_instances: int) -> Layout:
        return layout_of(num_instances, ((ALL, _IMAGE, 1.0), (ALL, _TEXT, 3.0)))

    def admit(self, job: Job) -> bool:
        """All are; the load is measured here."""
        model = self.simulation.cost_model
        request = job.request
        self._work_s["image"] += sum(map(model.encode_s, request.image_tokens))
        self._work_s["text"] += model.prefill_batch_s([(job.prompt_tokens, 0)])
        batch = self.traits.max_sequences // 4
        step_s = model.decode_step_s(batch, batch * job.kv_tokens)
        self._work_s["text"] += request.output_tokens * step_s / batch
        return True

    def choose_decode(self, job: Job, source: Instance) -> Instance | None:
        return source if source.serves("decode") else self._best(job, "decode")

    def left(self, job: Job, role: Role, instance: Instance) -> None:
        super().left(job, role, instance)
        if role == "prefill":
            self._num_first += 1
            waited_s = self.simulation.events.now_s - job.request.arrival_s
            self._num_late += waited_s > _TTFT_TARGET_S

    def prefill_order(self, job: Job) -> float:
        """Arrival, with a head start of at most a second for the short."""
        return job.request.arrival_s + min(1.0, job.request.input_tokens / _LONG_TOKENS)

    def tick(self, now_s: float) -> list[RoleMove]:
        late = self._num_late > (1 - _SLO_ATTAINMENT) * self._num_first
        due = now_s - self._since_s >= _RESIZE_S
        if not due and not (late and now_s - self._moved_s >= _COOL_DOWN_S):
            return []
        span_s = max(now_s - self._since_s, _LOOK_S)
        moves = self._resize(self._work_s["image"] / span_s, self._work_s["text"] / span_s)
        self._work_s = {"image": 0.0, "text": 0.0}
        self._num_first = self._num_late = 0
        self._since_s = now_s
        if moves:
            self._moved_s = now_s
        return moves

    def _resize(self, image_need: float, text_need: float) -> list[RoleMove]:
        """Needs are in instances; what is left over is divided in their proportion."""
        total = sum(one.open for one in self.instances)
        wanted = math.ceil(image_need)
        if image_need + text_need > 0:
            wanted = max(wanted, round(total * image_need / (image_need + text_need)))
        text_least = math.ceil(text_need)
        wanted = max(1, min(wanted, max(1, total - text_least), total - 1))
        image = [one for one in self.instances if one.open and one.roles == _IMAGE]
        text = [one for one in self.instances if one.open and one.roles == _TEXT]
        if wanted > len(image):
            text.sort(key=lambda one: (one.num_decoding, one.index))
            chosen, roles = text[: wanted - len(image)], _IMAGE
        else:
            image.sort(key=lambda one: (len(one.encode_queue), one.index))
            chosen, roles = image[: len(image) - wanted], _TEXT
        return [RoleMove(one, ALL, roles, _RELOAD_S) for one in chosen]
