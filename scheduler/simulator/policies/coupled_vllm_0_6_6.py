"""vLLM 0.6.6, ElasticMM's baseline: every stage of a request on one instance, one after another.

* The engine's loop preprocesses and encodes the pictures of a batch right before its prefill; the
  GPU waits for the CPU, and the running sequences for both.
* Prefill goes before decode (the V0 scheduler); multimodal models had no chunked prefill.
* No cache of encoder outputs, and no prefix cache for prompts with pictures.
* Requests go to the instance with the least unfinished tokens, the best that a router in front can
  do without asking the engine.
"""

from saccade.scheduler.cluster import Role
from saccade.scheduler.simulator.costs import EngineTraits
from saccade.scheduler.simulator.instance import Instance
from saccade.scheduler.simulator.job import Job
from saccade.scheduler.simulator.policies.base import ALL, Policy
from saccade.scheduler.simulator.policies.layouts import Layout, of


class CoupledVllm066(Policy):
    name = "coupled-vllm-0.6.6"
    title = "coupled vLLM 0.6.6: encode inline, no encoder cache"
    traits = EngineTraits(inline_encode=True, blocking_preprocess=True, prefill_budget_tokens=8192)

    def layout(self, num_instances: int) -> Layout:
        return [(ALL, of("encode", "prefill", "decode"))] * num_instances

    def choose_prefill(self, job: Job) -> Instance | None:
        """The unfinished tokens of both stages count: the instance keeps the request."""
        return self._best(job, "decode")

    def choose_decode(self, job: Job, source: Instance) -> Instance | None:
        return source if source.serves("decode") else self._best(job, "decode")

    def placed(self, job: Job, role: Role, instance: Instance) -> None:
        self._change(instance, "decode", job.kv_tokens)

    def left(self, job: Job, role: Role, instance: Instance) -> None:
        self._change(instance, "decode", -job.kv_tokens)


class RoundRobin(CoupledVllm066):
    """Behind a proxy that looks at nothing."""

    name = "coupled-vllm-0.6.6-round-robin"
    title = "the same behind a round-robin proxy"

    def choose_prefill(self, job: Job) -> Instance | None:
        serving = [one for one in self.instances if one.serves("prefill")]
        return serving[job.key % len(serving)] if serving else None
