"""The command `buttersink` in the background, to be killed, interrupted or watched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from support.command import Argument, Run

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

PATIENCE_SECONDS = 60.0
"""After so long something hangs; no test passes or fails by less."""

_POLL_SECONDS = 0.002
_OUR_RECEIVER = b"buttersink.btrfs.applying.main"


class Process(NamedTuple):
    """A line of /proc/<pid>/stat, as far as it matters here (format: proc(5))."""

    pid: int
    state: str
    parent: int
    session: int


def processes() -> list[Process]:
    """Return all processes but those that have ended and only wait to be collected."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with suppress(FileNotFoundError, ProcessLookupError):
            line = Path("/proc", name, "stat").read_text(encoding="utf-8", errors="replace")
            # The program's name, in parentheses, may hold anything.
            state, parent, _group, session = line.rpartition(")")[2].split()[:4]
            if state not in "ZX":
                found.append(Process(int(name), state, int(parent), int(session)))
    return found


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for something that is sure to come.

    Raises:
        AssertionError: It did not come.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain until {what}")
        time.sleep(_POLL_SECONDS)


class Background:
    """A run of the command in a session of its own; leaving the block kills what is left of it."""

    def __init__(self, *arguments: Argument) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "buttersink", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._run: Run | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill_all()
        self.wait()

    @property
    def pid(self) -> int:
        """Of the main process, which is also the number of its session and process group."""
        return self._process.pid

    def survivors(self) -> list[Process]:
        """Return what is running of it: the main process, and all it started."""
        return [process for process in processes() if process.session == self.pid]

    def receiver(self) -> int | None:
        """Return the process that is receiving a stream, if there is one now.

        That is one locked in where the stream is applied: ours, or `btrfs receive`.
        """
        here = _place("/")
        started = _children(self.pid)  # among them what makes our receivers
        for pid in (*started, *chain.from_iterable(map(_children, started))):
            with suppress(FileNotFoundError, ProcessLookupError):
                if _receives(pid) and _place(f"/proc/{pid}/root") != here:
                    return pid
        return None

    def receiver_host(self) -> int | None:
        """Return the process that makes our receivers, if there is one now."""
        for pid in _children(self.pid):
            with suppress(FileNotFoundError, ProcessLookupError):
                if _OUR_RECEIVER in _command_line(pid):
                    return pid
        return None

    def wait_for_receiver(self) -> int:
        """Wait until a stream is being received; return the process that does it."""
        wait_until(lambda: self.ended() or self.receiver(), "a stream was received")
        receiver = self.receiver()
        assert receiver is not None, self.wait()
        return receiver

    def wait_for_handlers(self) -> None:
        """Wait until it treats SIGTERM its own way: earlier it is not the command yet."""
        bit = 1 << (signal.SIGTERM - 1)
        wait_until(lambda: self.ended() or self._caught() & bit, "SIGTERM was caught")

    def wait_for_all(self) -> None:
        """Wait until nothing is running of it."""
        wait_until(lambda: not self.survivors(), "all its processes had ended")

    def _caught(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
        return int(mask, 16)

    def ended(self) -> bool:
        """Tell whether the main process has ended."""
        return self._process.poll() is not None

    def lives_for(self, seconds: float) -> bool:
        """Let it run for so long; tell whether it still runs then."""
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the main process alone."""
        self._process.send_signal(number)

    def send_all(self, number: signal.Signals) -> None:
        """Send a signal to the whole process group, as a terminal does."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill_all(self) -> None:
        """Kill the main process, and all it started."""
        for process in self.survivors():
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)

    def wait(self) -> Run:
        """Wait for its end; return what came of it. A negative status is that of a signal."""
        if self._run is None:
            stdout, stderr = self._process.communicate(timeout=PATIENCE_SECONDS)
            self._run = Run(self._process.returncode, os.fsdecode(stdout), os.fsdecode(stderr))
        return self._run


def working_seconds(*arguments: Argument) -> float:
    """Let a run work to its good end; return how long it took once it had started up."""
    with Background(*arguments) as run:
        run.wait_for_handlers()
        start = time.monotonic()
        done = run.wait()
        assert done.status == 0, done
        return time.monotonic() - start


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text(encoding="ascii").split())
    return found


def _receives(pid: int) -> bool:
    line = _command_line(pid)
    return _OUR_RECEIVER in line or line.split(b"\0")[1:2] == [b"receive"]


def _command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _place(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino
