"""What must hold at a destination at any moment: what looks like a snapshot is a whole one."""

from __future__ import annotations

import os
from contextlib import closing
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING
from uuid import UUID

from buttersink.model import Receiver
from buttersink.stores.btrfs import BtrfsStore
from support.command import buttersink, directory
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run
from support.subvolume_facts import identity, show
from support.tree import describe, differences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.command import Argument, Run
    from support.loopfs import LoopFs
    from support.tree import Entry

_TOP_INODE = 256
"""Inode number of the top directory of every subvolume."""
_HIDDEN = ".buttersink-"


def moving_history(fs: LoopFs, count: int, *, size: int) -> Path:
    """Make snapshots, each with `size` random bytes that are new, and older ones moved about.

    Every third is a level deeper than the others.

    Returns:
        The directory that they are in.
    """
    rng = Random(count * size)
    live, snaps = fs.path / "live", fs.path / "snaps"
    create_subvolume(live)
    (snaps / "deeper").mkdir(parents=True)
    for number in range(count):
        (live / f"new {number}").mkdir()
        for part in range(4):
            (live / f"new {number}" / f"{part}").write_bytes(rng.randbytes(size // 4))
        if number:
            (live / f"new {number - 1}").rename(live / f"old {number - 1}")
            (live / f"old {number - 1}" / "0").unlink()
        name = f"deeper/{number}" if number % 3 == 2 else f"{number}"
        snapshot_read_only(live, snaps / name)
    return snaps


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A snapshot as the source has it."""

    uuid: UUID
    tree: dict[bytes, Entry]


class Arrivals:
    """Snapshots on their way from one directory to another.

    Attributes:
        source: The directory they come from.
        destination: The directory they go to.
        receiver: What makes snapshots of streams.
        originals: What is to arrive, by relative path.
    """

    def __init__(
        self, source: Path, destination: Path, *, receiver: Receiver = Receiver.OWN
    ) -> None:
        destination.mkdir(exist_ok=True)
        self.source = source
        self.destination = destination
        self.receiver = receiver
        self.originals = {
            path: Original(uuid=UUID(identity(source / path)), tree=describe(source / path))
            for path in subvolume_paths(source)
        }

    @property
    def ends(self) -> tuple[bytes, bytes]:
        """The ends of a run, as arguments."""
        return directory(self.source), directory(self.destination)

    @property
    def command(self) -> tuple[Argument, ...]:
        """The arguments of a run; none for the receiver that is the default."""
        if self.receiver is Receiver.OWN:
            return self.ends
        return "--receiver", self.receiver.value, *self.ends

    def moved_to(self, destination: Path) -> Arrivals:
        """Return the same, with another destination."""
        destination.mkdir(exist_ok=True)
        other = copy(self)
        other.destination = destination
        return other

    def here(self) -> set[str]:
        """Return the paths of the snapshots that have arrived, by their look."""
        return {path for path in subvolume_paths(self.destination) if not _is_hidden(path)}

    def leftovers(self) -> set[str]:
        """Return the paths of what has a hidden name."""
        return {path for path in subvolume_paths(self.destination) if _is_hidden(path)}

    def abandoned(self) -> set[str]:
        """Return those leftovers that the next run can't go on from."""
        with closing(BtrfsStore(os.fspath(self.destination))) as store:
            partials = store.inventory().partials
        resumable = {partial.path for partial in partials if partial.checkpoint}
        return self.leftovers() - resumable

    def check(self) -> set[str]:
        """Fail unless everything without a hidden name is whole, and nothing else is offered.

        Returns:
            The paths of the snapshots that have arrived.
        """
        arrived = self.here()
        for path in sorted(arrived):
            at, original = self.destination / path, self.originals[path]
            assert show(at, "Flags") == "readonly", path
            assert UUID(show(at, "Received UUID")) == original.uuid, path
            lines = differences(original.tree, describe(at))
            assert not lines, "\n".join([f"{path} is not whole:", *lines[:20]])
        with closing(BtrfsStore(os.fspath(self.destination))) as store:
            inventory = store.inventory()
        offered = {s.uuid: set(s.paths) for s in inventory.snapshots}
        assert offered == {self.originals[path].uuid: {path} for path in arrived}, inventory
        assert {partial.path for partial in inventory.partials} == self.leftovers(), inventory
        assert not inventory.problems, inventory
        return arrived

    def converge(self) -> Run:
        """Run the command once more, plainly; fail unless then all have arrived, and nothing else.

        Returns:
            What came of that run.
        """
        done = buttersink(*self.command)
        assert done.status == 0, done
        assert self.check() == set(self.originals)
        assert not self.leftovers()
        return done

    def reset(self) -> None:
        """Delete all that has arrived, and all leftovers."""
        paths = [self.destination / path for path in sorted(self.here())]
        for hidden in (self.destination / path for path in sorted(self.leftovers())):
            paths += [*_subvolumes(hidden), hidden]
        if paths:
            run("btrfs", "--quiet", "subvolume", "delete", *paths)


def subvolume_paths(top: Path) -> list[str]:
    """Return the relative paths of the subvolumes below a directory; not of those inside them."""
    return sorted(os.path.relpath(path, top) for path in _subvolumes(top))


def _subvolumes(top: Path) -> Iterator[Path]:
    for entry in os.scandir(top):
        if not entry.is_dir(follow_symlinks=False):
            continue
        if entry.stat(follow_symlinks=False).st_ino == _TOP_INODE:
            yield Path(entry.path)
        else:
            yield from _subvolumes(Path(entry.path))


def _is_hidden(path: str) -> bool:
    return Path(path).name.startswith(_HIDDEN)
