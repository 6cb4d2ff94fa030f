"""What holds for all tests."""

import os

from hypothesis import HealthCheck, settings

# A variable exported in the shell of whoever runs the tests must not configure what they test.
for name in [name for name in os.environ if name.startswith("SACCADE_")]:
    del os.environ[name]

# A busy machine is no bug.
settings.register_profile("saccade", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("saccade")
