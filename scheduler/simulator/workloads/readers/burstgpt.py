"""BurstGPT: Timestamp (s), [Session ID, Elapsed time,] Model, Request tokens, Response tokens, …

Rows without response tokens are requests that failed there; they are passed over.
"""

from collections.abc import Iterator
from pathlib import Path

from saccade.scheduler.simulator.workloads.base import TraceRequest
from saccade.scheduler.simulator.workloads.readers.files import csv_rows, in_order


def read(path: Path) -> Iterator[TraceRequest]:
    arrival_s = float("-inf")
    for row in csv_rows(path, "timestamp", "request tokens", "response tokens"):
        arrival_s = in_order(row, row.number("timestamp"), arrival_s)
        output_tokens = row.count("response tokens")
        if output_tokens == 0:
            continue
        yield TraceRequest(
            arrival_s=arrival_s,
            text_tokens=max(1, row.count("request tokens")),
            output_tokens=output_tokens,
            tenant=str(row.get("model") or "default"),
        )
