"""Until when the reader of a held prefill may rely on its blocks."""

from collections import OrderedDict
from collections.abc import Iterable

# Requests that are remembered; far more than one instance can have waiting.
MAX_REQUESTS = 8192


class LeaseBook:
    """Heartbeats that were sent for held prefills, by the prefilling side's request id.

    All times are seconds of one clock. A heartbeat extends a lease only if it arrives while the
    lease is valid, so one that was sent after the end, or within `margin_s` before it, counts for
    nothing: the prefilling side may have freed the blocks already.
    """

    def __init__(self, extension_s: float, margin_s: float = 0.5) -> None:
        self._extension_s = extension_s
        self._margin_s = margin_s
        self._sent_s: OrderedDict[str, list[float]] = OrderedDict()

    def heartbeat(self, request_ids: Iterable[str], now_s: float) -> None:
        """Note a heartbeat. Those closer than an eighth of the extension to the last are dropped,
        which only makes the belief more careful."""
        for request_id in request_ids:
            sent = self._sent_s.setdefault(request_id, [])
            if not sent or now_s - sent[-1] >= self._extension_s / 8:
                sent.append(now_s)
            self._sent_s.move_to_end(request_id)
        while len(self._sent_s) > MAX_REQUESTS:
            self._sent_s.popitem(last=False)

    def end(self, request_id: str, stamped_s: float) -> float:
        """When the lease ends that was stamped to end at `stamped_s`."""
        end_s = stamped_s
        for sent_s in self._sent_s.get(request_id, ()):
            if sent_s + self._margin_s < end_s:
                end_s = max(end_s, sent_s + self._extension_s)
        return end_s
