"""The worlds that the contract is tested in: how each makes ends, and meddles with them.

A kind of store joins the suite by a world of its own, and nothing else.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from random import Random
from typing import TYPE_CHECKING, Protocol, Self

from buttersink.model import Diff
from buttersink.stores.btrfs import BtrfsStore
from contract.arriving import at
from contract.memory_disk import MemoryDisk
from contract.memory_store import MemoryStore
from support.history import simple_history
from support.kernel_calls import create_subvolume
from support.loopfs import LoopFs, run
from support.tree import describe

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from buttersink.model import Snapshot
    from buttersink.store import Sink

SNAPSHOT_BYTES = 64 << 10
CRAMPED_BYTES = 128 << 20
"""Room of a small destination; no btrfs file system can be much smaller."""


class End(Protocol):
    """A place where snapshots are or can be put, and what may befall it behind a store's back."""

    def open(self) -> Sink:
        """Return another store for it; the world closes it."""

    def content(self, path: str) -> object:
        """Return all that the snapshot at `path` holds, to be compared with another's."""

    def beside(self) -> End:
        """Return another place, which shares everything with this but the directory."""

    def occupy(self, path: str) -> None:
        """Put something at `path` that is no snapshot, and can have nothing below it."""

    def is_occupied(self, path: str) -> bool:
        """Return whether what `occupy` put at `path` is there."""

    def remove(self, path: str) -> None:
        """Remove the snapshot at `path`."""

    def leave_partial(self, uuid: UUID) -> None:
        """Leave what a killed transfer of this snapshot would leave."""


class Offer:
    """An end with snapshots, an open store for it, and what they are called by."""

    def __init__(self, end: End) -> None:
        self.end = end
        self.store = end.open()

    def snapshot(self, path: str) -> Snapshot:
        """Return the snapshot at a path."""
        return at(self.store, path)

    def diff(self, to: str, parent: str | None = None) -> Diff:
        """Return the diff between the snapshots at two paths."""
        return Diff(self.snapshot(to).uuid, self.snapshot(parent).uuid if parent else None)


class World(Protocol):
    """One kind of stores.

    Attributes:
        holds_streams: Whether the destinations store streams; else they hold subvolumes.
        lists_outside: Whether inventories tell of snapshots outside the directory, which can
            be adopted then; else only `parents` does.
        outlives_interrupts: Whether a store can still be used after an interrupt; else it is
            closed then, and the end has to be opened anew.
    """

    holds_streams: bool
    lists_outside: bool
    outlives_interrupts: bool

    def source(self, count: int, *, nbytes: int = SNAPSHOT_BYTES) -> End:
        """Return an end with the related snapshots "1", "2", ... of about `nbytes` each.

        It makes any diff between them.
        """

    def destination(self) -> End:
        """Return an empty end, that streams from `source` can be received at."""

    def cramped_destination(self) -> End:
        """Return an empty end in which there is room for less than `CRAMPED_BYTES`.

        Only where the destinations hold subvolumes.
        """

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, *exception: object) -> None:
        """Close all stores that were opened, and let go of what they were on."""


class MemoryEnd:
    """A directory of a memory disk."""

    def __init__(self, disk: MemoryDisk, directory: str) -> None:
        self._disk = disk
        self._directory = directory

    def open(self) -> Sink:
        return MemoryStore(self._disk, self._directory, version=2)

    def content(self, path: str) -> object:
        return self._disk.snapshots[f"{self._directory}/{path}"].image.content

    def beside(self) -> End:
        return MemoryEnd(self._disk, f"{self._directory} beside")

    def occupy(self, path: str) -> None:
        self._disk.files.add(f"{self._directory}/{path}")

    def is_occupied(self, path: str) -> bool:
        return f"{self._directory}/{path}" in self._disk.files

    def remove(self, path: str) -> None:
        del self._disk.snapshots[f"{self._directory}/{path}"]

    def leave_partial(self, uuid: UUID) -> None:
        self._disk.partials[f"{self._directory}/.partial-{uuid}"] = uuid


class MemoryWorld:
    """Stores in memory."""

    holds_streams = False
    lists_outside = True
    outlives_interrupts = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def source(self, count: int, *, nbytes: int = SNAPSHOT_BYTES) -> End:
        disk = MemoryDisk("source")
        content = {b"base": Random(nbytes).randbytes(nbytes), b"empty": b""}
        for number in range(1, count + 1):
            content |= {b"file %d" % number: b"%d" % number * 2000, b"log": b"until %d" % number}
            content.pop(b"file %d" % (number - 2), None)
            disk.take_snapshot(f"snaps/{number}", content)
        return MemoryEnd(disk, "snaps")

    def destination(self) -> End:
        return MemoryEnd(MemoryDisk("destination"), "backup")

    def cramped_destination(self) -> End:
        return MemoryEnd(MemoryDisk("small", capacity=CRAMPED_BYTES), "backup")


class BtrfsEnd:
    """A directory of a mounted btrfs file system."""

    def __init__(self, path: Path, stores: ExitStack) -> None:
        path.mkdir(exist_ok=True)
        self._path = path
        self._stores = stores

    def open(self) -> Sink:
        store = BtrfsStore(str(self._path))
        self._stores.callback(store.close)
        return store

    def content(self, path: str) -> object:
        return describe(os.path.join(self._path, path))

    def beside(self) -> End:
        return BtrfsEnd(self._beside(), self._stores)

    def occupy(self, path: str) -> None:
        (self._path / path).symlink_to("nowhere")

    def is_occupied(self, path: str) -> bool:
        return (self._path / path).is_symlink()

    def remove(self, path: str) -> None:
        run("btrfs", "--quiet", "subvolume", "delete", self._path / path)

    def leave_partial(self, uuid: UUID) -> None:
        work = self._path / f".buttersink-{uuid}.part"
        create_subvolume(work)
        create_subvolume(work / "new")
        (work / "new" / "half a file").write_bytes(b"half")

    def _beside(self) -> Path:
        return self._path.with_name(f"{self._path.name} beside")


class BtrfsWorld:
    """Directories on btrfs file systems in files below `scratch`, mounted by loop devices."""

    holds_streams = False
    lists_outside = True
    outlives_interrupts = True

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._stores = ExitStack()  # closed first, or the file systems would be busy
        self._file_systems = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._file_systems, self._stores:
            pass

    def source(self, count: int, *, nbytes: int = SNAPSHOT_BYTES) -> End:
        fs = self._make(label="source")
        simple_history(fs, count, size=nbytes)
        return self._end(fs.path / "snaps")

    def destination(self) -> End:
        return self._end(self._make(label="destination").path / "backup")

    def cramped_destination(self) -> End:
        fs = self._make(label="small", size=str(CRAMPED_BYTES))
        return self._end(fs.path / "backup")

    def _end(self, path: Path) -> BtrfsEnd:
        return BtrfsEnd(path, self._stores)

    def _make(self, *, label: str, size: str = "2G") -> LoopFs:
        fs = LoopFs.create(self._scratch, label=label, size=size)
        return self._file_systems.enter_context(fs)
