"""What a run reports, a JSON object a line."""

import json
import time
from pathlib import Path
from typing import Any


class Log:
    """One JSON object a line. Lines after the state that a run goes on from are dropped."""

    def __init__(self, path: Path, first_step: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        kept = [e for e in read_log(self._path) if e["step"] <= first_step]
        self._path.write_text("".join(json.dumps(e) + "\n" for e in kept), encoding="utf-8")
        self._spent_s = max((e["elapsed_s"] for e in kept), default=0.0)
        self._start = time.monotonic()

    def add(self, step: int, values: dict[str, float]) -> None:
        elapsed_s = round(self._spent_s + time.monotonic() - self._start, 1)
        rounded = {name: float(f"{value:.5g}") for name, value in values.items()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "elapsed_s": elapsed_s, **rounded}) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Whole lines only: a kill may leave half a line at the end."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            break
    return entries
