"""What must hold at a destination at any moment: what looks like a snapshot is a whole one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING
from uuid import UUID

from buttersink.stores.btrfs import BtrfsStore
from support.command import buttersink, directory
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run
from support.subvolume_facts import identity, show
from support.tree import describe, differences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.command import Run
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
        originals: What is to arrive, by relative path.
    """

    def __init__(self, source: Path, destination: Path) -> None:
        destination.mkdir(exist_ok=True)
        self.source = source
        self.destination = destination
        self.originals = {
            path: Original(uuid=UUID(identity(source / path)), tree=describe(source / path))
            for path in subvolume_paths(source)
        }

    @property
    def ends(self) -> tuple[bytes, bytes]:
        """The arguments of a run."""
        return directory(self.source), directory(self.destination)

    def moved_to(self, destination: Path) -> Arrivals:
        """Return the same, with another destination."""
        destination.mkdir(exist_ok=True)
        other = object.__new__(Arrivals)
        other.source, other.destination, other.originals = self.source, destination, self.originals
        return other

    def here(self) -> set[str]:
        """Return the paths of the snapshots that have arrived, by their look."""
        return {path for path in subvolume_paths(self.destination) if not _is_hidden(path)}

    def leftovers(self) -> set[str]:
        """Return the paths of what has a hidden name."""
        return {path for path in subvolume_paths(self.destination) if _is_hidden(path)}

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
        store = BtrfsStore(os.fspath(self.destination))
        try:
            inventory = store.inventory()
        finally:
            store.close()
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
        done = buttersink(*self.ends)
        assert done.status == 0, done
        assert self.check() == set(self.originals)
        assert not self.leftovers()
        return done

    def reset(self) -> None:
        """Delete all that has arrived."""
        paths = [self.destination / path for path in sorted(self.here() | self.leftovers())]
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
