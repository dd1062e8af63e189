"""Two file systems, one of which gets streams as they are told, not as they should be."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from buttersink.model import Diff, Receiver, StreamOptions
from buttersink.stores.btrfs import BtrfsStore
from support.history import simple_history
from support.streams import captured, with_commands
from support.subvolume_facts import identity, subvolumes
from support.tree import Entry, describe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.loopfs import LoopFs

VERSIONS = (1, 2)
CANARY = b"nobody may touch this"


@dataclass(frozen=True, slots=True)
class Ends:
    """Two file systems: `source` has snaps/1 and snaps/2, `target` is empty.

    Attributes:
        first: Identity of snaps/1.
        second: Likewise.
        outside: What a stream must not reach, below the target's mount point and elsewhere.
    """

    fs_a: LoopFs
    fs_b: LoopFs
    source: BtrfsStore
    target: BtrfsStore
    first: UUID
    second: UUID
    outside: tuple[Path, ...]

    def receive(self, stream: bytes, diff: Diff, options: StreamOptions, path: str = "new") -> None:
        """Receive a stream, whole."""
        with self.target.receive(diff, path, options) as writer:
            writer.write(memoryview(stream))

    def state(self) -> tuple[str, list[dict[bytes, Entry]]]:
        """Return all that a hostile stream could change."""
        # The time of the directory that the work took place in is all that may change.
        trees = [describe(self.fs_b.path, times=False), *map(describe, self.outside)]
        return subvolumes(self.fs_b.path), trees


@contextmanager
def receiving_ends(fs_a: LoopFs, fs_b: LoopFs, scratch: Path, receiver: Receiver) -> Iterator[Ends]:
    """Fill the source, and put what may not be touched beside the target."""
    simple_history(fs_a, 2, size=1000)
    (fs_b.path / "dst").mkdir()
    outside = (fs_b.path / "canary", scratch / "canary")
    for directory in outside:
        directory.mkdir()
        (directory / "file").write_bytes(CANARY)
    with (
        closing(BtrfsStore(f"{fs_a.path}/snaps/")) as source,
        closing(BtrfsStore(f"{fs_b.path}/dst/", receiver=receiver)) as target,
    ):
        source.inventory()
        target.inventory()
        first, second = (UUID(identity(fs_a.path / "snaps" / name)) for name in ("1", "2"))
        yield Ends(fs_a, fs_b, source, target, first, second, outside)


def hostile(ends: Ends, version: int, added: list[bytes]) -> tuple[bytes, Diff, StreamOptions]:
    """Return a stream that begins like a real one, with right crcs."""
    options = StreamOptions(version=version)
    diff = Diff(ends.first)
    return with_commands(captured(ends.source, diff, options), version, added), diff, options
