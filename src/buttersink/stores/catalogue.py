"""From the kernel's facts about subvolumes to what the other ends may know: pure.

The identity of a snapshot is its received_uuid, else its own uuid: what the kernel writes into
a stream. Several subvolumes of one identity are one snapshot with several paths.

What ButterSink itself makes and will remove has names that begin with `.buttersink-`. Of these
only a whole link, which serves to build other snapshots on, is a snapshot as well, though one
without a path below the directory.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from buttersink.model import Inventory, Partial, Problem, Snapshot
from buttersink.stores.own_names import WORK_NAME, link_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from buttersink.btrfs.subvolumes import Quota, Subvolume

_OLD_SUFFIX: Final = ".part"
"""ButterSink 0.6.9 renamed what it had failed to receive to `<path>.part`, or, if that was taken,
to `<path>_<ISO date-time>.part`; it was still writable then, and had no received_uuid."""
_OLD_GUARD: Final = (
    "it may be something else: an older ButterSink names its leftovers so, but so may you"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """What a file system holds, seen from one directory of it.

    Attributes:
        directory: Path of the directory from the top-level subvolume.
        inventory: What other ends may know.
        copies: The read-only subvolumes of each identity; those below the directory first,
            links last.
        by_path: All subvolumes by path from the top-level subvolume.
        directory_is_snapshot: The directory itself is a read-only subvolume.
        directory_is_ours: It is, or lies in, what ButterSink itself has made and will remove.
    """

    directory: str
    inventory: Inventory
    copies: Mapping[UUID, tuple[Subvolume, ...]]
    by_path: Mapping[str, Subvolume]
    directory_is_snapshot: bool
    directory_is_ours: bool

    def inside(self, path: str) -> tuple[Subvolume, ...]:
        """Return the subvolumes below the relative `path`, innermost first."""
        start = _full_path(self.directory, path) + "/"
        return tuple(
            self.by_path[p] for p in sorted(self.by_path, reverse=True) if p.startswith(start)
        )

    def at(self, path: str) -> Subvolume | None:
        """Return the subvolume at the relative `path`."""
        return self.by_path.get(_full_path(self.directory, path))

    def relative(self, subvolume: Subvolume) -> str | None:
        """Return the path of a subvolume below the directory, None if it is outside."""
        return _relative(subvolume.path, self.directory)

    def shown(self, subvolume: Subvolume) -> str | None:
        """Return the path at which a snapshot is listed, None if it is outside or a link."""
        return _shown(subvolume.path, self.directory)


def make_catalogue(
    subvolumes: Iterable[Subvolume],
    *,
    directory: str,
    lineages: Mapping[int, str | None],
    changed: Collection[int],
    quotas: Mapping[int, Quota],
) -> Catalogue:
    """Sort subvolumes into snapshots, partials and what is left alone.

    Args:
        subvolumes: All of the file system.
        directory: The directory's path from the top-level subvolume.
        lineages: `subvolumes.lineage` of each read-only one, by treeid.
        changed: Ids of those that were changed since they were received.
        quotas: Quota numbers by treeid, where they are known.
    """
    by_path = {s.path: s for s in subvolumes}
    copies: dict[UUID, list[Subvolume]] = defaultdict(list)
    partials: dict[str, Partial] = {}
    problems: list[Problem] = []
    writable = 0
    for subvolume in by_path.values():
        relative = _relative(subvolume.path, directory)
        work = _work(subvolume.path)
        if work is not None:
            path, uuid = work
            link = _is_link(by_path.get(path), uuid, changed)
            if (below := _relative(path, directory)) is not None:
                partials[below] = Partial(path=below, uuid=uuid, link=link)
            if not link or subvolume.path != path:
                continue
        elif relative is not None and _is_old_partial(subvolume):
            partials[relative] = Partial(path=relative, guarded=_OLD_GUARD)
            continue
        if not subvolume.readonly:
            writable += relative is not None
            continue
        identity = _identity(subvolume, changed)
        if identity is None:
            message = "has no uuid, as on file systems made before Linux 3.6; it can't be used"
            problems.append(_problem(subvolume, relative, message))
            continue
        copies[identity].append(subvolume)
        if subvolume.treeid in changed:
            message = (
                "was changed after it was received; its received_uuid is not trusted, "
                "and it counts as a snapshot of its own"
            )
            problems.append(_problem(subvolume, relative, message))
    for found in copies.values():
        found.sort(key=lambda s: _order(s.path, directory))
    usable = frozenset(s.treeid for found in copies.values() for s in found)
    by_uuid = {s.uuid: s for s in by_path.values() if s.uuid is not None}
    snapshots = [
        _snapshot(
            identity,
            found,
            directory=directory,
            lineage=lineages.get(found[0].treeid),
            ancestor=_ancestor(found[0], identity, by_uuid=by_uuid, usable=usable, changed=changed),
            quota=quotas.get(found[0].treeid),
        )
        for identity, found in copies.items()
    ]
    named = by_path.get(directory)
    return Catalogue(
        directory=directory,
        inventory=Inventory(
            snapshots=tuple(sorted(snapshots, key=lambda s: (os.fsencode(s.path), s.uuid))),
            partials=tuple(sorted(partials.values(), key=lambda p: os.fsencode(p.path))),
            problems=tuple(
                sorted(problems, key=lambda p: (os.fsencode(p.path), p.elsewhere, p.message))
            ),
            writable=writable,
        ),
        copies={identity: tuple(found) for identity, found in copies.items()},
        by_path=by_path,
        directory_is_snapshot=named is not None and named.readonly,
        directory_is_ours=_work(directory) is not None,
    )


def _problem(subvolume: Subvolume, relative: str | None, message: str) -> Problem:
    path = subvolume.path if relative is None else relative
    return Problem(path=path, message=message, elsewhere=relative is None)


def _identity(subvolume: Subvolume, changed: Collection[int]) -> UUID | None:
    if subvolume.received_uuid is not None and subvolume.treeid not in changed:
        return subvolume.received_uuid
    return subvolume.uuid


def _full_path(directory: str, relative: str) -> str:
    return f"{directory}/{relative}" if directory else relative


def _relative(path: str, directory: str) -> str | None:
    """Return `path` relative to `directory`, None unless it is below it."""
    start = directory + "/" if directory else ""
    return path[len(start) :] if path.startswith(start) and path != directory else None


def _shown(path: str, directory: str) -> str | None:
    """Return the path at which the snapshot at `path` is listed, None if nowhere."""
    return None if _work(path) else _relative(path, directory)


def _order(path: str, directory: str) -> tuple[bool, bool, bytes]:
    """Rank the copies of a snapshot: links last, as they will go."""
    return _shown(path, directory) is None, _work(path) is not None, os.fsencode(path)


def _work(path: str) -> tuple[str, UUID] | None:
    """Return the outermost of our own that `path` is or lies in, and what it was to become."""
    parts = path.split("/")
    for number, part in enumerate(parts, start=1):
        if match := WORK_NAME.fullmatch(part):
            return "/".join(parts[:number]), UUID(match["uuid"])
    return None


def _is_link(subvolume: Subvolume | None, uuid: UUID, changed: Collection[int]) -> bool:
    """Return whether one of our own is a whole snapshot of identity `uuid`, kept as a link."""
    return (
        subvolume is not None
        and os.path.basename(subvolume.path) == link_name(uuid)
        and subvolume.readonly
        and subvolume.received_uuid == uuid
        and subvolume.treeid not in changed
    )


def _is_old_partial(subvolume: Subvolume) -> bool:
    """Return whether a subvolume looks like what ButterSink 0.6.9 left of a failed receive."""
    name = os.path.basename(subvolume.path)
    return (
        name.endswith(_OLD_SUFFIX)
        and name != _OLD_SUFFIX
        and not subvolume.readonly
        and subvolume.received_uuid is None
    )


def _ancestor(
    subvolume: Subvolume,
    identity: UUID,
    *,
    by_uuid: Mapping[UUID, Subvolume],
    usable: Collection[int],
    changed: Collection[int],
) -> UUID | None:
    """Return the identity of the nearest other snapshot that one of identity `identity` is from."""
    seen: set[UUID] = set()
    uuid = subvolume.parent_uuid
    # A loop, which only a damaged tree can have, ends where it began.
    while uuid is not None and uuid not in seen:
        seen.add(uuid)
        above = by_uuid.get(uuid)
        if above is None:
            return None
        if above.treeid in usable:
            found = _identity(above, changed)
            if found != identity:  # a snapshot of a snapshot is the same snapshot
                return found
        uuid = above.parent_uuid
    return None


def _snapshot(
    identity: UUID,
    copies: list[Subvolume],
    *,
    directory: str,
    lineage: str | None,
    ancestor: UUID | None,
    quota: Quota | None,
) -> Snapshot:
    first = copies[0]
    received = first.received_uuid == identity
    inside = [p for s in copies if (p := _shown(s.path, directory)) is not None]
    return Snapshot(
        uuid=identity,
        paths=tuple(inside),
        elsewhere=tuple(s.path for s in copies[len(inside) :]),
        created=first.otime,
        received=received,
        generation=first.otransid,
        origin_generation=first.stransid if received else first.otransid,
        lineage=lineage,
        parent_uuid=first.parent_uuid,
        ancestor=ancestor,
        metadata_bytes=first.bytes_used,
        total=quota.referenced if quota else None,
        exclusive=quota.exclusive if quota else None,
    )
