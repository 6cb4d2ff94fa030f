"""Sends the sessions of a job when they are due, whatever the server does."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from time import monotonic_ns

from saccade.loadtest.client.body import BodyWriter
from saccade.loadtest.client.exchange import Exchange, FailedError
from saccade.loadtest.client.http import ChatClient
from saccade.loadtest.client.record import Ask, make_record
from saccade.loadtest.job import Job
from saccade.loadtest.records import NS_PER_S, ErrorKind, Phase, RequestRecord
from saccade.loadtest.schedule import Planned
from saccade.loadtest.workloads.text import TextSource


class Engine:
    """One process's sending. All times are in ns after the origin."""

    def __init__(
        self,
        job: Job,
        client: ChatClient,
        bodies: BodyWriter,
        text: TextSource,
        origin_ns: int,
        on_sent: Callable[[], None],
        on_record: Callable[[RequestRecord], None],
    ) -> None:
        self._job = job
        self._client = client
        self._bodies = bodies
        self._text = text
        self._origin_ns = origin_ns
        self._on_sent = on_sent
        self._on_record = on_record
        self._streamed = bool(job.body.get("stream"))
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._interrupted = False
        self.used_up = False

    async def run(self, stop: asyncio.Event) -> None:
        """Until everything is answered, or `stop` is set: then what is in flight is given up."""
        send = self._send_open() if self._job.concurrency is None else self._send_closed()
        self._spawn(send)
        stopped = asyncio.create_task(stop.wait())
        finished = asyncio.create_task(self._finished())
        await asyncio.wait({finished, stopped}, return_when=asyncio.FIRST_COMPLETED)
        self._interrupted = not finished.done()
        finished.cancel()
        stopped.cancel()
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(set(self._tasks))
        if self._failure is not None:
            raise self._failure

    def _now_ns(self) -> int:
        return monotonic_ns() - self._origin_ns

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()

    async def _finished(self) -> None:
        """Until no task is left, something broke, or the time to drain is over."""
        last_ns = max((round((p.at_s or 0.0) * NS_PER_S) for p in self._job.planned), default=0)
        length_ns = round((self._job.length_s or 0.0) * NS_PER_S)
        drained_ns = max(last_ns, length_ns) + round(self._job.drain_s * NS_PER_S)
        endless = self._job.length_s is None and self._job.concurrency is not None
        while self._tasks and self._failure is None:
            left_s = None if endless else (drained_ns - self._now_ns()) / NS_PER_S
            if left_s is not None and left_s <= 0:
                return
            await asyncio.wait(
                set(self._tasks), timeout=left_s, return_when=asyncio.FIRST_COMPLETED
            )

    async def _send_open(self) -> None:
        for planned in self._job.planned:
            assert planned.at_s is not None, "an open schedule has times"
            begin_ns = round(planned.at_s * NS_PER_S)
            await self._until(begin_ns)
            self._start_session(planned, begin_ns)

    async def _send_closed(self) -> None:
        waiting = iter(self._job.planned)
        for _ in range(self._job.concurrency or 0):
            self._spawn(self._user(waiting))

    async def _user(self, waiting: Iterator[Planned]) -> None:
        """One user of a closed loop, who takes one session after the other."""
        await self._until(0)
        while not self._is_over(self._now_ns()):
            planned = next(waiting, None)
            if planned is None:
                self.used_up = self._job.length_s is not None
                return
            await self._conversation(planned, self._now_ns())

    def _is_over(self, now_ns: int) -> bool:
        length_s = self._job.length_s
        return length_s is not None and now_ns >= length_s * NS_PER_S

    def _start_session(self, planned: Planned, begin_ns: int) -> None:
        turns = planned.session.turns
        if len(turns) > 1 and all(t.scripted_answer is not None for t in turns[:-1]):
            for turn, asked in enumerate(turns):
                begin_ns += round(asked.think_s * NS_PER_S)
                self._spawn(self._scripted_turn(planned, turn, begin_ns))
        else:
            self._spawn(self._conversation(planned, begin_ns))

    async def _scripted_turn(self, planned: Planned, turn: int, due_ns: int) -> None:
        await self._until(due_ns)
        await self._ask(planned, turn, due_ns, ())

    async def _conversation(self, planned: Planned, begin_ns: int) -> None:
        """Turn after turn; it ends with the first that fails."""
        due_ns, answers = begin_ns, list[str]()
        for turn, asked in enumerate(planned.session.turns):
            due_ns += round(asked.think_s * NS_PER_S)
            await self._until(due_ns)
            answer = await self._ask(planned, turn, due_ns, answers)
            if answer is None:
                return
            answers.append(answer)
            due_ns = self._now_ns()

    async def _until(self, due_ns: int) -> None:
        # More than once: the event loop counts in ms, and wakes up to half of one too early.
        while (left_s := (due_ns - self._now_ns()) / NS_PER_S) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left_s)

    async def _ask(
        self, planned: Planned, turn: int, due_ns: int, answers: "list[str] | tuple[()]"
    ) -> str | None:
        """What was answered; None if it failed."""
        ask = Ask(
            id=f"{planned.index:06d}-{turn}",
            session_index=planned.index,
            session=planned.session,
            turn=turn,
            scheduled_ns=due_ns,
            phase=self._phase(due_ns),
            streamed=self._streamed,
        )
        body = self._bodies.write(planned.session, turn, answers)
        exchange, failure, cancelled = Exchange(), None, False
        self._on_sent()
        try:
            await self._client.ask(body, ask.id, exchange)
        except FailedError as error:
            failure = error
        except asyncio.CancelledError:
            cancelled = self._interrupted
            if not cancelled:
                text = f"not complete {self._job.drain_s:g} s after the end of the schedule"
                failure = FailedError(ErrorKind.TIMEOUT, text)
            raise
        finally:
            record = make_record(
                ask,
                exchange,
                failure,
                origin_ns=self._origin_ns,
                body_bytes=len(body),
                cancelled=cancelled,
                text=self._text,
                keep_answer=self._job.keep_answers,
            )
            self._on_record(record)
        return exchange.answer if failure is None else None

    def _phase(self, due_ns: int) -> Phase:
        due_s = due_ns / NS_PER_S
        if due_s < self._job.warmup_s:
            return Phase.WARMUP
        length_s = self._job.length_s
        if length_s is not None and due_s >= length_s - self._job.cooldown_s:
            return Phase.COOLDOWN
        return Phase.MEASURED
