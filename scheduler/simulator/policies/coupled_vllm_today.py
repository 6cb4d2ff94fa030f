"""vLLM of today (V1), coupled: the same GPUs without disaggregation, but a better engine.

* Chunked prefill of 2,048 tokens a step beside the decode batch; the tower runs in the step that
  reaches the picture.
* An encoder cache and a prefix cache on each instance.
* Pictures are preprocessed in the front end of each instance, outside the engine's loop.
"""

from saccade.scheduler.simulator.costs import EngineTraits
from saccade.scheduler.simulator.policies.coupled_vllm_0_6_6 import CoupledVllm066
from saccade.scheduler.simulator.policies.static_split import VISUAL_CACHE_TOKENS


class CoupledVllmToday(CoupledVllm066):
    name = "coupled-vllm-today"
    title = "coupled vLLM of today: chunked prefill, encoder and prefix cache"
    traits = EngineTraits(
        inline_encode=True,
        chunked_prefill=True,
        prefill_budget_tokens=2048,
        visual_cache_tokens=VISUAL_CACHE_TOKENS,
        prefix_cache=True,
    )
