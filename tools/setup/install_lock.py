"""Install a lock file into the virtual environment of the Python that runs this file.

pip does the work, with the user's own pip settings. Added to it: one line of progress in place of
its output, which is shown when it fails; packages that an interrupted run left half-installed are
installed again; and the bytecode is compiled with all processors. Left to Python, every process of
the system would compile vLLM for itself when it first starts, and each time where
PYTHONDONTWRITEBYTECODE is set.
"""

import contextlib
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path

SITE_PACKAGES = Path(sysconfig.get_path("purelib"))
# Tests, and the reinforcement learning library that comes with Ray: half a minute for nothing.
NEVER_IMPORTED = r"/(tests?|rllib)/"
NON_TERMINAL_INTERVAL_S = 10.0


class Progress:
    """One line that is rewritten on a terminal, and repeated now and then in a log."""

    def __init__(self) -> None:
        self._started_s = time.monotonic()
        self._shown_s = float("-inf")
        self._terminal = sys.stdout.isatty()

    def show(self, text: str) -> None:
        now_s = time.monotonic()
        if not self._terminal and now_s - self._shown_s < NON_TERMINAL_INTERVAL_S:
            return
        self._shown_s = now_s
        line = f"      {text} ({now_s - self._started_s:.0f} s)"
        print(f"\r\x1b[K{line}" if self._terminal else line, end="", flush=True)
        if not self._terminal:
            print(flush=True)

    def end(self, text: str) -> None:
        self._shown_s = float("-inf")
        self.show(text)
        if self._terminal:
            print(flush=True)


def count_pins(lock: Path) -> int:
    return len(re.findall(r"^[\w.-]+==", lock.read_text(encoding="utf-8"), re.MULTILINE))


def installed_packages() -> int:
    return len(list(SITE_PACKAGES.glob("*.dist-info/RECORD")))


def forget_half_installed_packages() -> None:
    """RECORD is written last. Without its metadata, pip installs the package again."""
    for metadata in SITE_PACKAGES.glob("*.dist-info"):
        if not (metadata / "RECORD").is_file():
            shutil.rmtree(metadata)


def run(command: list[str], progress: Progress, describe: Callable[[list[str]], str]) -> list[str]:
    """The output lines of the command; `describe` says how far it is, given those so far.

    Raises:
        subprocess.CalledProcessError: with the output.
    """
    lines: list[str] = []
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        while reader.is_alive():
            progress.show(describe(lines))
            reader.join(timeout=0.5)
    except KeyboardInterrupt:
        process.wait()  # it was interrupted too, and is cleaning up
        raise
    if process.wait() != 0:
        raise subprocess.CalledProcessError(process.returncode, command, "".join(lines))
    return lines


def install(lock: Path, progress: Progress) -> None:
    num_pins = count_pins(lock)
    num_before = installed_packages()

    def describe(lines: list[str]) -> str:
        found = [
            line.split()[1] for line in lines if line.startswith(("Collecting ", "Processing "))
        ]
        if any(line.startswith("Installing collected packages") for line in lines):
            return f"installing packages: {installed_packages() - num_before} of {len(found)}"
        last = Path(found[-1]).name.split("-")[0] if found else ""
        return f"fetching packages: {len(found)} of {num_pins} {last}"

    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-compile",
        "--progress-bar=off",
    ]
    run([*pip, "-r", str(lock)], progress, describe)


def compile_bytecode(progress: Progress) -> None:
    compileall = [sys.executable, "-m", "compileall", "-qq", "-j0", "-x", NEVER_IMPORTED]
    # Some packages hold templates that are not Python, which it counts as failure.
    with contextlib.suppress(subprocess.CalledProcessError):
        run([*compileall, str(SITE_PACKAGES)], progress, lambda _: "compiling bytecode")


def main() -> int:
    lock = Path(sys.argv[1])
    progress = Progress()
    forget_half_installed_packages()
    try:
        install(lock, progress)
        compile_bytecode(progress)
    except subprocess.CalledProcessError as error:
        print(
            f"\n{error.output[-4000:]}\npip could not install {lock} (see above).", file=sys.stderr
        )
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. Run it again to go on from here.", file=sys.stderr)
        return 130
    progress.end(f"{count_pins(lock)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
