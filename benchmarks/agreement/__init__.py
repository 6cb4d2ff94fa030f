"""Does `saccade loadtest` measure what `vllm bench serve` measures?"""
