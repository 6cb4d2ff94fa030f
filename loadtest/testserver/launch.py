"""Starts the test server in a process of its own."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from saccade.loadtest.errors import LoadTestError
from saccade.loadtest.testserver.script import Script


@contextlib.contextmanager
def running_test_server(script: Script) -> Iterator[str]:
    """Its base URL. It has ended when the context has.

    Raises:
        LoadTestError: it does not start.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "saccade.loadtest.testserver", "--script", script.model_dump_json()],
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C on a test must not end the server under it.
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise LoadTestError("The test server did not start; its error is above.")
        yield url
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
