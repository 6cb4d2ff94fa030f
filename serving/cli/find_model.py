"""From what a user calls a model to the folder that it is in."""

import os
from pathlib import Path


def find_model(name: str) -> Path | None:
    """A folder with a checkpoint, or where the hub's own tools have put one; None if nowhere.

    Nothing is downloaded.
    """
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return folder.absolute()
    organisation, slash, model = name.partition("/")
    if not slash or "/" in model or not (organisation and model):
        return None
    snapshots = _hub_cache() / f"models--{organisation}--{model}" / "snapshots"
    found = [path.parent for path in snapshots.glob("*/config.json")]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def not_here(name: str) -> str:
    """What to say of a model that `find_model` does not find."""
    from saccade.encoders.published import published

    known = "It is supported; fetch it" if name in published() else "Fetch it"
    return (
        f"{name}: there is no such checkpoint on this machine. {known} with `hf download {name}`, "
        "or give the folder of one; `saccade models` lists what is supported."
    )


def _hub_cache() -> Path:
    """As huggingface_hub finds it."""
    if cache := os.environ.get("HF_HUB_CACHE"):
        return Path(cache).expanduser()
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(home).expanduser() / "hub"
