"""One measurement of many: run it, keep it, and find it again when the whole is resumed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from saccade.loadtest.errors import InputFileError
from saccade.loadtest.jsonl import (
    REQUESTS,
    SUMMARY,
    read_run,
    read_summary,
    write_run,
    write_summary,
)
from saccade.loadtest.metrics.schema import Summary
from saccade.loadtest.metrics.summary import summarise
from saccade.loadtest.plan import Plan, Run
from saccade.loadtest.records import RunRecord

Announce = Callable[[str], None]
"""Is told what comes next, in a line for the terminal."""

_Model = TypeVar("_Model", bound=BaseModel)


class ResultModel(BaseModel):
    """Base of what the modes write."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


def silent(_: str) -> None:
    """Announce to nobody."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A run that is done, whether now or earlier."""

    summary: Summary
    record: RunRecord
    folder: str | None
    """Name of its folder within the result's; None if nothing is written."""
    resumed: bool
    """It was found done, not run."""


class Measurer:
    """Carries out plans; with a folder it keeps each run there and never repeats a finished one."""

    def __init__(self, run: Run, folder: Path | None) -> None:
        self._run = run
        self._folder = folder

    def measure(self, plan: Plan, prefix: str) -> Measurement:
        """The run of `plan`, from its folder `PREFIX-FINGERPRINT` if it was finished before.

        Raises:
            LoadTestError: The plan cannot be carried out, or a kept run cannot be read.
        """
        if self._folder is None:
            record = self._run(plan)
            return Measurement(summarise(record, plan.slo), record, None, resumed=False)
        name = f"{prefix}-{plan.fingerprint()}"
        kept = load_finished(self._folder / name)
        if kept is not None:
            return Measurement(*kept, name, resumed=True)
        record = self._run(plan)
        summary = summarise(record, plan.slo)
        _keep(self._folder / name, record, summary)
        return Measurement(summary, record, name, resumed=False)

    def is_done(self, plan: Plan, prefix: str) -> bool:
        """Whether `measure` would find it done."""
        if self._folder is None:
            return False
        return load_finished(self._folder / f"{prefix}-{plan.fingerprint()}") is not None


def load_finished(folder: Path) -> tuple[Summary, RunRecord] | None:
    """A kept run that was not interrupted. The summary is written last, so it says that all is."""
    if not (folder / SUMMARY).exists():
        return None
    summary = read_summary(folder / SUMMARY)
    return None if summary.interrupted else (summary, read_run(folder / REQUESTS))


def write_result(path: Path, result: BaseModel) -> None:
    """Write a mode's result; a reader sees the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    draft.replace(path)


def read_result(path: Path, kind: type[_Model]) -> _Model:
    """Read what `write_result` wrote.

    Raises:
        InputFileError: It is not there, or something else.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputFileError(path, f"cannot be read ({error.strerror})") from None
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"])) or "file"
        raise InputFileError(path, f"{place}: {problem['msg']}") from None


def _keep(folder: Path, record: RunRecord, summary: Summary) -> None:
    write_run(folder / REQUESTS, record)
    draft = folder / f"{SUMMARY}.part"
    write_summary(draft, summary)
    draft.replace(folder / SUMMARY)
