"""Server-sent events, as far as chat APIs use them: data lines, comments, any line ending."""


class EventParser:
    """Takes bytes as they come and gives the data of every event that is complete."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, received: bytes) -> list[bytes]:
        """Data of the events that end in what was received so far."""
        if not self._rest and not self._data and _is_one_event(received):
            return [received[6:-2]]
        *lines, self._rest = (self._rest + received).split(b"\n")
        events = []
        for raw in lines:
            line = raw.rstrip(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data.clear()
        return events

    def finish(self) -> list[bytes]:
        """What a stream leaves that ends without the empty line after its last event."""
        return self.feed(b"\n\n") if self._rest or self._data else []


def _is_one_event(received: bytes) -> bool:
    """Whether this is one whole event of one line, as most of what servers write at once is."""
    return (
        received.startswith(b"data: ")
        and received.endswith(b"\n\n")
        and received.find(b"\n") == len(received) - 2
        and b"\r" not in received
    )
