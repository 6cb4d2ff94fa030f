"""What a client may ask of the engine, and what never reaches it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from saccade.serving.api.questions import Policy
from saccade.serving.errors import InvalidRequestError

# vLLM takes all of these from the body. They would let a client name a host to pull KV blocks from
# (vllm_xargs reaches the same place by another way), read another tenant's prefix cache, or change
# how many tokens a picture has.
STRIPPED_FIELDS = frozenset(
    {
        "bootstrap_host",
        "cache_salt",
        "data_parallel_rank",
        "documents_embeds",
        "ec_transfer_params",
        "kv_hints",
        "kv_transfer_params",
        "media_io_kwargs",
        "mm_payload",
        "mm_processor_kwargs",
        "priority",
        "prompt_embeds",
        "request_id",
        "return_mm_kwargs",
        "routed_experts_prompt_start",
        "saccade",
        "session_id",
        "use_beam_search",
        "uuid",
        "vllm_xargs",
    }
)
STRIPPED_RESPONSE_FIELDS = frozenset({"kv_transfer_params", "ec_transfer_params"})
STRIPPED_HEADERS = frozenset(
    {b"x-data-parallel-rank", b"x-session-id", b"x-vllm-priority", b"x-request-id"}
)


class Extension(BaseModel):
    """The body field `saccade`: what we offer beyond OpenAI's and vLLM's fields."""

    model_config = ConfigDict(extra="forbid", strict=True)

    explain: bool = Field(default=False, description="Say which instance did what, in how long.")
    pruning: dict[str, Any] | list[dict[str, Any]] | None = Field(
        default=None,
        description="Method and options, or several in a row; an empty list prunes nothing.",
    )
    pruning_question: Policy | None = Field(
        default=None, description="The text that methods look at: with_picture or latest."
    )


def read_extension(body: dict[str, Any]) -> Extension:
    """Validate the field `saccade`; InvalidRequestError names the part at fault."""
    value = body.get("saccade")
    if value is None:
        return Extension()
    try:
        return Extension.model_validate(value)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(["saccade", *(str(part) for part in problem["loc"])])
        raise InvalidRequestError(f"{place}: {problem['msg']}", param=place) from None


def stripped(body: dict[str, Any]) -> dict[str, Any]:
    """The body as vLLM may see it."""
    return {key: value for key, value in body.items() if key not in STRIPPED_FIELDS}


def num_answers(body: dict[str, Any], max_choices: int) -> int:
    """How many answers a request asks for: `n` for each prompt.

    Raises:
        InvalidRequestError: more than `max_choices`, or not a number.
    """
    num_choices = _positive(body, "n") if body.get("n") is not None else 1
    best_of = body.get("best_of")
    if best_of is not None and best_of != num_choices:
        raise InvalidRequestError("best_of is not supported.", param="best_of")
    total = num_choices * _num_prompts(body.get("prompt"))
    if total > max_choices:
        raise InvalidRequestError(
            f"{total} answers are asked for, at most {max_choices} are allowed.",
            param="n" if num_choices > max_choices else "prompt",
            code="too_many_choices",
        )
    return total


def _positive(body: dict[str, Any], field: str) -> int:
    value = body[field]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidRequestError(f"{field} must be a positive integer.", param=field)
    return value


def _num_prompts(prompt: Any) -> int:
    """A list of strings or of token lists is several prompts; a list of token ids is one."""
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        return len(prompt)
    return 1
