"""Strict schemas: of Kubernetes for several versions, and of the operators' own kinds."""

import copy
import functools
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]  # it has no annotations
import pytest
import yaml

from tests.deploy.chart import Manifest

# Kind to the file of its definition. HTTPRoute is not among them: its definition is not at hand.
CUSTOM = {
    "RayCluster": "ray.io_rayclusters.yaml",
    "ScaledObject": "keda.sh_scaledobjects.yaml",
    "ServiceMonitor": "monitoring.coreos.com_servicemonitors.yaml",
    "PodMonitor": "monitoring.coreos.com_podmonitors.yaml",
    "PrometheusRule": "monitoring.coreos.com_prometheusrules.yaml",
}
UNCHECKED = {"HTTPRoute"}


class SchemaError(Exception):
    """An object does not fit."""


def check(manifest: Manifest, kubernetes: str) -> None:
    """Raises SchemaError for an unknown field, a missing one, or one of the wrong type."""
    kind = manifest["kind"]
    if kind in CUSTOM:
        _check_custom(manifest)
    elif kind not in UNCHECKED:
        try:
            kubernetes_validate.validate(manifest, kubernetes, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise SchemaError(f"{kind} ({kubernetes}): {error}") from error


def definitions() -> Path:
    """The folder of definitions, which lies beside the checkout; skips where there is none."""
    folders = [up / "shared/crds" for up in Path(__file__).parents]
    found = next((folder for folder in folders if folder.is_dir()), None)
    if found is None:
        pytest.skip("no folder shared/crds with CustomResourceDefinitions beside the checkout")
    return found


def _check_custom(manifest: Manifest) -> None:
    version = manifest["apiVersion"].partition("/")[2]
    validator = _validator(definitions() / CUSTOM[manifest["kind"]], version)
    problems = sorted(validator.iter_errors(manifest), key=lambda problem: list(problem.path))
    if problems:
        lines = [f"{'.'.join(map(str, one.path))}: {one.message}" for one in problems]
        raise SchemaError("\n".join([manifest["kind"], *lines]))


@functools.cache
def _validator(path: Path, version: str) -> Any:
    definition = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    schema = next(
        entry["schema"]["openAPIV3Schema"]
        for entry in definition["spec"]["versions"]
        if entry["name"] == version
    )
    return jsonschema.Draft202012Validator(_strict(copy.deepcopy(schema)))


def _strict(schema: Any) -> Any:
    """Unknown fields refused, as `kubectl` does with `--validate=strict`."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    # Their dialects are not JSON Schema's.
    schema.pop("format", None)
    if schema.pop("nullable", False):
        schema["type"] = [schema["type"], "null"]
    if "properties" in schema:
        schema["properties"] = {name: _strict(one) for name, one in schema["properties"].items()}
        keeps = schema.get("x-kubernetes-preserve-unknown-fields")
        whole = schema.get("x-kubernetes-embedded-resource")
        if "additionalProperties" not in schema and not keeps and not whole:
            schema["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = _strict(schema[key])
    return schema
