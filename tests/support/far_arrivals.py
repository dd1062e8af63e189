"""Snapshots on their way to or from another host, and all the processes that work on that."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from support.command import buttersink
from support.processes import processes, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.arrivals import Arrivals
    from support.command import Argument, Run
    from support.processes import Background
    from support.ssh_ends import Shell

_INIT = 1
"""Whose children are those whose parents have ended."""


class Route(Enum):
    """Which of the two ends is on another host."""

    UPLOAD = "btrfs to ssh"
    DOWNLOAD = "ssh to btrfs"
    RELAY = "ssh to ssh"


class Part(Enum):
    """A process that has a part in a run; of some there may be two."""

    CLIENT = "client"
    SSH = "ssh"
    SERVER = "server"
    RECEIVER = "receiver"
    """The program `btrfs`, on whichever side."""


@dataclass(frozen=True, slots=True)
class FarArrivals:
    """Snapshots that travel by ssh.

    Attributes:
        arrivals: What travels, and where it is on this machine.
        shell: The way by which the far end, or both, is reached.
        route: Which end that is.
    """

    arrivals: Arrivals
    shell: Shell
    route: Route

    @property
    def command(self) -> tuple[Argument, ...]:
        """The arguments of a run."""
        source, destination = self.arrivals.source, self.arrivals.destination
        near_source, near_destination = self.arrivals.ends
        return (
            *self.shell.options,
            near_source if self.route is Route.UPLOAD else self.shell.end(source).url,
            near_destination if self.route is Route.DOWNLOAD else self.shell.end(destination).url,
        )

    def by(self, shell: Shell) -> FarArrivals:
        """Return the same, by another way."""
        return replace(self, shell=shell)

    def run(self, *options: str) -> Run:
        """Run the command, and wait until nothing that it has started is at work any more."""
        done = buttersink(*options, *self.command)
        self.settle()
        return done

    def converge(self, *options: str) -> Run:
        """Run it once more; fail unless then all have arrived, and nothing else is there."""
        done = self.run(*options)
        assert done.status == 0, done
        assert self.arrivals.check() == set(self.arrivals.originals), done
        assert not self.arrivals.leftovers(), done
        return done

    def pids(self, part: Part, run: Background) -> list[int]:
        """Return the processes that play a part in a run, as far as there are any now."""
        receivers = _receivers({run.pid, *self._holders()})
        match part:
            case Part.CLIENT:
                return [run.pid]
            case Part.SSH:
                children = {p.pid for p in processes() if p.parent == run.pid}
                return sorted(pid for pid in children - receivers if b"--server" in _words(pid))
            case Part.SERVER:
                return sorted(pid for pid in self._holders() if b"--server" in _words(pid))
            case Part.RECEIVER:
                return sorted(receivers)

    def wait_for(self, part: Part, run: Background) -> list[int]:
        """Wait until there are processes that play a part; none if the run ends before that."""
        while not (found := self.pids(part, run)):
            if run.ended():
                return []
        return found

    def at_work(self) -> set[int]:
        """Return the processes that use one of the directories, or were started for that."""
        directories = [os.fsencode(path) for path in self._directories()]
        named = {
            process.pid
            for process in processes()
            if any(directory in b" ".join(_words(process.pid)) for directory in directories)
        }
        orphans = _receivers({_INIT})  # those end when they notice, or are listening still
        return named | self._holders() | orphans

    def settle(self) -> None:
        """Wait until all that was started has ended, also what is not a child of ours."""
        wait_until(lambda: not self.at_work(), "nobody used the directories any more")

    def _holders(self) -> set[int]:
        return set(_holders(self._directories()))

    def _directories(self) -> tuple[Path, Path]:
        return self.arrivals.source, self.arrivals.destination


def _holders(directories: Iterable[Path]) -> list[int]:
    """Return the processes that have one of the directories open, as whoever locks it has."""
    places = {(found.st_dev, found.st_ino) for found in map(os.stat, directories)}
    return [process.pid for process in processes() if _open_places(process.pid) & places]


def _open_places(pid: int) -> set[tuple[int, int]]:
    """Return what a process has open, by device and inode number."""
    places = set()
    with suppress(OSError):  # it may have ended
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found = link.stat()
                places.add((found.st_dev, found.st_ino))
    return places


def _receivers(starters: set[int]) -> set[int]:
    """Return the processes that receive streams for one of these, which have started them."""
    parents = {process.pid: process.parent for process in processes()}
    found = set()
    for pid, parent in parents.items():
        above, chain = pid, set[int]()
        while above in parents and above not in chain and above != _INIT:
            chain.add(above)
            above = parents[above]
        if starters & {*chain, parent} and _is_receiver(pid):
            found.add(pid)
    return found


def _is_receiver(pid: int) -> bool:
    """Tell whether a process receives a stream: our program that makes such ones does not."""
    words = _words(pid)
    if words[1:2] == [b"receive"] and b"--chroot" in words:
        return True
    with suppress(OSError):
        confined = not os.path.samestat(Path(f"/proc/{pid}/root").stat(), Path("/").stat())
        return confined and b"buttersink.btrfs.applying.main" in b" ".join(words)
    return False


def _words(pid: int) -> list[bytes]:
    """Return the command line of a process, empty if it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    return []
