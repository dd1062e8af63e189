"""Where wanted snapshots go in the destination directory, and which can't go anywhere.

A snapshot keeps its relative path. Nothing that exists is ever replaced. In a directory of
subvolumes nothing can be put inside another snapshot, because that is read-only; where streams
are stored, snapshots of the same path and inside each other do no harm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from buttersink.plan import Reason, Skip
from buttersink.planning.candidates import chronology

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from uuid import UUID

    from buttersink.model import Snapshot


def place(
    snapshots: Iterable[Snapshot],
    *,
    taken: Collection[str],
    standing: Collection[str] = (),
    doomed: Collection[str] = (),
    shared: bool = False,
) -> tuple[dict[UUID, str], tuple[Skip, ...]]:
    """Find a path for each snapshot: the first of its own that is free.

    Args:
        snapshots: What is to be put into the destination directory.
        taken: Relative paths at which something exists there.
        standing: Those of them at which snapshots are.
        doomed: Those of `standing` that are deleted at the end of the run.
        shared: Whether several snapshots can go to one path, and inside each other.

    Returns:
        The path by identity, and a `Skip` for each snapshot that has none.
    """
    # In the order of paths, so that the outer of two nested ones comes first.
    wishes = sorted(
        ((path, s) for s in snapshots for path in s.paths),
        key=lambda wish: (wish[0], chronology(wish[1])),
    )
    places: dict[UUID, str] = {}
    claimed: set[str] = set()
    refusals: dict[UUID, Skip] = {}
    for path, snapshot in wishes:
        if snapshot.uuid in places:
            continue
        obstacle = _obstacle(path, taken=taken, standing=standing, doomed=doomed, claimed=claimed)
        if obstacle is None:
            places[snapshot.uuid] = path
            if not shared:
                claimed.add(path)
        else:
            reason, detail = obstacle
            refusal = Skip(snapshot=snapshot, path=path, reason=reason, detail=detail)
            refusals.setdefault(snapshot.uuid, refusal)
    return places, tuple(skip for uuid, skip in refusals.items() if uuid not in places)


def _obstacle(
    path: str,
    *,
    taken: Collection[str],
    standing: Collection[str],
    doomed: Collection[str],
    claimed: Collection[str],
) -> tuple[Reason, str] | None:
    """Return why nothing can be put at `path`, and what to do about it; None if it can."""
    if path in doomed:
        return Reason.PATH_TAKEN, (
            f"'{path}' is another snapshot, which is deleted at the end of this run; run again"
        )
    if path in standing:
        return Reason.PATH_TAKEN, (
            f"'{path}' is another snapshot in the destination; rename or delete it there"
        )
    if path in taken:
        return Reason.PATH_TAKEN, (
            f"'{path}' exists in the destination; move it away there, or rename the snapshot"
        )
    if path in claimed:
        return Reason.PATH_TAKEN, f"another snapshot goes to '{path}'; rename one of them"
    for outer in _directories(path):
        if outer in standing or outer in claimed:
            return Reason.INSIDE_SNAPSHOT, (
                f"'{path}' lies inside the snapshot '{outer}', which is read-only; "
                "move it out of there in the source"
            )
    return None


def _directories(path: str) -> Iterator[str]:
    """Yield the directories that contain `path`, the outermost first."""
    end = path.find("/")
    while end != -1:
        yield path[:end]
        end = path.find("/", end + 1)
