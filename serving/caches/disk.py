"""The tier on the local disk: one safetensors file for each entry.

A file's name has all that the books need, so that a restart reads no file: owner, key, alias, cost
in microseconds, and a checksum of these and of the content. A file is written under another name
first and then renamed; no fsync, since the checksum finds what a crash has left unfinished. It is
not sealed against whoever may write to the folder, only against accidents.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from saccade.serving.caches.eviction import Entry, Eviction
from saccade.serving.caches.ledger import Ledger
from saccade.serving.caches.stats import TierStats
from saccade.serving.caches.tokens import UnreadableError, from_bytes, to_bytes

if TYPE_CHECKING:
    from saccade.encoders.base import VisualFeatures

log = logging.getLogger(__name__)

# Files take whole blocks, and the budget is of what they take.
BLOCK_BYTES = 4096
_HEX = "[0-9a-f]{32}"
_NAME = re.compile(rf"({_HEX})-({_HEX})-({_HEX})-(\d{{1,18}})-({_HEX})\.safetensors")
_UNFINISHED = ".unfinished"


class FolderInUseError(Exception):
    """Another process keeps its cache in this folder."""


@dataclass(frozen=True, slots=True)
class _File:
    """What a name says."""

    owner: str
    key: str
    alias: str
    cost_us: int
    checksum: str

    @property
    def name(self) -> str:
        return f"{self.owner}-{self.key}-{self.alias}-{self.cost_us}-{self.checksum}.safetensors"


class DiskTier:
    """Not for two threads at once, except `in` and `stats`.

    No method raises when the disk is full, broken or gone: an entry that cannot be read is not
    there, one that cannot be written is not kept, and both are counted.
    """

    def __init__(self, folder: Path, budget_bytes: int, eviction: Eviction) -> None:
        """Take over what `folder` holds.

        Raises:
            FolderInUseError: another process does that already.
            OSError: it cannot be made, or not be read.
        """
        self._folder = folder
        self._budget_bytes = budget_bytes
        self._ledger = Ledger(budget_bytes, eviction)
        self._files: dict[str, _File] = {}
        self._num_corrupted = 0
        self._num_errors = 0
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(folder)
        self._take_over()

    def __contains__(self, key: object) -> bool:
        return key in self._files

    def aliases(self) -> dict[str, str]:
        """By alias the key of every entry."""
        return {file.alias: file.key for file in list(self._files.values())}

    def read(self, key: str) -> "tuple[VisualFeatures, Entry] | None":
        """None when it is not there, or not whole any more."""
        file, entry = self._files.get(key), self._ledger.use(key)
        if file is None or entry is None:
            return None
        path = self._folder / file.name
        try:
            data = path.read_bytes()
            if _checksum(file, data) != file.checksum:
                raise UnreadableError("the checksum does not fit")
            features = from_bytes(data)
        except (OSError, UnreadableError) as error:
            self._drop_broken(key, error)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # the order of use, for the next start
        return features, entry

    def write(self, entry: Entry, alias: str, features: "VisualFeatures") -> list[Entry]:
        """Keep an entry, if it can be; returns those that had to go for it.

        `entry.num_bytes` is that in memory; the file's own size counts here.
        """
        data = to_bytes(features)
        file = _File(entry.owner, entry.key, alias, round(entry.cost_ms * 1e3), "")
        file = _File(file.owner, file.key, file.alias, file.cost_us, _checksum(file, data))
        here = Entry(entry.key, _blocks(len(data)), entry.cost_ms, entry.owner)
        if entry.key in self._files or not self._ledger.fits(here.num_bytes):
            return []
        evicted = self._ledger.add(here)
        # Room first: the folder never takes more than the budget.
        self._unlink(entry.key for entry in evicted)
        try:
            self._put(file.name, data)
        except OSError as error:
            self._num_errors += 1
            self._ledger.remove(entry.key)
            log.warning("the cache in %s cannot take an entry: %s", self._folder, error)
            return evicted
        self._files[entry.key] = file
        return evicted

    def clear(self, owner: str | None = None) -> list[Entry]:
        """Remove all entries, or those of one owner; returns them."""
        gone = [entry for entry in self._ledger if owner in (None, entry.owner)]
        for entry in gone:
            self._ledger.remove(entry.key)
        self._unlink(entry.key for entry in gone)
        return gone

    def stats(self) -> TierStats:
        ledger = self._ledger
        return TierStats(
            self._budget_bytes, ledger.num_bytes, len(ledger), ledger.num_evictions,
            self._num_corrupted, self._num_errors,
        )  # fmt: skip

    def close(self) -> None:
        """Let another process have the folder; the files stay."""
        self._lock.close()

    def _take_over(self) -> None:
        found: list[tuple[float, int, _File]] = []
        with os.scandir(self._folder) as entries:
            for item in entries:
                if not item.is_file(follow_symlinks=False):
                    continue
                if item.name.endswith(_UNFINISHED):
                    Path(item.path).unlink(missing_ok=True)
                elif match := _NAME.fullmatch(item.name):
                    owner, key, alias, cost_us, checksum = match.groups()
                    facts = item.stat(follow_symlinks=False)
                    file = _File(owner, key, alias, int(cost_us), checksum)
                    found.append((facts.st_mtime, facts.st_size, file))
        for _, size, file in sorted(found, key=lambda one: (one[0], one[2].name)):
            entry = Entry(file.key, _blocks(size), file.cost_us / 1e3, file.owner)
            if file.key in self._files or not self._ledger.fits(entry.num_bytes):
                (self._folder / file.name).unlink(missing_ok=True)
                continue
            self._unlink(one.key for one in self._ledger.add(entry))
            self._files[file.key] = file

    def _put(self, name: str, data: bytes) -> None:
        unfinished = self._folder / (name + _UNFINISHED)
        try:
            try:
                unfinished.write_bytes(data)
            except FileNotFoundError:  # somebody has deleted the folder
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                unfinished.write_bytes(data)
            unfinished.replace(self._folder / name)
        except OSError:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise

    def _drop_broken(self, key: str, error: Exception) -> None:
        if isinstance(error, UnreadableError):
            self._num_corrupted += 1
        else:
            self._num_errors += 1
        log.warning("an entry of the cache in %s is lost: %s", self._folder, error)
        self._ledger.remove(key)
        self._unlink([key])

    def _unlink(self, keys: Iterable[str]) -> None:
        for key in keys:
            file = self._files.pop(key)
            try:
                (self._folder / file.name).unlink(missing_ok=True)
            except OSError as error:
                self._num_errors += 1
                log.warning("cannot remove from the cache: %s", error)


def _lock(folder: Path) -> BinaryIO:
    """Held until it is closed, or the process ends."""
    lock = (folder / "lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise FolderInUseError(f"another process keeps its cache in {folder}") from None
    return lock


def _checksum(file: _File, data: bytes) -> str:
    digest = hashlib.blake2b(
        f"{file.owner}-{file.key}-{file.alias}-{file.cost_us}\0".encode(), digest_size=16
    )
    digest.update(data)
    return digest.hexdigest()


def _blocks(num_bytes: int) -> int:
    return -(-num_bytes // BLOCK_BYTES) * BLOCK_BYTES
