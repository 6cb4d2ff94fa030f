"""Follows the KV events of one engine over ZMQ, and asks for what was lost."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import zmq
import zmq.asyncio

from saccade.serving.caches.block_events import (
    END_OF_REPLAY,
    BadBatchError,
    Batch,
    KvEventSource,
    decode_batch,
)
from saccade.serving.caches.prefix_index import InstanceBlocks

log = logging.getLogger(__name__)

# The publisher answers between two batches, of which an idle one has none for 0.1 s; a CPU engine
# in the same process may be busy with one step for seconds.
REPLAY_TIMEOUT_S = 15.0
# Each replay brings what the one before has not, unless the publisher is faster than we are.
MAX_REPLAYS = 100
# Between two looks at what else the event loop has to do.
BATCHES_AT_ONCE = 16


class KvEventFollower:
    """Keeps `blocks` as they are on one engine. `run` until cancelled."""

    def __init__(
        self, name: str, source: KvEventSource, blocks: InstanceBlocks, reconcile_s: float
    ) -> None:
        self._name = name
        self._source = source
        self._blocks = blocks
        self._reconcile_s = reconcile_s

    async def run(self) -> None:
        """Ends only when cancelled; then nothing is known any more."""
        context = zmq.asyncio.Context()
        try:
            async with _socket(context, zmq.SUB, self._source.endpoint) as live:
                live.setsockopt(zmq.SUBSCRIBE, b"")
                while True:
                    await self._follow(context, live)
        finally:
            self._blocks.forget()
            context.destroy(linger=0)

    async def _follow(self, context: zmq.asyncio.Context, live: zmq.asyncio.Socket) -> None:
        """Begin with what was published before, or since; then take in what is published."""
        in_step = await self._catch_up(context)
        while in_step and await live.poll(round(self._reconcile_s * 1e3)):
            for _ in range(BATCHES_AT_ONCE):
                if in_step and await live.poll(0):
                    in_step = self._take_in(await live.recv_multipart())
            await asyncio.sleep(0)
        # Silent for long, or something is missing: ask.

    def _take_in(self, frames: list[bytes]) -> bool:
        try:
            return self._blocks.on_batch(self._decoded(frames))
        except BadBatchError as error:
            log.warning("instance %s: KV events that cannot be read: %s", self._name, error)
            self._blocks.forget()
            return True

    async def _catch_up(self, context: zmq.asyncio.Context) -> bool:
        """Ask for batches until none is missing; forget everything when that does not work."""
        try:
            for _ in range(MAX_REPLAYS):
                if await self._replay(context):
                    return True
        except BadBatchError as error:
            log.warning("instance %s: KV events that cannot be read: %s", self._name, error)
        self._blocks.forget()
        await asyncio.sleep(self._reconcile_s)
        return False

    async def _replay(self, context: zmq.asyncio.Context) -> bool:
        """Take in what the publisher still has; False when another replay is needed."""
        batches: list[Batch] = []
        # A socket for each request, so that no late answer is taken for the next one's.
        async with _socket(context, zmq.DEALER, self._source.replay_endpoint) as replay:
            start = self._blocks.replay_from
            await replay.send_multipart([b"", start.to_bytes(8, "big")])
            while await replay.poll(round(REPLAY_TIMEOUT_S * 1e3)):
                frames = await replay.recv_multipart()
                if int.from_bytes(frames[-2], "big", signed=True) == END_OF_REPLAY:
                    return self._blocks.on_replay(batches)
                batches.append(self._decoded(frames))
                if len(batches) > BATCHES_AT_ONCE:
                    if not self._blocks.on_replay(batches):
                        return False
                    # What follows has to continue from there.
                    batches = batches[-1:]
                    await asyncio.sleep(0)
        return False

    def _decoded(self, frames: list[bytes]) -> Batch:
        if len(frames) < 2:
            raise BadBatchError(f"a message of {len(frames)} parts")
        return decode_batch(frames[-2], frames[-1], self._source.block_size)


@asynccontextmanager
async def _socket(
    context: zmq.asyncio.Context, kind: int, endpoint: str
) -> AsyncIterator[zmq.asyncio.Socket]:
    socket = context.socket(kind)
    socket.setsockopt(zmq.IPV6, 1)
    socket.setsockopt(zmq.RCVHWM, 10_000)
    try:
        socket.connect(endpoint)
        yield socket
    finally:
        socket.close(linger=0)
