"""Environment of a process that is going to import Ray; has to be set before that."""

import os
import secrets


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
