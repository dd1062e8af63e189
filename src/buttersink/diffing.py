"""What changed between two snapshots of one end."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from buttersink import events
from buttersink.errors import CorruptStreamError, UsageError
from buttersink.model import Diff
from buttersink.stream.format import NEWEST_VERSION
from buttersink.stream.outline import OutlineReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from buttersink.events import Emit
    from buttersink.model import Inventory, Snapshot
    from buttersink.store import Sink, Source
    from buttersink.stream.changes import Change

_BUFFER: Final = 1 << 18


def find_snapshot(store: Sink, inventory: Inventory, path: str, *, name: str) -> Snapshot:
    """Return the snapshot at a path.

    Args:
        store: Where it is.
        inventory: That of `store`.
        path: Relative path below the directory of `store`.
        name: The same as the user wrote it.

    Raises:
        UsageError: There is no snapshot.
    """
    for snapshot in inventory.inside():
        if path in snapshot.paths:
            return snapshot
    if store.taken([path]):
        raise UsageError(
            f"{name} is not a snapshot", "only read-only subvolumes are: btrfslist shows them"
        )
    raise UsageError(f"{name} does not exist")


def compare(store: Source, older: Snapshot, newer: Snapshot, emit: Emit) -> Sequence[Change]:
    """Return what has to be done to `older` to make `newer` of it, sorted by path.

    No data of files is read. Both must be in the inventory of `store`. A warning is emitted if
    they have no history in common.

    Raises:
        CorruptStreamError: What the end told makes no sense.
        ButterSinkError: As of `Source.outline`.
    """
    if older.uuid == newer.uuid:
        return ()
    if None not in {older.lineage, newer.lineage} and older.lineage != newer.lineage:
        emit(
            events.Warned(
                message="these snapshots were not made of the same subvolume: what only looks "
                "alike counts as deleted and created"
            )
        )
    version = min(store.stream_options().version, NEWEST_VERSION)
    outline = OutlineReader(version)
    buffer = memoryview(bytearray(_BUFFER))
    doing = f"{store.name}: comparing {older.path} with {newer.path}"
    with store.outline(Diff(newer.uuid, older.uuid), version) as stream:
        while count := stream.readinto(buffer):
            with _named(doing):
                outline.feed(buffer[:count])
    # Not before the block's end: if the stream is not whole, that has the cause.
    with _named(doing):
        return outline.changes()


@contextmanager
def _named(doing: str) -> Iterator[None]:
    """Tell what was being done when a stream turned out to be damaged."""
    try:
        yield
    except CorruptStreamError as error:
        raise CorruptStreamError(f"{doing}: {error.message}", error.hint) from error
