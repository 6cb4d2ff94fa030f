"""Carries out a plan: prepares it, starts the sending processes, watches, and collects."""

import contextlib
import multiprocessing
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from multiprocessing.connection import Connection, wait
from pathlib import Path
from time import monotonic_ns
from types import FrameType
from typing import Any, Protocol

from saccade.loadtest.errors import LoadTestError
from saccade.loadtest.job import Broken, Job, News, Ready, Result, Start, Stop
from saccade.loadtest.plan import Plan
from saccade.loadtest.records import NS_PER_S, ClientHealth, RunRecord
from saccade.loadtest.schedule import Schedule, make_schedule
from saccade.loadtest.spool import Place, write_spool
from saccade.loadtest.target import Target, histograms_of, look_at, stages_between
from saccade.loadtest.workloads.session import Media
from saccade.loadtest.workloads.text import text_source

_START_AFTER_NS = NS_PER_S // 10
_LOOK_EVERY_S = 0.1


class Progress(Protocol):
    """Is told how a run goes on."""

    def on_prepare(self, plan: Plan) -> None: ...
    def on_made(self, num_bytes: int) -> None: ...
    def on_start(self, plan: Plan, target: Target, schedule: Schedule) -> None: ...
    def on_news(self, elapsed_s: float, news: Sequence[News]) -> None: ...
    def on_stop(self) -> None: ...
    def on_end(self) -> None: ...
    def warn(self, text: str) -> None: ...


class NoProgress:
    """Tells nobody."""

    def on_prepare(self, plan: Plan) -> None: ...
    def on_made(self, num_bytes: int) -> None: ...
    def on_start(self, plan: Plan, target: Target, schedule: Schedule) -> None: ...
    def on_news(self, elapsed_s: float, news: Sequence[News]) -> None: ...
    def on_stop(self) -> None: ...
    def on_end(self) -> None: ...
    def warn(self, text: str) -> None: ...


def run(plan: Plan, *, progress: Progress | None = None) -> RunRecord:
    """Carry out a plan.

    Ctrl-C ends it early: what was recorded so far is returned, `interrupted`. A second Ctrl-C
    raises KeyboardInterrupt.

    Raises:
        LoadTestError: it cannot be carried out.
    """
    watcher = progress or NoProgress()
    headers = _headers(plan)
    target = look_at(plan.url, headers, plan.model)
    watcher.on_prepare(plan)
    schedule = make_schedule(plan, text_source(plan.tokenizer))
    try:
        with tempfile.TemporaryDirectory(prefix="saccade-loadtest-") as folder:
            spool = Path(folder, "media")
            media = (m for p in schedule.planned for turn in p.session.turns for m in turn.media)
            places = write_spool(spool, media, watcher.on_made)
            jobs = _jobs(plan, target, schedule, spool, places, headers)
            watcher.on_start(plan, target, schedule)
            with _processes(jobs) as pipes:
                outcome = _watch(pipes, watcher)
    finally:
        watcher.on_end()
    if any(result.used_up for result in outcome.results):
        watcher.warn(
            f"All {len(schedule.planned)} prepared sessions were used before the time was over; "
            "prepare more with --num-requests."
        )
    after = histograms_of(plan.url, headers)
    return _record(plan, target, schedule, outcome, stages_between(target.histograms, after))


def check_target(plan: Plan) -> None:
    """Ask the server of a plan whether it can be measured.

    Raises:
        TargetError: it does not answer, refuses the key, or does not have the model.
    """
    look_at(plan.url, _headers(plan), plan.model)


class _Outcome:
    def __init__(self, origin_ns: int, started_at: datetime) -> None:
        self.origin_ns = origin_ns
        self.started_at = started_at
        self.results: list[Result] = []
        self.interrupted = False


def _headers(plan: Plan) -> dict[str, str]:
    key = plan.api_key
    return {"authorization": f"Bearer {key.get_secret_value()}"} if key is not None else {}


def _body(plan: Plan, target: Target) -> dict[str, Any]:
    body: dict[str, Any] = {"model": target.model, "stream": plan.stream}
    if plan.temperature is not None:
        body["temperature"] = plan.temperature
    if plan.stream:
        body["stream_options"] = {"include_usage": True}
    if plan.explain == "on" or (plan.explain == "auto" and target.is_saccade):
        body["saccade"] = {"explain": True}
    return body | dict(plan.extra_body)


def _jobs(
    plan: Plan,
    target: Target,
    schedule: Schedule,
    spool: Path,
    places: dict[Media, Place],
    headers: dict[str, str],
) -> list[Job]:
    """Sessions are dealt out like cards. A process without a user in a closed loop is not made."""
    number = min(plan.num_processes, plan.concurrency or plan.num_processes)
    body = _body(plan, target)
    return [
        Job(
            url=plan.url,
            headers=headers,
            body=body,
            exact_output=plan.exact_output,
            planned=schedule.planned[index::number],
            spool=spool,
            places=places,
            concurrency=_part(plan.concurrency, number, index),
            length_s=schedule.length_s,
            warmup_s=plan.warmup_s,
            cooldown_s=plan.cooldown_s,
            timeout_s=plan.timeout_s,
            drain_s=plan.drain_s,
            tokenizer=plan.tokenizer,
            keep_answers=plan.keep_answers,
        )
        for index in range(number)
    ]


def _part(whole: int | None, number: int, index: int) -> int | None:
    return None if whole is None else whole // number + (index < whole % number)


@contextlib.contextmanager
def _processes(jobs: Sequence[Job]) -> Iterator[list[Connection]]:
    """Sending processes that are ready; those still there at the end are killed."""
    from saccade.loadtest.worker import main

    context = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    processes = []
    try:
        with _signals(signal.SIG_IGN):  # a process inherits this until it says so itself
            for job in jobs:
                ours, theirs = context.Pipe()
                process = context.Process(target=main, args=(theirs,), daemon=True)
                process.start()
                theirs.close()
                pipes.append(ours)
                processes.append(process)
                ours.send(job)
        for pipe in pipes:
            _receive(pipe, Ready)
        yield pipes
        for process in processes:
            process.join(timeout=10)
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            if process.is_alive():
                process.kill()
            process.join()
            process.close()


def _watch(pipes: Sequence[Connection], watcher: Progress) -> _Outcome:
    outcome = _Outcome(monotonic_ns() + _START_AFTER_NS, datetime.now(UTC))
    num_interrupts = 0

    def on_signal(_: int, __: FrameType | None) -> None:
        nonlocal num_interrupts
        num_interrupts += 1
        if num_interrupts > 1:
            raise KeyboardInterrupt

    for pipe in pipes:
        pipe.send(Start(outcome.origin_ns))
    open_pipes = list(pipes)
    with _signals(on_signal):
        while open_pipes:
            news: list[News] = []
            ready = wait(open_pipes, timeout=_LOOK_EVERY_S)
            for pipe in [pipe for pipe in open_pipes if pipe in ready]:
                message = _receive(pipe, News, Result)
                if isinstance(message, Result):
                    outcome.results.append(message)
                    open_pipes.remove(pipe)
                else:
                    news.append(message)
            watcher.on_news(max(0.0, (monotonic_ns() - outcome.origin_ns) / NS_PER_S), news)
            if num_interrupts and not outcome.interrupted:
                outcome.interrupted = True
                watcher.on_stop()
                for pipe in open_pipes:
                    pipe.send(Stop())
    return outcome


def _receive(pipe: Connection, *kinds: type) -> Any:
    try:
        message = pipe.recv()
    except (EOFError, OSError):
        raise LoadTestError(
            "A sending process has died (killed for want of memory?); nothing was recorded."
        ) from None
    if isinstance(message, Broken):
        raise LoadTestError(f"A sending process has failed:\n{message.traceback}")
    assert isinstance(message, kinds), message
    return message


@contextlib.contextmanager
def _signals(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> Iterator[None]:
    """Another reaction to Ctrl-C; only the main thread may set one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _record(
    plan: Plan, target: Target, schedule: Schedule, outcome: _Outcome, stages: Any
) -> RunRecord:
    requests = sorted(
        (record for result in outcome.results for record in result.requests),
        key=lambda record: (record.scheduled_ns, record.id),
    )
    end_ns = max(result.end_ns for result in outcome.results)
    length_s = schedule.length_s
    return RunRecord(
        label=plan.label,
        url=plan.url,
        model=target.model,
        workload=plan.workload.name,
        arrivals=plan.arrivals.describe(),
        offered_rate=plan.offered_rate,
        concurrency=plan.concurrency,
        seed=plan.seed,
        started_at=outcome.started_at,
        origin_ns=outcome.origin_ns,
        warmup_s=plan.warmup_s,
        cooldown_s=plan.cooldown_s,
        schedule_s=length_s if length_s is not None else end_ns / NS_PER_S,
        end_ns=end_ns,
        interrupted=outcome.interrupted,
        max_send_lag_s=plan.max_send_lag_s,
        client=ClientHealth(
            num_processes=len(outcome.results),
            cpu_ratio=max(result.cpu_ratio for result in outcome.results),
            loop_lag_p99_s=max(result.loop_lag_p99_s for result in outcome.results),
        ),
        server_stages=stages,
        requests=tuple(requests),
    )
