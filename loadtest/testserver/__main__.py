"""`python -m saccade.loadtest.testserver`: prints its address and answers until it is stopped."""

import argparse
import asyncio
import signal
import sys

import uvloop
from aiohttp import web
from pydantic import ValidationError

from saccade.loadtest.testserver.app import TestServer
from saccade.loadtest.testserver.script import Script


def main() -> None:
    parser = argparse.ArgumentParser(
        description="A server without a model, for testing load testers."
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--script", default="{}", help="how it answers, as JSON")
    options = parser.parse_args()
    try:
        script = Script.model_validate_json(options.script)
    except ValidationError as error:
        parser.error(f"--script: {error}")
    uvloop.run(_serve(options.port, script))


async def _serve(port: int, script: Script) -> None:
    runner = web.AppRunner(TestServer(script).app(), access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=4096)
    await site.start()
    host, chosen = runner.addresses[0][:2]
    sys.stdout.write(f"http://{host}:{chosen}\n")
    sys.stdout.flush()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await runner.cleanup()


if __name__ == "__main__":
    main()
