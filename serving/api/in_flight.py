"""How many bytes all requests together may hold: refused early, rather than swapped or killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from prometheus_client import Gauge

from saccade.serving.errors import TooLargeError, TooMuchInFlightError


class BytesInFlight:
    """Of bodies until they are read, and of pictures and clips as files until the answer's end."""

    def __init__(self, limit_bytes: int, gauge: Gauge) -> None:
        self._limit_bytes = limit_bytes
        self._gauge = gauge
        self._num_bytes = 0
        # Files are decoded, and counted, in threads.
        self._lock = Lock()

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
            lease.end()

    def _add(self, lease: "Lease", num_bytes: int) -> None:
        with self._lock:
            if lease.ended:
                return
            self._check(lease, num_bytes)
            self._num_bytes += num_bytes
            lease.num_bytes += num_bytes
            self._gauge.set(self._num_bytes)

    def _check(self, lease: "Lease", num_bytes: int) -> None:
        if num_bytes <= 0:
            return
        if lease.num_bytes + num_bytes > self._limit_bytes:
            raise TooLargeError(
                f"The request holds more than {self._limit_bytes} bytes (api.max_bytes_in_flight)."
            )
        if self._num_bytes + num_bytes > self._limit_bytes:
            raise TooMuchInFlightError(
                "The server holds as many bytes of requests as it may; try again later.",
                reason="bytes_in_flight",
            )


class Lease:
    """One request's part."""

    def __init__(self, all_requests: BytesInFlight) -> None:
        self._all = all_requests
        self.num_bytes = 0
        self.ended = False
        """What a thread takes that has outlived its request is not counted: nobody would give it
        back."""

    def take(self, num_bytes: int) -> None:
        """Count bytes that have arrived.

        Raises as `check`, and then they are not counted.
        """
        self._all._add(self, num_bytes)

    def give_back(self, num_bytes: int) -> None:
        """Of what was taken."""
        self._all._add(self, -num_bytes)

    def end(self) -> None:
        """Give back all."""
        self.give_back(self.num_bytes)
        self.ended = True

    def check(self, num_bytes: int) -> None:
        """Whether there is room for so many more.

        Raises:
            TooLargeError: the request would not fit if it were alone.
            TooMuchInFlightError: it may fit later.
        """
        self._all._check(self, num_bytes)
