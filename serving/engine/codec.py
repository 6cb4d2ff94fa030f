"""vLLM's objects as msgpack, for the way between gateway and instance."""

from typing import Any

import msgspec
from vllm.logprobs import Logprob
from vllm.sampling_params import SamplingParams

_encoder = msgspec.msgpack.Encoder()
_sampling = msgspec.msgpack.Decoder(SamplingParams)
_logprobs = msgspec.msgpack.Decoder(list[dict[int, Logprob] | None], strict=False)
_any = msgspec.msgpack.Decoder()


def encode_sampling(params: SamplingParams) -> bytes:
    return _encoder.encode(params)


def one_token() -> bytes:
    """Parameters of an answer that nobody reads: the prompt is what is to be computed."""
    return encode_sampling(SamplingParams(temperature=0.0, max_tokens=1, detokenize=False))


def decode_sampling(data: bytes) -> SamplingParams:
    return _sampling.decode(data)


def encode_logprobs(logprobs: Any) -> bytes:
    """A list of positions, each a mapping from token id to `Logprob`, or None."""
    return _encoder.encode([None if position is None else dict(position) for position in logprobs])


def decode_logprobs(data: bytes) -> list[dict[int, Logprob] | None]:
    return _logprobs.decode(data)


def encode_value(value: Any) -> bytes:
    return _encoder.encode(value)


def decode_value(data: bytes) -> Any:
    return _any.decode(data)
