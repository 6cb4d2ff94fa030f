"""Recordings as tables: Mooncake, BurstGPT, Azure LLM and Azure LMM. Plain or gzipped."""

import csv
import dataclasses
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO, TypeVar, cast

from saccade.loadtest.errors import InputFileError
from saccade.loadtest.workloads.traces.rows import Row

Fields = Mapping[str, str]
S = TypeVar("S")


def read_mooncake(path: Path) -> Iterator[Row]:
    """JSON lines: timestamp (ms), input_length, output_length, hash_ids."""
    with _open(path) as file:
        lines = ((i, line) for i, line in enumerate(file, start=1) if line.strip())
        yield from _rows(path, lines, _mooncake)


def read_burstgpt(path: Path) -> Iterator[Row]:
    """CSV: Timestamp (s), …, Request tokens, Response tokens. Failed requests have no response
    tokens and are left out."""
    with _open(path) as file:
        rows = _rows(path, enumerate(csv.DictReader(file), start=2), _burstgpt)
        yield from (row for row in rows if row.output_tokens > 0)


def read_azure(path: Path) -> Iterator[Row]:
    """CSV: TIMESTAMP (date and time), ContextTokens, GeneratedTokens, and NumImages if of LMM.

    ContextTokens counts visual tokens too; how many is not recorded, so all of them are text here.
    """
    with _open(path) as file:
        yield from _rows(path, enumerate(csv.DictReader(file), start=2), _azure)


def _mooncake(line: str) -> Row:
    fields = json.loads(line)
    return Row(
        at_s=float(fields["timestamp"]) / 1000,
        text_tokens=int(fields["input_length"]),
        output_tokens=int(fields["output_length"]),
        blocks=tuple(int(block) for block in fields.get("hash_ids", ())),
    )


def _burstgpt(fields: Fields) -> Row:
    return Row(
        at_s=float(fields["Timestamp"]),
        text_tokens=int(fields["Request tokens"]),
        output_tokens=int(fields["Response tokens"]),
    )


def _azure(fields: Fields) -> Row:
    return Row(
        at_s=_seconds_of_date(fields["TIMESTAMP"]),
        text_tokens=int(fields["ContextTokens"]),
        output_tokens=int(fields["GeneratedTokens"]),
        picture_tokens=(None,) * int(float(fields.get("NumImages") or 0)),
    )


def _rows(path: Path, numbered: Iterable[tuple[int, S]], make: Callable[[S], Row]) -> Iterator[Row]:
    """Rows with times after the first; a row that is out of order comes with the one before."""
    first_s, last_s = None, 0.0
    for number, source in numbered:
        try:
            row = make(source)
        except KeyError as error:
            raise InputFileError(path, f"there is no field {error}", line=number) from None
        except (ValueError, TypeError) as error:
            raise InputFileError(path, str(error), line=number) from None
        first_s = row.at_s if first_s is None else first_s
        last_s = max(last_s, row.at_s - first_s)
        yield dataclasses.replace(row, at_s=last_s)


def _seconds_of_date(text: str) -> float:
    """Of `2023-11-16 18:15:46.6805900`, with seven digits of a second, or with a zone."""
    moment = datetime.fromisoformat(text.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _open(path: Path) -> TextIO:
    try:
        if path.suffix == ".gz":
            return cast("TextIO", gzip.open(path, "rt", encoding="utf-8"))
        return path.open(encoding="utf-8")
    except OSError as error:
        raise InputFileError(path, f"cannot be read ({error.strerror})") from None
