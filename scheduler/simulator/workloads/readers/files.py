"""Lines, rows and numbers of trace files, with the place of what is wrong."""

import csv
import gzip
import hashlib
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

from saccade.scheduler.simulator.errors import TraceError


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """The text of a file, unpacked when its name ends in .gz; a byte-order mark is dropped."""
    try:
        packed = path.suffix == ".gz"
        with (
            gzip.open(path, "rt", encoding="utf-8-sig", newline="")
            if packed
            else path.open(encoding="utf-8-sig", newline="")
        ) as lines:
            yield cast(TextIO, lines)
    except UnicodeDecodeError as error:
        raise TraceError(path, None, f"is not UTF-8 text ({error.reason})") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TraceError(path, None, f"cannot be read: {reason}") from None


class Row:
    """One record; its values are asked for by any of the names that versions of a format use."""

    __slots__ = ("_path", "_values", "line")

    def __init__(self, path: Path, line: int, values: Mapping[str, Any]) -> None:
        self._path = path
        self._values = values
        self.line = line

    def error(self, message: str) -> TraceError:
        return TraceError(self._path, self.line, message)

    def get(self, *names: str) -> Any:
        """The first that is there and not empty; None when none is."""
        for name in names:
            value = self._values.get(name)
            if value is not None and value != "":
                return value
        return None

    def number(self, *names: str, default: float | None = None) -> float:
        value = self.get(*names)
        if value is None:
            if default is not None:
                return default
            raise self.error(f"{names[0]} is missing")
        try:
            if isinstance(value, bool):
                raise ValueError
            number = float(value)
        except (TypeError, ValueError):
            raise self.error(f"{names[0]} is {value!r}, which is no number") from None
        if not math.isfinite(number):
            raise self.error(f"{names[0]} is {value!r}; a finite number is needed")
        return number

    def count(self, *names: str, default: int | None = None, least: int = 0) -> int:
        """A whole number of at least `least`; 12.0 is one, 12.5 is not."""
        number = self.number(*names, default=default)
        if number != int(number) or number < least:
            raise self.error(f"{names[0]} is {number:g}; a whole number from {least} is needed")
        return int(number)


def csv_rows(path: Path, *required: str) -> Iterator[Row]:
    """Rows under lower-case column names; `required` are checked in the header."""
    with open_text(path) as lines:
        reader = csv.reader(lines)
        header = next((row for row in reader if row), None)
        if header is None:
            raise TraceError(path, None, "is empty; a header and rows are needed")
        names = [name.strip().lower() for name in header]
        missing = [name for name in required if name not in names]
        if missing:
            raise TraceError(
                path, reader.line_num,
                f"the header lacks {', '.join(missing)}; it has {', '.join(names)}",
            )  # fmt: skip
        for values in reader:
            if values:
                yield Row(path, reader.line_num, dict(zip(names, values, strict=False)))


def json_rows(path: Path) -> Iterator[Row]:
    """One object a line; empty lines are passed over."""
    with open_text(path) as lines:
        for number, text in enumerate(lines, 1):
            if not text.strip():
                continue
            try:
                record = json.loads(text)
            except ValueError as error:
                raise TraceError(path, number, f"is not JSON ({error})") from None
            if not isinstance(record, dict):
                raise TraceError(path, number, "holds no JSON object")
            yield Row(path, number, record)


def content_key(name: str) -> int:
    """A number for what a log names by a text; the same in every run.

    64 bits: of 32, two in a hundred thousand pictures would be the same.
    """
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def in_order(row: Row, arrival_s: float, previous_s: float) -> float:
    """`arrival_s`, or TraceError when it lies before the request above it."""
    if arrival_s < previous_s:
        raise row.error(
            f"arrives {previous_s - arrival_s:g} s before the row above; sort the file by time"
        )
    return arrival_s
