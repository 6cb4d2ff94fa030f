"""Environment of a process that is going to import Ray, which has to be set before that; and what
to look at there when Ray does not start."""

import os
import secrets
from pathlib import Path


def prepare_environment(*, local: bool) -> None:
    """Set what Ray reads from the environment, where the operator has not set it already.

    Args:
        local: Ray will be started on this machine for this process alone, so it listens on the
            loopback interface only.
    """
    # Ray would replay `uv run` in each worker, report usage, and warn about hidden GPUs.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Instances are the work, not a background job: at Ray's 15 a busy gateway starves them.
    os.environ.setdefault("RAY_worker_niceness", "0")
    if not local:
        return
    # The switch is named after the systems where it is the default.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        # Ray would write one to the home folder.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def why_ray_failed(error: Exception) -> str:
    """For who has to put it right: what Ray says, where its logs are, and what to check."""
    folder = Path(os.environ.get("RAY_TMPDIR") or "/tmp", "ray", "session_latest", "logs")
    logs = (
        f"Look into its logs, gcs_server.out and raylet.err first: {folder}"
        if folder.is_dir()
        else f"It has written no logs to {folder}."
    )
    return "\n  ".join(
        (
            "Ray could not start on this machine.",
            f"{type(error).__name__}: {error}",
            logs,
            "It needs free memory for cluster.object_store_bytes, free disk, and a short path that",
            "can be written to (RAY_TMPDIR, or else /tmp). `ray stop --force` ends every Ray that",
            "is left on this machine.",
        )
    )
