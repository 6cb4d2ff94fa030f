"""The servers that are compared, as changes to one configuration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.servers import ROOT

Changes = Mapping[str, Mapping[str, Any]]

LEVELS: dict[str, Changes] = {
    "all caches": {},
    "no references in the gateway": {"visual_cache": {"shared_bytes": 0}},
    "no visual-token cache": {"visual_cache": {"enabled": False}},
    "no prefix cache": {"engine": {"prefix_caching": False}},
    "no caches": {"visual_cache": {"enabled": False}, "engine": {"prefix_caching": False}},
}
"""One level of what is kept is off in each."""

PLACEMENTS = ("cache_aware", "least_loaded", "round_robin")
FOUR_INSTANCES: Changes = {
    "instances": {
        "prefill": {"roles": ["prefill"], "replicas": 4, "cpus": 0.25, "threads": 1},
        "decode": {"roles": ["decode"], "replicas": 1, "cpus": 0.25, "threads": 1},
    },
}


def written(name: str, changes: Changes, folder: Path) -> Path:
    """A configuration file: that of the benchmarks, with changes. `instances` is replaced."""
    base = yaml.safe_load((ROOT / "benchmarks" / "saccade.yaml").read_text(encoding="utf-8"))
    for section, values in changes.items():
        base[section] = dict(values) if section == "instances" else base.get(section, {}) | values
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name.replace(' ', '-')}.yaml"
    path.write_text(yaml.safe_dump(base), encoding="utf-8")
    return path


def placement(how: str, kv_cache_bytes: int) -> Changes:
    """Four prefill instances, whose KV caches are small enough to fill up."""
    return {
        **FOUR_INSTANCES,
        "engine": {"kv_cache_bytes": kv_cache_bytes},
        "prefix_index": {"placement": how},
    }
