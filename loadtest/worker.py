"""A sending process: takes a job from a pipe, carries it out, and gives back what it recorded."""

import asyncio
import contextlib
import gc
import math
import os
import signal
import time
import traceback
from multiprocessing.connection import Connection
from time import monotonic_ns

import uvloop

from saccade.loadtest.client.body import BodyWriter
from saccade.loadtest.client.engine import Engine
from saccade.loadtest.client.http import ChatClient
from saccade.loadtest.job import Broken, Job, News, Ready, Result, Start, Stop
from saccade.loadtest.records import NS_PER_S, RequestRecord, Status
from saccade.loadtest.spool import Spool
from saccade.loadtest.workloads.text import text_source

_NEWS_EVERY_S = 0.25
_LAG_PROBE_S = 0.02


def main(pipe: Connection) -> None:
    """Until the result is sent, or the other end of the pipe is gone."""
    # Ctrl-C reaches the whole group of processes; the one that runs the test decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        uvloop.run(_main(pipe))
    except (EOFError, BrokenPipeError):
        pass
    except Exception:
        with contextlib.suppress(OSError):
            pipe.send(Broken(traceback.format_exc()))


async def _main(pipe: Connection) -> None:
    job: Job = pipe.recv()
    text = text_source(job.tokenizer)
    spool = Spool(job.spool)
    client = ChatClient(job.url, job.headers, job.timeout_s)
    _quiet_garbage_collector()
    try:
        pipe.send(Ready())
        start: Start = pipe.recv()
        bodies = BodyWriter(job.body, job.exact_output, job.places, spool)
        journal = Journal()
        engine = Engine(
            job, client, bodies, text, start.origin_ns, journal.on_sent, journal.on_record
        )
        await _until_origin(start.origin_ns)
        pipe.send(await _carry_out(engine, journal, pipe, start.origin_ns))
    finally:
        await client.close()
        spool.close()


def _quiet_garbage_collector() -> None:
    """A full collection would stop all sending for tens of ms; records hold no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 1_000_000)


async def _until_origin(origin_ns: int) -> None:
    await asyncio.sleep(max(0.0, (origin_ns - monotonic_ns()) / NS_PER_S - 0.01))


async def _carry_out(
    engine: Engine, journal: "Journal", pipe: Connection, origin_ns: int
) -> Result:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pipe.fileno(), _on_message, pipe, stop)
    # uvloop takes what it watches out of blocking mode; a long result would break off half-way.
    os.set_blocking(pipe.fileno(), True)
    probe = LagProbe()
    helpers = [
        asyncio.create_task(probe.run()),
        asyncio.create_task(_tell(journal, pipe)),
    ]
    begin_s, begin_cpu_s = time.monotonic(), time.process_time()
    try:
        await engine.run(stop)
    finally:
        loop.remove_reader(pipe.fileno())
        for helper in helpers:
            helper.cancel()
    elapsed_s = time.monotonic() - begin_s
    pipe.send(journal.take_news())
    return Result(
        requests=tuple(journal.records),
        end_ns=monotonic_ns() - origin_ns,
        cpu_ratio=(time.process_time() - begin_cpu_s) / elapsed_s if elapsed_s > 0 else 0.0,
        loop_lag_p99_s=probe.p99_s(),
        used_up=engine.used_up,
    )


def _on_message(pipe: Connection, stop: asyncio.Event) -> None:
    """The only message during a run is to stop; so is the end of the process that sends it."""
    with contextlib.suppress(EOFError, OSError):
        assert isinstance(pipe.recv(), Stop)
    stop.set()
    asyncio.get_running_loop().remove_reader(pipe.fileno())


async def _tell(journal: "Journal", pipe: Connection) -> None:
    while True:
        await asyncio.sleep(_NEWS_EVERY_S)
        pipe.send(journal.take_news())


class Journal:
    """Keeps the records, and counts for the display."""

    def __init__(self) -> None:
        self.records: list[RequestRecord] = []
        self._news = News()

    def on_sent(self) -> None:
        self._news.num_sent += 1

    def on_record(self, record: RequestRecord) -> None:
        self.records.append(record)
        news = self._news
        if record.status is Status.OK:
            news.num_ok += 1
        else:
            kind = record.error_kind or record.status
            news.errors[kind.value] = news.errors.get(kind.value, 0) + 1
        if record.ttft_s is not None:
            news.ttfts_s.append((record.modality, record.ttft_s))
        news.max_lag_s = max(news.max_lag_s, record.send_lag_s or 0.0)

    def take_news(self) -> News:
        """Since the last time."""
        news, self._news = self._news, News()
        return news


class LagProbe:
    """How late the event loop wakes a task that sleeps."""

    def __init__(self) -> None:
        self._lags_s: list[float] = []

    async def run(self) -> None:
        while True:
            due_s = time.monotonic() + _LAG_PROBE_S
            await asyncio.sleep(_LAG_PROBE_S)
            self._lags_s.append(max(0.0, time.monotonic() - due_s))

    def p99_s(self) -> float:
        lags = sorted(self._lags_s)
        return lags[math.ceil(0.99 * len(lags)) - 1] if lags else 0.0
