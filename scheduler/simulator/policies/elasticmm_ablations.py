"""ElasticMM with one part taken away, or one of its settings changed.

The first three are the ablations of the paper's Fig. 7 and 8; the others switch off, one by one,
what the scheduler adds to the equations as they are printed.
"""

from dataclasses import replace

from saccade.scheduler.policy import Policy as Settings
from saccade.scheduler.simulator.policies.elasticmm import ElasticMM
from saccade.scheduler.simulator.policies.layouts import Layout, of
from saccade.scheduler.simulator.policies.static_split import DISAGGREGATED

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


class FullyShared(ElasticMM):
    name = "elasticmm-fully-shared"
    title = "one pool: no isolation of text from pictures"
    settings = replace(_PLAIN, isolation=replace(_PLAIN.isolation, level=0.0))


class HardGroups(ElasticMM):
    name = "elasticmm-hard-groups"
    title = "hard groups: no instance crosses over in a burst"
    settings = replace(_PLAIN, reactive=replace(_PLAIN.reactive, enabled=False))


class Literal(ElasticMM):
    name = "elasticmm-literal"
    title = "Eq. 2 and 3 as printed: per token, migration for each request"
    settings = replace(
        _PLAIN, stages=replace(_PLAIN.stages, units="per_token", migration="per_request")
    )


class NoHorizon(ElasticMM):
    name = "elasticmm-no-horizon"
    title = "gains without future arrivals"
    settings = replace(_PLAIN, stages=replace(_PLAIN.stages, horizon_s=0.0))


class NoSwitchBack(ElasticMM):
    name = "elasticmm-no-switch-back"
    title = "costs without the way back"
    settings = replace(_PLAIN, stages=replace(_PLAIN.stages, switch_back=False))


class NoStability(ElasticMM):
    name = "elasticmm-no-stability"
    title = "without dwell, hysteresis and bounds on moves"
    settings = replace(
        _PLAIN,
        stability=replace(
            _PLAIN.stability, min_dwell_s=0.0, hysteresis_ratio=0.0,
            max_moves_per_tick_ratio=1.0, max_flips_per_instance_hour=3600.0,
        ),
    )  # fmt: skip


class FixedEncoders(ElasticMM):
    name = "elasticmm-fixed-encoders"
    title = "encode instances stay what they are"
    settings = replace(_PLAIN, stages=replace(_PLAIN.stages, encode_elasticity=False))
