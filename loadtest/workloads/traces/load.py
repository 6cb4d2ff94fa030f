"""Which reader a recording needs."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from saccade.loadtest.workloads.session import Session
from saccade.loadtest.workloads.spec import TraceSpec
from saccade.loadtest.workloads.text import TextSource
from saccade.loadtest.workloads.traces.rows import Row, row_sessions
from saccade.loadtest.workloads.traces.servegen import read_servegen
from saccade.loadtest.workloads.traces.tables import read_azure, read_burstgpt, read_mooncake

_TABLES: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    "mooncake": read_mooncake,
    "burstgpt": read_burstgpt,
    "azure-llm": read_azure,
    "azure-lmm": read_azure,
}


def trace_sessions(spec: TraceSpec, text: TextSource, seed: int) -> Iterator[Session]:
    """Sessions by recorded time.

    Raises:
        InputFileError: the recording cannot be read, or is not of its format.
    """
    if spec.format == "servegen":
        rows = read_servegen(spec.path, seed, spec.begin_s)
    else:
        rows = _TABLES[spec.format](spec.path)
    return row_sessions(rows, spec, text, seed)
