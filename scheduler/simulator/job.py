"""A request on its way through the stages."""

from typing import Literal

from saccade.scheduler.simulator.workloads.base import Modality, TraceRequest

State = Literal[
    "new", "preprocess", "encode", "prefill_wait", "prefill", "transfer", "decode",
    "parked", "finished", "cancelled", "rejected",
]  # fmt: skip
ENDED = ("finished", "cancelled", "rejected")


class Job:
    """State of one request; `stamp` changes whenever it is sent elsewhere, which voids events."""

    __slots__ = (
        "cached_tokens", "first_token_s", "generated_tokens", "home", "images_left", "key",
        "kv_holder", "kv_reserved", "modality", "prefilled_tokens", "prompt_tokens", "queued_s",
        "request", "stamp", "state",
    )  # fmt: skip

    def __init__(self, key: int, request: TraceRequest, prompt_tokens: int) -> None:
        self.key = key
        self.prompt_tokens = prompt_tokens
        self.request = request
        self.modality: Modality = request.modality
        self.state: State = "new"
        self.stamp = 0
        self.home = -1
        """Index of the instance that works on it; -1: none."""
        self.kv_holder = -1
        """Index of the instance where its KV is; -1: it has none."""
        self.kv_reserved = False
        """Its KV lies in the GPU's memory; False: in the host's, where it waits for room."""
        self.images_left = len(request.image_tokens)
        """Pictures whose visual tokens are still to come."""
        self.cached_tokens = 0
        self.prefilled_tokens = 0
        self.generated_tokens = 0
        """Tokens that the client has."""
        self.first_token_s: float | None = None
        self.queued_s = 0.0
        """Since when it waits for the stage that it is in."""

    @property
    def context_tokens(self) -> int:
        """What a prefill has to cover: the prompt, and what was generated before a failure."""
        return self.prompt_tokens + self.generated_tokens

    @property
    def remaining_tokens(self) -> int:
        return self.request.output_tokens - self.generated_tokens

    @property
    def kv_tokens(self) -> int:
        """KV that it will hold in the end."""
        return self.prompt_tokens + self.request.output_tokens

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def moved(self, state: State, home: int = -1) -> int:
        """Enter `state` at an instance; returns the stamp that its events must carry."""
        self.state = state
        self.home = home
        self.stamp += 1
        return self.stamp
