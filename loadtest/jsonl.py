"""Files of a run: every request as a line of JSON, and one summary.

`requests.jsonl`: the first line is `{"type": "run", …}`, the fields of RunRecord without its
requests; each other line is `{"type": "request", …}`, the fields of RequestRecord. Times are in ns
after the run's start.
"""

import dataclasses
import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from saccade.loadtest.errors import InputFileError
from saccade.loadtest.metrics.schema import Summary
from saccade.loadtest.records import RequestRecord, RunRecord

REQUESTS = "requests.jsonl"
SUMMARY = "summary.json"

_RUN = TypeAdapter(RunRecord)
_REQUEST = TypeAdapter(RequestRecord)


def write_run(path: Path, run: RunRecord) -> None:
    """Write a run with all its requests; the folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = _RUN.dump_python(dataclasses.replace(run, requests=()), mode="json")
    del head["requests"]
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"type": "run", **head}) + "\n")
        for request in run.requests:
            fields = _REQUEST.dump_python(request, mode="json")
            file.write(json.dumps({"type": "request", **fields}) + "\n")


def read_run(path: Path) -> RunRecord:
    """Read what `write_run` wrote.

    Raises:
        InputFileError: it is not there, or something else.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(path, f"cannot be read ({error})") from None
    requests = []
    head = _fields(path, 1, lines[0] if lines else "", "run")
    for number, line in enumerate(lines[1:], start=2):
        fields = _fields(path, number, line, "request")
        try:
            requests.append(_REQUEST.validate_python(fields))
        except ValidationError as error:
            raise InputFileError(path, _first(error), line=number) from None
    try:
        return _RUN.validate_python({**head, "requests": requests})
    except ValidationError as error:
        raise InputFileError(path, _first(error), line=1) from None


def write_summary(path: Path, summary: Summary) -> None:
    """Write a summary; `saccade loadtest schema` prints its JSON Schema."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(summary.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_summary(path: Path) -> Summary:
    """Read what `write_summary` wrote.

    Raises:
        InputFileError: it is not there, or something else.
    """
    try:
        return Summary.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputFileError(path, f"cannot be read ({error})") from None
    except ValidationError as error:
        raise InputFileError(path, _first(error)) from None


def _fields(path: Path, number: int, line: str, kind: str) -> dict[str, object]:
    try:
        fields = json.loads(line)
    except ValueError:
        fields = None
    if not isinstance(fields, dict) or fields.pop("type", None) != kind:
        raise InputFileError(path, f"not a {kind} of `saccade loadtest`", line=number)
    return fields


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
