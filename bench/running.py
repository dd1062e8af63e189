"""Whole processes, and what they took: seconds, processor time, memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")

_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What became of a process that succeeded.

    Attributes:
        seconds: From its start to its end.
        cpu_seconds: Processor time of it and its children, in the kernel as well.
        peak_bytes: The most memory that it alone had.
        output: What it wrote.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str


def watched(*command: str | os.PathLike[str], environment: Mapping[str, str]) -> Run:
    """Run a program to its end, with `environment` added to ours.

    Raises:
        RuntimeError: It failed; the message has its complaint.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaint:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=complaint,
            env=os.environ | environment,
        )
        peak = pid = 0
        while not pid:
            peak = max(peak, _peak_bytes(process.pid))
            time.sleep(_POLL_SECONDS)
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        complaint.seek(0)
        if process.returncode:
            words = " ".join(os.fspath(word) for word in command)
            said = complaint.read().decode(errors="replace").strip()
            raise RuntimeError(f"{words}: exit status {process.returncode}: {said}")
        return Run(
            seconds=seconds,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            peak_bytes=peak,
            output=output.read().decode(),
        )


def script(text: str, *, environment: Mapping[str, str]) -> Run:
    """Run a shell script to its end, as `watched` does."""
    return watched("bash", "-euo", "pipefail", "-c", text, environment=environment)


def in_turns(rounds: int, contestants: Sequence[Callable[[], T]]) -> list[tuple[T, ...]]:
    """Let several contestants take turns; return the results of all, round by round.

    Who begins changes with each round.
    """
    results = []
    for number in range(rounds):
        first = number % len(contestants)
        order = [*range(first, len(contestants)), *range(first)]
        found = {index: contestants[index]() for index in order}
        results.append(tuple(found[index] for index in range(len(contestants))))
    return results


def _peak_bytes(pid: int) -> int:
    """Return the peak of the memory of a process so far (VmHWM of proc(5)); 0 once it ended.

    What wait4(2) tells would count the memory of the process that started it, too.
    """
    with (
        suppress(FileNotFoundError, ProcessLookupError),
        open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as lines,
    ):
        for line in lines:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0
