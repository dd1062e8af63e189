"""One snapshot on its way by the command `buttersink`, any process of which may be killed."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from buttersink.stores.btrfs import BtrfsStore
from support.command import Run, buttersink
from support.processes import Background, processes, wait_until
from support.ssh_ends import Shell, Tap, piped
from support.subvolume_facts import own_uuid

if TYPE_CHECKING:
    from support.command import Argument

INTERVAL: Final = 4 << 20
"""How often what has come is kept."""
ON_THE_WAY: Final = 8 << 20
"""How much may be between the counted bytes and what is kept, besides that: what is in the pipes
to the receiver, to the server and through the tap (1 MiB each), what each of them has read (as
much), and what the client sends until it hears that the receiver has gone."""


class Part(Enum):
    """A process that has a part in a run."""

    CLIENT = "client"
    SSH = "ssh"
    SERVER = "server"
    RECEIVER = "receiver"
    """Whatever does not wait for requests or answers, but applies the stream."""


class Route(Enum):
    """Which of the two ends is on another host."""

    NEITHER = "btrfs to btrfs"
    UPLOAD = "btrfs to ssh"
    DOWNLOAD = "ssh to btrfs"

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return the processes of a run."""
        if self is Route.NEITHER:
            return Part.CLIENT, Part.RECEIVER
        return tuple(Part)


@dataclass(frozen=True, slots=True)
class Journey:
    """One snapshot from one directory to another.

    Attributes:
        source: The snapshot.
        backup: The directory that it comes to.
        route: Which of them is on another host.
        shell: The way there.
        tap: What counts the bytes on that way.
    """

    source: Path
    backup: Path
    route: Route
    shell: Shell
    tap: Tap

    @classmethod
    def begin(cls, source: Path, backup: Path, route: Route, directory: Path) -> Journey:
        """Find a way, in which ssh is two processes; `directory` is for its files."""
        (directory / "tap").mkdir()
        tap = Tap(piped(directory), directory / "tap")
        return cls(source, backup, route, tap.shell, tap)

    def run(self, *options: str) -> Run:
        """Run to the end, and wait until nothing of it is at work any more."""
        done = buttersink(*self.command(*options))
        self.settle()
        return done

    def command(self, *options: str) -> tuple[Argument, ...]:
        """Return the arguments of a run."""
        here, there = os.fspath(self.source), f"{self.backup}/"
        if self.route is Route.DOWNLOAD:
            here = self.shell.end(self.source).url.rstrip("/")
        if self.route is Route.UPLOAD:
            there = self.shell.end(self.backup).url
        return "--checkpoint", f"{INTERVAL}", *self.shell.options, *options, here, there

    def pids(self, part: Part, run: Background) -> list[int]:
        """Return the processes that play a part, as far as there are any now."""
        own = [process for process in processes() if process.session == run.pid]
        if part is Part.CLIENT:
            return [run.pid]
        words = {process.pid: _words(process.pid) for process in own}
        match part:
            case Part.SSH:
                return [pid for pid, each in words.items() if each[:1] == [b"tee"]]
            case Part.SERVER:
                server = [b"buttersink", b"--server"]
                return [pid for pid, each in words.items() if each[3:5] == server]
            case _:
                return [
                    pid
                    for pid, each in words.items()
                    if any(b"buttersink.btrfs.applying.main" in word for word in each)
                ]

    def work(self) -> str | None:
        """Return the uuid of the subvolume in which the snapshot is being made."""
        for path in self.backup.glob(".buttersink-*.part/new"):
            with suppress(RuntimeError):  # it has gone
                return own_uuid(path)
        return None

    def wait_for_stream(self, run: Background, before: str | None) -> None:
        """Wait until a stream is being received, or the run has ended.

        Args:
            run: The run.
            before: What `work` has told before it.
        """
        wait_until(
            lambda: run.ended() or self.work() not in {None, before}, "a stream was received"
        )

    def settle(self) -> None:
        """Wait until nobody uses the destination any more."""
        place = os.stat(self.backup)

        def busy() -> bool:
            return any(
                (found.st_dev, found.st_ino) == (place.st_dev, place.st_ino)
                for process in processes()
                for found in _open_by(process.pid)
            )

        wait_until(lambda: not busy(), "nobody used the destination any more")

    def kept(self) -> int:
        """Return how many bytes of the stream are kept."""
        with closing(BtrfsStore(f"{self.backup}/")) as store:
            found = store.inventory().partials
        offsets = [p.checkpoint.position.offset for p in found if p.checkpoint]
        return max(offsets, default=0)

    def passed(self) -> int:
        """Return how many bytes of the stream have passed since this was asked last."""
        return sum(traffic.data_bytes() for traffic in self.tap.taken())


def _open_by(pid: int) -> list[os.stat_result]:
    found: list[os.stat_result] = []
    with suppress(OSError):  # it may have ended
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.append(link.stat())
    return found


def _words(pid: int) -> list[bytes]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    return []
