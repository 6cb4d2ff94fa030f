"""values.schema.json: the model of the values, with Saccade's own schema as its `config`."""

import json
from typing import Any

from saccade.serving.config.settings import Settings
from tools.chart.model import Values

# What the chart sets itself.
OF_THE_CHART = {
    "ApiConfig": ("host", "port", "keys", "keys_file", "tls"),
    "ClusterConfig": ("address",),
}


def values_schema() -> str:
    """The file's text."""
    schema = Values.model_json_schema(by_alias=True)
    config = Settings.model_json_schema()
    definitions = config.pop("$defs")
    for section, keys in OF_THE_CHART.items():
        for key in keys:
            del definitions[section]["properties"][key]
    for section in ("ApiKey", "TlsConfig"):
        definitions.pop(section)
    schema["$defs"] |= {f"config.{name}": part for name, part in definitions.items()}
    schema["$defs"]["config"] = config
    _move_references(schema["$defs"], definitions)
    schema["properties"]["config"] = {"$ref": "#/$defs/config"}
    schema["$schema"] = "http://json-schema.org/draft-07/schema#"
    return json.dumps(_plain(schema), indent=2, sort_keys=True) + "\n"


def _move_references(definitions: dict[str, Any], moved: dict[str, Any]) -> None:
    prefix = "#/$defs/"
    for name, part in definitions.items():
        if name != "config" and not name.startswith("config."):
            continue
        for node in _nodes(part):
            target = str(node.get("$ref", "")).removeprefix(prefix)
            if target in moved:
                node["$ref"] = f"{prefix}config.{target}"


def _nodes(tree: Any) -> Any:
    if isinstance(tree, dict):
        yield tree
        for child in tree.values():
            yield from _nodes(child)
    elif isinstance(tree, list):
        for child in tree:
            yield from _nodes(child)


def _plain(tree: Any) -> Any:
    """Without titles, which only repeat names; in messages of Helm they would be noise."""
    if isinstance(tree, dict):
        return {
            key: _plain(value)
            for key, value in tree.items()
            if not (key == "title" and isinstance(value, str))
        }
    if isinstance(tree, list):
        return [_plain(child) for child in tree]
    return tree
