"""What a user of the load tester can get wrong.

LoadTestError
├── PlanError       the plan cannot be carried out: contradictory or malformed options
├── InputFileError  a file of prompts, a trace or a result cannot be read
└── TargetError     the server cannot be measured: not there, refuses the key, has no such model
"""

from pathlib import Path


class LoadTestError(Exception):
    """Its text says what is wrong and what to do about it."""


class PlanError(LoadTestError):
    """The plan cannot be carried out."""


class InputFileError(LoadTestError):
    """A file cannot be read as what it was given for."""

    def __init__(self, path: Path, problem: str, *, line: int | None = None) -> None:
        self.path = path
        self.line = line
        place = f"{path}, line {line}" if line is not None else str(path)
        super().__init__(f"{place}: {problem}")


class TargetError(LoadTestError):
    """The server cannot be measured."""

    def __init__(self, url: str, problem: str) -> None:
        self.url = url
        super().__init__(f"{url}: {problem}")
