"""Workloads as the command line names them."""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import TypeAdapter, ValidationError

from saccade.loadtest.errors import InputFileError, PlanError
from saccade.loadtest.workloads.distributions import parse_distribution
from saccade.loadtest.workloads.presets import PRESETS
from saccade.loadtest.workloads.spec import (
    Component,
    DatasetSpec,
    FileSpec,
    MixtureSpec,
    TraceFormat,
    TraceSpec,
    WorkloadSpec,
)

_FILE = TypeAdapter[WorkloadSpec](WorkloadSpec)
FORMATS: tuple[str, ...] = get_args(TraceFormat)
HELP = (
    "a preset (`saccade loadtest workloads` lists them), a mixture of them by weight "
    "(text=7,single-picture=3), FILE.jsonl with your own requests, FORMAT:PATH to replay a "
    f"recording ({', '.join(FORMATS)}), dataset or dataset:train for questions with known "
    "answers, or FILE.yaml"
)

MAX_SIDE = 16_384
"""Of a picture, in pixels."""

_OF_PICTURES = ("pictures", "picture_size", "picture_bytes", "repeat_ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadOptions:
    """Changes to a workload; None leaves it as it is."""

    text_tokens: str | None = None
    output_tokens: str | None = None
    pictures: str | None = None
    picture_size: str | None = None
    picture_bytes: str | None = None
    repeat_ratio: float | None = None
    turns: str | None = None
    think: str | None = None
    history: str | None = None
    length_scale: float | None = None
    max_text_tokens: int | None = None
    max_pictures: int | None = None
    begin_s: float | None = None


def parse_workload(text: str) -> WorkloadSpec:
    """Find the workload that `HELP` describes.

    Raises:
        LoadTestError: there is none by that name, or its file is wrong.
    """
    if text in PRESETS:
        return PRESETS[text].workload
    if text.endswith((".yaml", ".yml")):
        return _from_yaml(Path(text))
    if text.endswith(".jsonl") and ":" not in text:
        return FileSpec(path=_existing(Path(text)))
    if "=" in text:
        return _mixture(text)
    name, colon, path = text.partition(":")
    if name == "dataset" and path in ("", "train", "held-out"):
        return DatasetSpec.model_validate({"split": path} if path else {})
    if colon and name in FORMATS:
        return TraceSpec.model_validate({"format": name, "path": _existing(Path(path))})
    raise _unknown(text)


def changed(workload: WorkloadSpec, options: WorkloadOptions) -> WorkloadSpec:
    """The workload with the changes that were asked for.

    Raises:
        PlanError: a change does not apply to this workload, or is malformed.
    """
    given = {
        name: getattr(options, name)
        for name in WorkloadOptions.__slots__
        if getattr(options, name) is not None
    }
    scale = options.length_scale
    if scale is not None and not 0 < scale < math.inf:
        raise PlanError(f"--length-scale must be above 0 and finite, not {scale:g}.")
    if isinstance(workload, MixtureSpec):
        return _changed_mixture(workload, given)
    updates: dict[str, Any] = {}
    allowed = _allowed(workload)
    for name, value in given.items():
        if name not in allowed:
            raise PlanError(f"--{name.replace('_', '-')} does not apply to {workload.name}.")
        updates[name] = value
    if "output_tokens" in updates:
        updates["output_tokens"] = _whole_number(updates["output_tokens"])
    picture = _picture_changes(updates)
    if picture:
        assert isinstance(workload, TraceSpec), "only these allow them"
        updates["picture"] = workload.picture.model_copy(update=picture)
    return workload.model_copy(update=updates)


def _whole_number(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise PlanError(f"--output-tokens must be a whole number here, not {text!r}.")
    return int(text)


def _allowed(workload: WorkloadSpec) -> set[str]:
    if isinstance(workload, TraceSpec):
        shapes = {"picture_size", "picture_bytes", "repeat_ratio"}
        return {"length_scale", "max_text_tokens", "max_pictures", "begin_s", *shapes}
    return {"output_tokens"}


def _changed_mixture(workload: MixtureSpec, given: Mapping[str, Any]) -> MixtureSpec:
    for name in ("max_text_tokens", "max_pictures", "begin_s"):
        if name in given:
            option = name.replace("_s", "").replace("_", "-")
            raise PlanError(f"--{option} is for recordings, not for {workload.name}.")
    unused = [name for name in _OF_PICTURES if name in given]
    if unused and not any(map(_shows_pictures, workload.components)):
        option = unused[0].replace("_", "-")
        raise PlanError(f"--{option} does not apply to {workload.name}, which shows no pictures.")
    updates: dict[str, Any] = {}
    if "length_scale" in given:
        updates["length_scale"] = given["length_scale"]
    updates["components"] = tuple(_changed_component(c, given) for c in workload.components)
    return workload.model_copy(update=updates)


def _changed_component(component: Component, given: Mapping[str, Any]) -> Component:
    """Options about pictures leave components without pictures alone, and likewise turns."""
    updates: dict[str, Any] = {}
    for name in ("text_tokens", "output_tokens"):
        if name in given:
            updates[name] = parse_distribution(given[name])
    if "turns" in given:
        updates["num_turns"] = parse_distribution(given["turns"])
    if "think" in given:
        updates["think_s"] = parse_distribution(given["think"])
    if "history" in given:
        updates["history"] = given["history"]
    if _shows_pictures(component):
        if "pictures" in given:
            updates["num_pictures"] = parse_distribution(given["pictures"])
        picture = _picture_changes(dict(given))
        if picture:
            updates["picture"] = component.picture.model_copy(update=picture)
    return component.model_copy(update=updates)


def _shows_pictures(component: Component) -> bool:
    return component.num_pictures.text != "0"


def _picture_changes(given: dict[str, Any]) -> dict[str, Any]:
    """Fields of a PictureSpec; taken out of `given`."""
    found: dict[str, Any] = {}
    size = given.pop("picture_size", None)
    if size is not None:
        match = re.fullmatch(r"(\d+)x(\d+)", size)
        width, height = match.groups() if match else (size, size)
        if match and not all(1 <= int(side) <= MAX_SIDE for side in (width, height)):
            raise PlanError(f"--picture-size {size}: sides are 1 to {MAX_SIDE} pixels.")
        found |= {"width": parse_distribution(width), "height": parse_distribution(height)}
    num_bytes = given.pop("picture_bytes", None)
    if num_bytes is not None:
        found["file_bytes"] = parse_distribution(num_bytes)
    ratio = given.pop("repeat_ratio", None)
    if ratio is not None:
        if not 0 <= ratio <= 1:
            raise PlanError(f"--repeat-ratio must be between 0 and 1, not {ratio:g}.")
        found["repeat_ratio"] = ratio
    return found


def _mixture(text: str) -> MixtureSpec:
    components: list[Component] = []
    for part in text.split(","):
        name, _, weight = part.strip().partition("=")
        preset = PRESETS.get(name)
        if preset is None:
            raise _unknown(name)
        try:
            factor = float(weight)
        except ValueError:
            factor = 0.0
        if not 0 < factor < math.inf:
            raise PlanError(f"{part.strip()!r}: the weight must be a number above 0.")
        inner = preset.workload.components
        whole = sum(component.weight for component in inner)
        components += [c.model_copy(update={"weight": factor * c.weight / whole}) for c in inner]
    names = [component.name for component in components]
    if len(set(names)) < len(names):
        raise PlanError(f"{text!r} has the same component twice; name each once.")
    return MixtureSpec(name=text, components=tuple(components))


def _from_yaml(path: Path) -> WorkloadSpec:
    try:
        fields = yaml.safe_load(_existing(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputFileError(path, f"not YAML ({error})") from None
    if not isinstance(fields, dict):
        raise InputFileError(path, "a workload is a mapping; docs/loadtest.md has an example")
    fields = {"kind": "mixture", "name": path.stem} | fields
    if fields["kind"] != "mixture":
        fields.pop("name")
    try:
        return _FILE.validate_python(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        raise InputFileError(path, f"{place}: {first['msg']}") from None


def _existing(path: Path) -> Path:
    if path == Path():
        raise PlanError("A recording needs its file, as in mooncake:trace.jsonl.")
    if not path.exists():
        raise InputFileError(path, "no such file")
    return path


def _unknown(text: str) -> PlanError:
    near = difflib.get_close_matches(text, PRESETS, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return PlanError(f"No workload {text!r}.{hint} It is {HELP}.")
