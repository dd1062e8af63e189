"""The ways to transfer a snapshot that are compared, each taking a turn in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.ground import drop_caches
from bench.moving import NEVER, Taken, Task
from buttersink.model import Receiver
from buttersink.receiving import Pace

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

_LOOK_SECONDS = 0.05
_TOP = str(Path(__file__).resolve().parent.parent)
_OWN = Receiver.OWN.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A snapshot to transfer.

    Attributes:
        name: What to call it.
        snapshot: The snapshot, beside its parent.
        parent: What it builds on.
        compressed: Whether file systems and stream are compressed.
        fresh: Makes a destination, which has the parent.
    """

    name: str
    snapshot: Path
    parent: Path | None = None
    compressed: bool = False
    fresh: Callable[[], AbstractContextManager[Path]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How to transfer it.

    Attributes:
        receiver: Value of `model.Receiver`; None for the plain pipe.
        version: Of the stream; 1 is what `btrfs send` makes unless told otherwise.
        checkpoint_bytes: Interval of checkpoints.
    """

    receiver: str | None = _OWN
    version: int = 2
    checkpoint_bytes: int = NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one transfer took.

    Attributes:
        taken: Time, and the like.
        sender_bytes: The most memory that the process had in which ours sends.
        receiver_bytes: The most that a single one of the programs had that were started by that;
            the one that receives is the largest.
    """

    taken: Taken
    sender_bytes: int
    receiver_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    output: bytes
    sender_bytes: int
    receiver_bytes: int


def transferred(case: Case, way: Way) -> Turn:
    """Transfer to a fresh destination."""
    with case.fresh() as destination:
        return _moved(case, way, destination)


def resumed(case: Case, way: Way, *, cut_at: float) -> Turn:
    """Transfer to a destination to which it has come that far (0 to 1) when it was cut off."""
    with case.fresh() as destination:
        _run(_task(case, way, destination, cut_at=cut_at))
        return _moved(case, way, destination)


def _moved(case: Case, way: Way, destination: Path) -> Turn:
    drop_caches()
    done = _run(_task(case, way, destination))
    return Turn(
        taken=Taken(**json.loads(done.output)),
        sender_bytes=done.sender_bytes,
        receiver_bytes=done.receiver_bytes,
    )


def _task(case: Case, way: Way, destination: Path, *, cut_at: float | None = None) -> Task:
    return Task(
        snapshot=os.fspath(case.snapshot),
        destination=os.fspath(destination),
        parent=os.fspath(case.parent) if case.parent else None,
        receiver=way.receiver,
        version=way.version,
        compressed=case.compressed and way.version > 1,
        checkpoint_bytes=way.checkpoint_bytes,
        checkpoint_seconds=Pace().seconds if way.checkpoint_bytes < NEVER else NEVER,
        cut_at=cut_at,
    )


def _run(task: Task) -> _Done:
    """Run a task in a process of its own.

    Raises:
        RuntimeError: It failed; the message has its complaint.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "bench.moving", json.dumps(asdict(task))],
        cwd=_TOP,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        peaks: dict[int, int] = {}
        over = threading.Event()
        watcher = threading.Thread(target=_watch, args=(process.pid, peaks, over), daemon=True)
        watcher.start()
        output, complaint = process.communicate()
        over.set()
        watcher.join()
    if process.returncode:
        raise RuntimeError(f"{task}: {complaint.decode(errors='replace').strip()}")
    sender_bytes = peaks.pop(process.pid, 0)
    return _Done(
        output=output, sender_bytes=sender_bytes, receiver_bytes=max(peaks.values(), default=0)
    )


def _watch(pid: int, peaks: dict[int, int], over: threading.Event) -> None:
    """Note the peak of the memory of a process and of all its descendants.

    The first look at each does not count: it may still have the memory of what started it.
    """
    known: set[int] = set()
    while not over.wait(_LOOK_SECONDS):
        family = {pid}
        # In the order of their numbers parents come first, but for when numbers begin anew.
        for child, (parent, peak) in sorted(_processes(pid).items()):
            if child == pid or parent in family:
                family.add(child)
                if peak and child in known:
                    peaks[child] = peak
        known = family


def _processes(first: int) -> dict[int, tuple[int, int]]:
    """Return processes with their parents and peaks of memory (PPid and VmHWM of proc(5)).

    Only those from one number on: what is looked at costs time, also of who is being watched.
    """
    found = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        if int(name) < first:
            continue
        with (
            suppress(OSError),  # it has ended
            open(f"/proc/{name}/status", encoding="utf-8", errors="replace") as lines,
        ):
            fields = dict(line.split(":", 1) for line in lines)
            peak = fields.get("VmHWM", "0").split()[0]  # the kernel's own threads have none
            found[int(name)] = int(fields["PPid"]), int(peak) << 10
    return found
