"""ElasticMM with one part taken away, or one of its settings changed.

The first three are the ablations of the paper's Fig. 7 and 8. What the scheduler adds to the
equations as they are printed is switched off, piece by piece, by the table in `switches.py`.
"""

from dataclasses import replace

from saccade.scheduler.admission import Admission
from saccade.scheduler.cost_model import CostModel
from saccade.scheduler.policy import Policy as Settings
from saccade.scheduler.simulator.job import Job
from saccade.scheduler.simulator.policies.elasticmm import ElasticMM
from saccade.scheduler.simulator.policies.layouts import Layout, of
from saccade.scheduler.simulator.policies.static_split import DISAGGREGATED
from saccade.scheduler.simulator.policies.switches import Switch

_PLAIN = Settings()


class NoCache(ElasticMM):
    name = "elasticmm-no-cache"
    title = "without the unified cache: no visual tokens, no prefixes"
    traits = replace(DISAGGREGATED, visual_cache_tokens=0, prefix_cache=False)


class BlockingEncode(ElasticMM):
    """No encode instances: the tower runs in the step of the prefill, which waits for it."""

    name = "elasticmm-blocking-encode"
    title = "blocking encoding: on the prefill instance, in its step"
    traits = replace(DISAGGREGATED, inline_encode=True, chunked_prefill=False)
    settings = replace(
        _PLAIN,
        groups=tuple(replace(spec, stages=("prefill", "decode")) for spec in _PLAIN.groups),
    )

    def layout(self, num_instances: int) -> Layout:
        encode, prefill = of("encode"), of("prefill")
        return [
            (group, prefill if roles == encode else roles)
            for group, roles in super().layout(num_instances)
        ]


class NoElasticity(ElasticMM):
    name = "elasticmm-no-elasticity"
    title = "without elasticity: roles stay as at the start"
    elastic = False


class Admitting(ElasticMM):
    """With the scheduler's admission in front, which the paper does not have."""

    name = "elasticmm-admission"
    title = "with admission: what would wait too long is refused"

    def __init__(self) -> None:
        super().__init__()
        self._admission = Admission(self.settings.admission)

    def admit(self, job: Job) -> bool:
        super().admit(job)
        shape = self._shapes[job.key]
        wait_s = self._placement.least_wait_s(
            shape.modality, "encode" if shape.visual else "prefill"
        )
        service_s = sum(self._model.encode_s(item.tokens) for item in shape.visual)
        service_s += self._model.prefill_s(job.prompt_tokens)
        now_s = self.simulation.events.now_s
        if not self._admission.decide(shape, wait_s, service_s, now_s).admitted:
            return False
        self._admission.admit(shape)
        return True

    def ended(self, job: Job) -> None:
        super().ended(job)
        if job.state != "rejected":
            self._admission.release(str(job.key), self.simulation.events.now_s)


class Switched(ElasticMM):
    """ElasticMM with a switch thrown."""

    def __init__(self, name: str, switch: Switch) -> None:
        self.name = name
        self.title = switch.title
        self.settings = switch.applied_to(ElasticMM.settings)
        self._switch = switch
        super().__init__()

    def decision_model(self, model: CostModel) -> CostModel:
        ratio = self._switch.full_step_ratio
        return model if ratio is None else replace(model, full_step_ratio=ratio)
