"""One transfer in a process of its own: `python -m bench.moving TASK`, both ways in JSON.

All contestants are timed by the same clock and in the same state: the metadata of what is sent
has been read, as by planning, and what receives was started before, or parts of it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.ground import run, shell, words
from buttersink.errors import UnavailableError
from buttersink.model import Diff, Receiver, StreamOptions
from buttersink.receiving import Pace
from buttersink.stores.btrfs import BtrfsStore
from buttersink.transfer import pump

if TYPE_CHECKING:
    from buttersink.store import Reader

_PARENT = 1
_TIMES = slice(11, 15)
"""Of the fields after the name in /proc/PID/stat: ppid, and utime to cstime, see proc(5)."""

_IDLE = slice(3, 5)
"""Of the numbers in the first line of /proc/stat: idle and iowait, see proc(5)."""
_BUSY = slice(0, 8)
"""Those without the time of guests, which is contained in others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to transfer, and how.

    Attributes:
        snapshot: The snapshot.
        destination: An existing directory; it has the parent.
        parent: The parent, in the directory of the snapshot; None for a full stream.
        receiver: Value of `model.Receiver`, to go through the stores; None for the plain pipe.
        version: Of the stream.
        compressed: Whether compressed extents travel so.
        checkpoint_bytes: Interval of checkpoints in bytes of the stream; see `NEVER`.
        checkpoint_seconds: The same in time.
        cut_at: Part of the stream (0 to 1) after which the link is lost; None for never.
    """

    snapshot: str
    destination: str
    parent: str | None
    receiver: str | None
    version: int
    compressed: bool
    checkpoint_bytes: int
    checkpoint_seconds: float
    cut_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What it took.

    Attributes:
        received: Seconds until the snapshot was there.
        synced: The same, until a sync of the destination had ended, too.
        cpu: Processor time of all processes that took part, until then.
        machine: That of the whole machine, with the kernel's own threads and other programs.
        resumed: Part of the stream (0 to 1) that was there from a transfer that was cut off.
    """

    received: float
    synced: float
    cpu: float
    machine: float
    resumed: float


NEVER = 1 << 62
"""An interval between checkpoints that no stream is long enough for."""


class _Watch:
    """Times one transfer, from when it is made."""

    def __init__(self) -> None:
        self._machine = _machine_seconds()
        self._cpu = _cpu_seconds()
        self._start = time.perf_counter()

    def taken(self, destination: str, *, resumed: float = 0) -> Taken:
        """Return what a transfer that is over now took, after a sync of the destination."""
        received = time.perf_counter() - self._start
        run("sync", "--file-system", destination)
        return Taken(
            received=received,
            synced=time.perf_counter() - self._start,
            cpu=_cpu_seconds() - self._cpu,
            machine=_machine_seconds() - self._machine,
            resumed=resumed,
        )


class _Cut:
    """A reader whose link is lost after so many bytes."""

    def __init__(self, reader: Reader, nbytes: int) -> None:
        self._reader = reader
        self._left = nbytes

    def readinto(self, buffer: memoryview) -> int:
        """See `store.Reader`."""
        if not self._left:
            raise UnavailableError("the link was cut")
        count = self._reader.readinto(buffer[: self._left])
        self._left -= count
        return count


def main() -> None:
    task = Task(**json.loads(sys.argv[1]))
    taken = _by_pipe(task) if task.receiver is None else _by_stores(task, Receiver(task.receiver))
    if taken:
        print(json.dumps(asdict(taken)))


def _by_pipe(task: Task) -> Taken:
    send = ["btrfs", "send", "--quiet"]
    if task.version > 1:
        send += ["--proto", str(task.version)]
    if task.compressed:
        send += ["--compressed-data"]
    if task.parent is not None:
        send += ["-p", task.parent]
    shell(words(*send, "--no-data", "-f", "/dev/null", task.snapshot))
    receive = words("btrfs", "receive", "--quiet", task.destination)
    pipe = f"{words(*send, task.snapshot)} | {receive}"
    watch = _Watch()
    shell(pipe)
    return watch.taken(task.destination)


def _by_stores(task: Task, receiver: Receiver) -> Taken | None:
    """Transfer as a run does that has planned already; return None if it was cut off."""
    top, name = os.path.split(task.snapshot)
    options = StreamOptions(version=task.version, compressed=task.compressed)
    with (
        closing(BtrfsStore(top)) as source,
        closing(
            BtrfsStore(
                task.destination,
                receiver=receiver,
                pace=Pace(nbytes=task.checkpoint_bytes, seconds=task.checkpoint_seconds),
            )
        ) as destination,
        destination.lock(),
    ):
        known = {s.path: s.uuid for s in source.inventory().snapshots}
        diff = Diff(known[name], known[Path(task.parent).name] if task.parent else None)
        destination.inventory()
        size = source.measure(diff, options)
        watch = _Watch()
        try:
            with (
                destination.receive(diff, name, options, expected=size) as writer,
                source.send(diff, options, resume=writer.resume) as stream,
            ):
                resumed = writer.resume.plain_bytes / size.nbytes if writer.resume else 0
                reader: Reader = stream
                if task.cut_at is not None:
                    reader = _Cut(stream, int(size.nbytes * task.cut_at))
                pump(reader, writer, progress=lambda _: None)
        except UnavailableError:
            if task.cut_at is None:
                raise
            return None
        return watch.taken(task.destination, resumed=resumed)


def _cpu_seconds() -> float:
    """Return the processor time so far of this process and all that it has started."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages) + _unaccounted_seconds()


def _unaccounted_seconds() -> float:
    """Return that of all descendants which nobody has waited for yet: they may run still."""
    family, ticks = {os.getpid()}, 0
    # In the order of their numbers parents come first, but for when numbers begin anew.
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
        with (
            suppress(OSError),  # it has ended
            open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file,
        ):
            fields = file.read().rpartition(")")[2].split()
            if int(fields[_PARENT]) in family:
                family.add(pid)
                ticks += sum(map(int, fields[_TIMES]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _machine_seconds() -> float:
    """Return how long the processors of the machine have been at work so far."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(word) for word in file.readline().split()[1:]]
    return (sum(ticks[_BUSY]) - sum(ticks[_IDLE])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
