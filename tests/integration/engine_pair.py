"""Two real vLLM engines in one process: one prefills, the other takes over."""

import asyncio
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from saccade.serving.engine.environment import prepare_environment

prepare_environment(threads=1)

from vllm import SamplingParams  # noqa: E402

from saccade.encoders.base import VisualTokens  # noqa: E402
from saccade.serving.engine.codec import decode_value, encode_sampling  # noqa: E402
from saccade.serving.engine.runtime import LLMRuntime  # noqa: E402
from saccade.serving.transport.instance_pb2 import (  # noqa: E402
    GenerateRequest,
    Prompt,
    VisualSpan,
)
from tests.unit.some_settings import some_settings  # noqa: E402

LEASE_S = 3
IMAGE_TOKEN_ID = 2


@dataclass
class Pair:
    """`first` prefills, `second` decodes; either can do both."""

    first: LLMRuntime
    second: LLMRuntime

    def shutdown(self) -> None:
        self.first.shutdown(5)
        self.second.shutdown(5)


def load_pair(checkpoint: Path, lease_s: int = LEASE_S) -> Pair:
    """The lease is short so that its end can be seen; a longer one waits for a busy machine."""
    return Pair(_load(checkpoint, lease_s), _load(checkpoint, lease_s))


def load_one(checkpoint: Path) -> LLMRuntime:
    """One engine that publishes its KV events."""
    return _load(checkpoint, LEASE_S)


def _load(checkpoint: Path, lease_s: int) -> LLMRuntime:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ["VLLM_NIXL_SIDE_CHANNEL_HOST"] = os.environ["VLLM_HOST_IP"] = "127.0.0.1"
    os.environ["VLLM_NIXL_SIDE_CHANNEL_PORT"] = str(port)
    settings = some_settings(
        model={"path": checkpoint, "dtype": "float32", "max_model_len": 2048},
        engine={"kv_lease_s": lease_s, "kv_cache_bytes": 64 * 2**20},
    )
    return LLMRuntime.load(settings)


def text(*token_ids: int, salt: str = "") -> Prompt:
    return Prompt(token_ids=token_ids or range(10, 60), cache_salt=salt)


def with_pictures(counts: Sequence[int], seed: int) -> tuple[Prompt, list[VisualTokens]]:
    """A prompt with random visual tokens, `counts` of them in each picture."""
    generator = torch.Generator().manual_seed(seed)
    token_ids: list[int] = [1, 20, 30]
    spans = []
    for index, count in enumerate(counts):
        key = f"{seed}-{index}-{count}"
        spans.append(VisualSpan(offset=len(token_ids), num_tokens=count, key=key))
        token_ids += [IMAGE_TOKEN_ID] * count + [40 + index, 50]
    tokens = [
        VisualTokens(torch.randn(count, 192, generator=generator), None, count) for count in counts
    ]
    return Prompt(token_ids=token_ids, visual_spans=spans), tokens


async def answer(
    runtime: LLMRuntime,
    key: str,
    prompt: Prompt,
    visual_tokens: Sequence[VisualTokens] = (),
    *,
    handover: bytes = b"",
    **sampling: Any,
) -> tuple[list[int], str]:
    """Greedy tokens and the finish reason."""
    params = SamplingParams(**({"temperature": 0, "max_tokens": 12} | sampling))
    request = GenerateRequest(
        request_key=key, prompt=prompt, sampling=encode_sampling(params), handover=handover
    )
    token_ids: list[int] = []
    reason = ""
    async for chunk in runtime.generate(request, visual_tokens):
        token_ids += chunk.token_ids
        reason = chunk.finish_reason
    return token_ids, reason


async def until_expired(handover: bytes) -> None:
    """Wait until the prefilling side has let go of its blocks."""
    # Both engines run on this machine, so they share this clock with us.
    expiry_s = decode_value(handover)["remote_blocks_expiry_time"]
    while time.perf_counter() < expiry_s + 0.5:  # noqa: ASYNC110  there is nobody to wait for
        await asyncio.sleep(0.05)
