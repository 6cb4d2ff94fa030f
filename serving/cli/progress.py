"""What is going on while the system starts."""

import sys
import time

from rich.console import Console
from rich.live import Live
from rich.text import Text


class StartupProgress:
    """One line each time something changes; on a terminal also a line that counts the seconds."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stdout, highlight=False)
        self._started = time.monotonic()
        self._states: dict[str, str] = {}
        self._live: Live | None = None

    def begin(self) -> None:
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._status, console=self._console, transient=True,
                refresh_per_second=4,
            )  # fmt: skip
            self._live.start()

    def note(self, name: str, state: str) -> None:
        """`name` is now doing `state`; the same again says nothing new."""
        if self._states.get(name) == state:
            return
        self._states[name] = state
        self._console.print(f"[{self._seconds():4.0f} s] {name}: {state}", markup=False)

    def finish(self) -> float:
        """Seconds that the start took."""
        self.close()
        return self._seconds()

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _status(self) -> Text:
        waiting = [
            f"{name} ({state})"
            for name, state in self._states.items()
            if not state.startswith("ready")
        ]
        return Text(f"       {self._seconds():.0f} s, waiting for {', '.join(waiting) or 'Python'}")
