"""Several files may have the same pixels: names of cached entries."""

from collections.abc import Iterator

# Who sends one picture in ever new files gains nothing by it: what is beyond is decoded again.
MAX_NAMES = 16


class Aliases:
    """From the key of a file's bytes to that of its pixels; a few names for each."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}
        self._names: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        """A snapshot of the keys of bytes."""
        return iter(list(self._keys))

    def key(self, alias: str) -> str | None:
        return self._keys.get(alias)

    def add(self, alias: str, key: str) -> None:
        """One more name of `key`, unless it has plenty."""
        names = self._names.setdefault(key, [])
        if alias not in self._keys and len(names) < MAX_NAMES:
            names.append(alias)
            self._keys[alias] = key

    def forget(self, key: str) -> None:
        """All names of `key`."""
        for alias in self._names.pop(key, ()):
            del self._keys[alias]
