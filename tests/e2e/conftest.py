"""One cluster for all end-to-end tests of a run."""

import signal
from collections.abc import Iterator

import openai
import pytest

from tests.e2e.server import ROOT, Server, alive, launch, traces, until, until_ready


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Encode, prefill and decode in three instances; stopped by Ctrl-C at the end of the run."""
    log = tmp_path_factory.mktemp("server") / "log"
    before = traces()
    server = launch(ROOT / "tests/e2e/cluster.yaml", log)
    try:
        until_ready(server)
        yield server
        family = server.family()
        assert server.stop(signal.SIGINT) == 130, server.output()
        until(lambda: not alive(family), 10, lambda: alive(family))
        until(lambda: traces() <= before, 10, lambda: traces() - before)
    finally:
        server.kill()


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[openai.OpenAI]:
    """The stock client; no retries, so that each failure is seen."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client
