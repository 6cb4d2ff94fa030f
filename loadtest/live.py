"""What a terminal shows while a run goes on."""

from collections import Counter, deque
from collections.abc import Sequence

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from saccade.loadtest.job import News
from saccade.loadtest.plan import Plan
from saccade.loadtest.records import Modality
from saccade.loadtest.schedule import Schedule
from saccade.loadtest.target import Target

RECENT = 500
"""Current percentiles are over this many latest requests of a modality."""


class Tally:
    """The numbers on display, summed up from news."""

    def __init__(self) -> None:
        self.num_sent = 0
        self.num_ok = 0
        self.errors: Counter[str] = Counter()
        self.max_lag_s = 0.0
        self._ttfts_s: dict[Modality, deque[float]] = {}

    def add(self, news: News) -> None:
        self.num_sent += news.num_sent
        self.num_ok += news.num_ok
        self.errors.update(news.errors)
        self.max_lag_s = max(self.max_lag_s, news.max_lag_s)
        for modality, ttft_s in news.ttfts_s:
            self._ttfts_s.setdefault(modality, deque(maxlen=RECENT)).append(ttft_s)

    @property
    def num_errors(self) -> int:
        return sum(self.errors.values())

    @property
    def num_running(self) -> int:
        return max(0, self.num_sent - self.num_ok - self.num_errors)

    def counts(self) -> str:
        """One line: what was sent, runs, is done, and went wrong."""
        line = f"sent {self.num_sent}  running {self.num_running}  done {self.num_ok}"
        kinds = ", ".join(f"{kind} {number}" for kind, number in self.errors.most_common(4))
        line += f"  errors {self.num_errors}" + (f" ({kinds})" if kinds else "")
        return line + f"  latest send {self.max_lag_s * 1000:.1f} ms late"

    def latencies(self) -> list[str]:
        """A line for each modality: percentiles of TTFT."""
        lines = []
        for modality, values in sorted(self._ttfts_s.items()):
            p50, p90, p99 = (1000 * v for v in np.percentile(list(values), (50, 90, 99)))
            lines.append(f"TTFT {modality:<5}  p50 {p50:.0f}  p90 {p90:.0f}  p99 {p99:.0f} ms")
        return lines


class LiveProgress:
    """A bar and the current numbers; where the console is no terminal, a line now and then."""

    def __init__(self, console: Console, line_every_s: float = 10.0) -> None:
        self._console = console
        self._line_every_s = line_every_s
        self._reset()

    def _reset(self) -> None:
        self._tally = Tally()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}")
        )
        self._task = self._bar.add_task("", total=None, note="")
        self._live: Live | None = None
        self._length_s: float | None = None
        self._num_sessions = 0
        self._num_made = 0
        self._num_bytes = 0
        self._next_line_s = self._line_every_s

    def on_prepare(self, plan: Plan) -> None:
        self._reset()
        title = f"{plan.label}: {plan.describe()}  →  {plan.url}"
        self._console.print(title, markup=False, highlight=False, soft_wrap=True)
        self._show(Text("preparing requests"))

    def on_made(self, num_bytes: int) -> None:
        self._num_made += 1
        self._num_bytes += num_bytes
        note = f"preparing pictures: {self._num_made}, {self._num_bytes / 1e6:.1f} MB"
        self._show(Text(note))

    def on_start(self, plan: Plan, target: Target, schedule: Schedule) -> None:
        self._length_s = schedule.length_s
        self._num_sessions = len(schedule.planned)
        total = self._length_s if self._length_s is not None else float(self._num_sessions)
        self._bar.update(self._task, total=total, description=target.model)

    def on_news(self, elapsed_s: float, news: Sequence[News]) -> None:
        for one in news:
            self._tally.add(one)
        done = elapsed_s if self._length_s is not None else float(self._tally.num_ok)
        note = f"{elapsed_s:.0f} s"
        if self._length_s is not None:
            draining = elapsed_s > self._length_s and self._tally.num_running
            note += f" of {self._length_s:.0f} s" + (", waiting for answers" if draining else "")
        self._bar.update(self._task, completed=done, note=note)
        lines = [self._tally.counts(), *self._tally.latencies()]
        self._show(Group(self._bar, *(Text(f"  {line}") for line in lines)))
        if not self._console.is_terminal and elapsed_s >= self._next_line_s:
            self._next_line_s = elapsed_s + self._line_every_s
            self._console.print(
                f"[{elapsed_s:4.0f} s] {' | '.join(lines)}", markup=False, soft_wrap=True
            )

    def on_stop(self) -> None:
        self._console.print("Stopping; Ctrl-C once more to stop without a report.")

    def on_end(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def warn(self, text: str) -> None:
        self._console.print(f"Warning: {text}", style="yellow", highlight=False)

    def _show(self, content: Text | Group) -> None:
        if not self._console.is_terminal:
            return
        if self._live is None:
            self._live = Live(
                console=self._console, transient=True, auto_refresh=False, redirect_stdout=False
            )
            self._live.start()
        self._live.update(content, refresh=True)
