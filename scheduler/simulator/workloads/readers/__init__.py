"""Readers of published and recorded traces, by format."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from saccade.scheduler.simulator.errors import TraceError
from saccade.scheduler.simulator.workloads.base import TraceRequest, Workload
from saccade.scheduler.simulator.workloads.readers import (
    azure,
    burstgpt,
    decisions,
    loadtest_run,
    mooncake,
    saccade_log,
)
from saccade.scheduler.simulator.workloads.readers.files import open_text
from saccade.scheduler.simulator.workloads.readers.servegen import ServeGenWorkload

Reader = Callable[[Path], Iterator[TraceRequest]]

_READERS: dict[str, Reader] = {
    "mooncake": mooncake.read,
    "burstgpt": burstgpt.read,
    "azure-llm": azure.read_llm,
    "azure-lmm": azure.read_lmm,
    "saccade": saccade_log.read,
    "loadtest": loadtest_run.read,
    "decisions": decisions.read,
}
FORMATS = (*_READERS, "servegen")


@dataclass(frozen=True)
class RecordedWorkload:
    """The requests of one file; read again for each run, never held in memory."""

    name: str
    path: Path
    format_name: str

    def requests(self, seed: int) -> Iterator[TraceRequest]:
        return _READERS[self.format_name](self.path)


def open_trace(path: Path, format_name: str) -> Workload:
    """A workload out of a file; TraceError when it is not there or the format unknown."""
    if format_name not in FORMATS:
        raise TraceError(
            path, None, f"{format_name!r} is no known format; choose one of {', '.join(FORMATS)}"
        )
    if not path.exists():
        raise TraceError(path, None, "no such file or folder")
    if format_name == "servegen":
        return ServeGenWorkload.load(path)
    if path.is_dir():
        raise TraceError(path, None, f"is a folder; the format {format_name} is one file")
    return RecordedWorkload(path.name, path, format_name)


def format_of(path: Path) -> str:
    """The format that the first line shows; TraceError when it shows none."""
    if not path.exists():
        raise TraceError(path, None, "no such file or folder")
    if path.is_dir():
        return "servegen"
    with open_text(path) as lines:
        first = next((line.strip() for line in lines if line.strip()), "")
    if first.startswith("{"):
        return _json_format(first, path)
    columns = {name.strip().lower() for name in first.split(",")}
    if "numimages" in columns:
        return "azure-lmm"
    if "contexttokens" in columns:
        return "azure-llm"
    if "request tokens" in columns:
        return "burstgpt"
    raise TraceError(
        path, 1, f"the format is not recognised; say --format, one of {', '.join(FORMATS)}"
    )


def _json_format(first: str, path: Path) -> str:
    try:
        record = json.loads(first)
    except ValueError as error:
        raise TraceError(path, 1, f"is not JSON ({error})") from None
    if not isinstance(record, dict):
        raise TraceError(path, 1, "holds no JSON object")
    if record.get("type") in ("run", "request"):
        return "loadtest"
    if "policy" in record:
        return "decisions"
    return "saccade" if "arrival_s" in record else "mooncake"
