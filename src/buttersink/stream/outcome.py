"""From the first and the last names of files to what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buttersink.errors import CorruptStreamError
from buttersink.stream.changes import Change, ChangeKind, Details
from buttersink.stream.namespace import new_path, old_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buttersink.stream.namespace import Inode, Namespace

    Place = tuple[Inode, bytes]

MOST_PATH_BYTES: Final = 1 << 31
"""Of the paths of all changes: of short commands, hostile streams can make very long paths."""
_ORDER: Final = {kind: place for place, kind in enumerate(ChangeKind)}
_UNTOLD: Final = Details()


def changes_of(space: Namespace) -> list[Change]:
    """Return what changed, sorted by path.

    Raises:
        CorruptStreamError: The paths take more memory than any real ones.
    """
    found = []
    nbytes = 0
    for inode in space.inodes:
        changes = _changes_of_names(inode) if inode.names else _changed(inode, b"", b"")
        for change in changes:
            found.append(change)
            nbytes += len(change.path) + len(change.old_path or b"")
            if nbytes > MOST_PATH_BYTES:
                raise CorruptStreamError(f"the names that differ take over {nbytes} bytes")
    found.sort(key=lambda change: (change.path, _ORDER[change.kind]))
    return found


def _changes_of_names(inode: Inode) -> Iterator[Change]:
    """Yield what became of the names of anything but the top directory.

    Places are compared, not paths: what is in a renamed directory has not changed its place.
    """
    was = {name.old for name in inode.names if name.old is not None}
    now = {name.now for name in inode.names if name.now is not None}
    if was == now and inode.details == _UNTOLD:
        return  # it was only on the way to something else
    stays = sorted((new_path(place), old_path(place)) for place in was & now)
    moves, left, come = _pairs(inode, was - now, now - was)
    told = stays[0][0] if stays else moves[0][0] if moves else come[0] if come else None
    """The name at which the details are told."""
    if stays:
        yield from _changed(inode, *stays[0])
    for path, old in moves:
        yield Change(
            kind=ChangeKind.RENAMED,
            path=path,
            old_path=old,
            type=inode.type,
            link_to=told if path != told else None,
            details=inode.details if path == told else _UNTOLD,
        )
    for path in come:
        yield Change(
            kind=ChangeKind.CREATED,
            path=path,
            old_path=None,
            type=inode.type,
            link_to=told if path != told else None,
            details=inode.details if path == told else _UNTOLD,
        )
    for path in left:
        yield Change(
            kind=ChangeKind.DELETED, path=path, old_path=path, type=inode.type, link_to=told
        )


def _changed(inode: Inode, path: bytes, old: bytes) -> Iterator[Change]:
    """Yield what is told of an inode that keeps its place, if there is anything."""
    if inode.details != _UNTOLD:
        yield Change(
            kind=ChangeKind.CHANGED,
            path=path,
            old_path=old,
            type=inode.type,
            details=inode.details,
        )


def _pairs(
    inode: Inode, removed: set[Place], added: set[Place]
) -> tuple[list[tuple[bytes, bytes]], list[bytes], list[bytes]]:
    """Make renames of places that an inode lost and got.

    What a command renamed comes first; of the others one is as good as another, as the names of
    one file are all equal.

    Returns:
        New and old paths of what was renamed; old paths of what is gone; new paths of what came;
        each sorted.
    """
    moves = []
    for name in inode.names:
        if name.old in removed and name.now in added:
            removed.remove(name.old)
            added.remove(name.now)
            moves.append((new_path(name.now), old_path(name.old)))
    left, come = sorted(map(old_path, removed)), sorted(map(new_path, added))
    count = min(len(left), len(come))
    moves += zip(come[:count], left[:count], strict=True)
    return sorted(moves), left[count:], come[count:]
