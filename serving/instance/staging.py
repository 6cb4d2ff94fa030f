"""Visual tokens that wait for the request that needs them."""

import asyncio
from collections.abc import Sequence

from saccade.encoders.base import VisualTokens


class StagedVisualTokens:
    """By request key; each entry is taken once, or dropped after `lifetime_s`."""

    def __init__(self, lifetime_s: float) -> None:
        self._lifetime_s = lifetime_s
        self._entries: dict[str, tuple[Sequence[VisualTokens], asyncio.TimerHandle]] = {}

    def put(self, request_key: str, visual_tokens: Sequence[VisualTokens]) -> None:
        """Replaces what was there: a repeated prefill stages again."""
        self.take(request_key)
        timer = asyncio.get_running_loop().call_later(self._lifetime_s, self.take, request_key)
        self._entries[request_key] = (visual_tokens, timer)

    def take(self, request_key: str) -> Sequence[VisualTokens]:
        """One a picture; empty for a request without pictures."""
        visual_tokens, timer = self._entries.pop(request_key, ((), None))
        if timer is not None:
            timer.cancel()
        return visual_tokens

    def __len__(self) -> int:
        return len(self._entries)
