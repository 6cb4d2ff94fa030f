"""What holds for all tests."""

import os
from pathlib import Path

from hypothesis import HealthCheck, settings

# A variable exported in the shell of whoever runs the tests must not configure what they test.
for name in [name for name in os.environ if name.startswith("SACCADE_")]:
    del os.environ[name]

# Triton looks at it when it is first imported, by whomever. Engines on a CPU do not use Triton.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# A busy machine is no bug.
settings.register_profile("saccade", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("saccade")
