"""What can be wrong with what a user gives the simulator.

SimulatorError
└── TraceError   a line of a trace cannot be used
"""

from pathlib import Path


class SimulatorError(Exception):
    """The message says what is wrong and what to do."""


class TraceError(SimulatorError):
    """A trace cannot be read; names the file and the line."""

    def __init__(self, path: Path, line: int | None, message: str) -> None:
        place = str(path) if line is None else f"{path}:{line}"
        super().__init__(f"{place}: {message}")
        self.path = path
        self.line = line
