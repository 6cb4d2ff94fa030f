"""How many bytes all requests together may hold: refused early, rather than swapped or killed."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Gauge

from saccade.serving.errors import TooLargeError, TooMuchInFlightError


class BytesInFlight:
    """Of bodies until they are read, and of pictures and clips as files until the answer's end."""

    def __init__(self, limit_bytes: int, gauge: Gauge) -> None:
        self.limit_bytes = limit_bytes
        self._gauge = gauge
        self._num_bytes = 0

    @property
    def num_bytes(self) -> int:
        return self._num_bytes

    @contextmanager
    def lease(self) -> Iterator["Lease"]:
        """What one request holds; given back at the end."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            self._change(-lease.num_bytes)

    def _change(self, num_bytes: int) -> None:
        self._num_bytes += num_bytes
        self._gauge.set(self._num_bytes)


class Lease:
    """One request's part."""

    def __init__(self, all_requests: BytesInFlight) -> None:
        self._all = all_requests
        self.num_bytes = 0

    def take(self, num_bytes: int) -> None:
        """Count bytes that have arrived.

        Raises as `check`, and then they are not counted.
        """
        self.check(num_bytes)
        self.num_bytes += num_bytes
        self._all._change(num_bytes)

    def give_back(self, num_bytes: int) -> None:
        """Of what was taken, before the end of the request."""
        self.num_bytes -= num_bytes
        self._all._change(-num_bytes)

    def check(self, num_bytes: int) -> None:
        """Whether there is room for so many more.

        Raises:
            TooLargeError: the request would not fit if it were alone.
            TooMuchInFlightError: it may fit later.
        """
        limit_bytes = self._all.limit_bytes
        if self.num_bytes + num_bytes > limit_bytes:
            raise TooLargeError(
                f"The request holds more than {limit_bytes} bytes (api.max_bytes_in_flight)."
            )
        if self._all.num_bytes + num_bytes > limit_bytes:
            raise TooMuchInFlightError(
                "The server holds as many bytes of requests as it may; try again later."
            )
