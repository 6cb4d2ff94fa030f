"""Media of a run, made before it starts and kept in one file.

Making pictures while requests are being sent would take processor time from the server, if it is on
the same machine, and would make send times slip. Each different picture is there once, and its
pages are shared by all sending processes.
"""

import mmap
from collections.abc import Callable, Iterable
from pathlib import Path

from saccade.loadtest.workloads.pictures import data_url
from saccade.loadtest.workloads.session import Media, MediaUrl

Place = tuple[int, int]
"""Offset and length in bytes."""


def write_spool(
    path: Path, media: Iterable[Media], on_made: Callable[[int], None]
) -> dict[Media, Place]:
    """Write the data URLs of all media; addresses that the server fetches are not written.

    Args:
        on_made: told the number of bytes of each that was made.
    """
    places: dict[Media, Place] = {}
    offset = 0
    with path.open("wb") as file:
        for one in media:
            if one in places or not needs_spool(one):
                continue
            data = data_url(one).encode("ascii")
            places[one] = (offset, len(data))
            offset += file.write(data)
            on_made(len(data))
    return places


def needs_spool(media: Media) -> bool:
    """Whether the media travel in the body."""
    return not (isinstance(media, MediaUrl) and not media.url.startswith("data:"))


class Spool:
    """Reads what `write_spool` has written."""

    def __init__(self, path: Path) -> None:
        self._map: mmap.mmap | None = None
        if path.stat().st_size:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def read(self, place: Place) -> bytes:
        """A data URL, in ASCII."""
        assert self._map is not None, "an empty spool has no places"
        offset, length = place
        return self._map[offset : offset + length]

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
