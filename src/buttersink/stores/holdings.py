"""From the listing of a shelf to what the other ends may know: pure."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from buttersink.chains import best_chains
from buttersink.model import Diff, Inventory, Partial, Problem, Size, Snapshot
from buttersink.stored.keys import (
    MarkerEntry,
    Other,
    ReceiptEntry,
    SizesEntry,
    StreamEntry,
    parse_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from uuid import UUID

    from buttersink.chains import Chains
    from buttersink.stores.shelf import OpenUpload, ShelfObject

YOUNG: Final = timedelta(days=1)
"""How long an upload may take before it counts as abandoned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One stored stream.

    Attributes:
        entry: What its key says; `entry.path` is below the prefix.
        thing: The object.
        outside: It lies outside the prefix; `entry.path` is then its path from the shelf's top.
        receipt: The object of its receipt, if there is one.
        marker: The object that hides it, if there is one.
    """

    entry: StreamEntry
    thing: ShelfObject
    outside: bool = False
    receipt: ShelfObject | None = None
    marker: ShelfObject | None = None

    @property
    def hidden(self) -> bool:
        """Whether it stays only as a link of chains."""
        return self.marker is not None

    @property
    def diff(self) -> Diff:
        """What the stream makes from what."""
        return self.entry.diff


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What a shelf holds, seen from one prefix.

    Attributes:
        inventory: What other ends may know.
        by_diff: All stored streams of each diff; the one to read comes first.
        by_uuid: All stored streams of each snapshot.
        uploads: Open uploads by the path of their partial.
        sizes: Objects with sizes that ButterSink 0.6.9 wrote, by the snapshot's path.
        chains: What restoring takes.
    """

    inventory: Inventory
    by_diff: Mapping[Diff, tuple[Holding, ...]]
    by_uuid: Mapping[UUID, tuple[Holding, ...]]
    uploads: Mapping[str, OpenUpload]
    sizes: Mapping[str, ShelfObject]
    chains: Chains

    def at(self, uuid: UUID, path: str) -> tuple[Holding, ...]:
        """Return the streams of a snapshot that are stored at a path below the prefix."""
        return tuple(
            holding
            for holding in self.by_uuid.get(uuid, ())
            if holding.entry.path == path and not holding.outside
        )

    def lost_without(
        self, doomed: Iterable[Holding], *, leaving: UUID | None = None
    ) -> Snapshot | None:
        """Return a snapshot that stays, but could not be restored without some streams.

        Args:
            doomed: Those streams.
            leaving: A snapshot that need not stay, unless it still is at another path.

        Snapshots outside the prefix stay as well, where they are known.
        """
        keys = {holding.entry.key for holding in doomed}
        staying = {
            diff: [holding for holding in same if holding.entry.key not in keys]
            for diff, same in self.by_diff.items()
        }
        after = best_chains((d, size) for d, size in self.inventory.stored if staying[d])
        shown = {
            diff.to for diff, same in staying.items() if any(not holding.hidden for holding in same)
        }
        meant = {h.diff.to for same in self.by_diff.values() for h in same if not h.hidden}
        for snapshot in self.inventory.snapshots:
            if snapshot.uuid not in meant:
                continue
            lost = snapshot.uuid in self.chains.last and snapshot.uuid not in after.last
            if lost and (snapshot.uuid != leaving or leaving in shown):
                return snapshot
        return None


def make_holdings(
    objects: Iterable[ShelfObject], uploads: Iterable[OpenUpload], *, prefix: str, now: datetime
) -> Holdings:
    """Sort the objects of a shelf into streams, what belongs to them, and what is left alone.

    Args:
        objects: Those below the prefix, or all of the shelf.
        uploads: Those below the prefix.
        prefix: Empty, or ending in a slash.
        now: The time, to tell which uploads are young.
    """
    found = _sorted_out(objects, prefix)
    by_diff: defaultdict[Diff, list[Holding]] = defaultdict(list)
    for entry, thing, outside in found.streams:
        holding = Holding(
            entry=entry,
            thing=thing,
            outside=outside,
            receipt=found.receipts.get(entry.key),
            marker=found.markers.get(entry.key),
        )
        by_diff[entry.diff].append(holding)
    for same in by_diff.values():
        same.sort(key=lambda h: (h.thing.archived, h.outside, h.thing.nbytes, h.entry.key))
    stored = tuple(
        (diff, Size(by_diff[diff][0].thing.nbytes)) for diff in sorted(by_diff, key=_diff_order)
    )
    chains = best_chains(stored)
    by_uuid: defaultdict[UUID, list[Holding]] = defaultdict(list)
    for diff, _ in stored:
        by_uuid[diff.to].extend(by_diff[diff])
    open_uploads = _by_partial(uploads, prefix)
    return Holdings(
        inventory=Inventory(
            snapshots=_snapshots(by_uuid, _lineages(by_diff), chains),
            partials=tuple(
                _partial(path, upload, prefix, now) for path, upload in open_uploads.items()
            ),
            stored=stored,
            makes_any_diff=False,
            problems=tuple(_problems(by_diff, chains)),
            foreign=found.foreign,
        ),
        by_diff={diff: tuple(same) for diff, same in by_diff.items()},
        by_uuid={uuid: tuple(streams) for uuid, streams in by_uuid.items()},
        uploads=open_uploads,
        sizes=found.sizes,
        chains=chains,
    )


@dataclass(slots=True)
class _Found:
    """The objects of a shelf by what they are; what belongs to a stream by the stream's key."""

    streams: list[tuple[StreamEntry, ShelfObject, bool]] = field(default_factory=list)
    receipts: dict[str, ShelfObject] = field(default_factory=dict)
    markers: dict[str, ShelfObject] = field(default_factory=dict)
    sizes: dict[str, ShelfObject] = field(default_factory=dict)
    foreign: int = 0


def _sorted_out(objects: Iterable[ShelfObject], prefix: str) -> _Found:
    found = _Found()
    for thing in objects:
        entry = parse_key(thing.key, prefix)
        outside = entry is Other.OUTSIDE
        if outside:
            entry = parse_key(thing.key, "")
        match entry:
            case StreamEntry():
                found.streams.append((entry, thing, outside))
            case ReceiptEntry(stream=stream):
                found.receipts[stream.key] = thing
            case MarkerEntry(stream=stream):
                found.markers[stream.key] = thing
            case SizesEntry(path=path) if not outside:
                found.sizes[path] = thing
            case Other.FOREIGN:
                found.foreign += not outside
            case _:
                pass
    return found


def _diff_order(diff: Diff) -> tuple[int, int]:
    return diff.to.int, -1 if diff.parent is None else diff.parent.int


def _snapshots(
    holdings: Mapping[UUID, list[Holding]], lineages: Mapping[UUID, str], chains: Chains
) -> tuple[Snapshot, ...]:
    def age(uuid: UUID) -> tuple[datetime, int, bytes, int]:
        """Return what orders snapshots by when they were stored, and never leaves a tie."""
        chain = chains.costs.get(uuid)
        path = min(os.fsencode(h.entry.path) for h in holdings[uuid])
        return stored_at(uuid), chain.links if chain else 0, path, uuid.int

    def stored_at(uuid: UUID) -> datetime:
        return min(h.thing.modified for h in holdings[uuid])

    found = []
    for generation, uuid in enumerate(sorted(holdings, key=age), start=1):
        shown = {h.entry.path for h in holdings[uuid] if not (h.hidden or h.outside)}
        hidden = {h.entry.path for h in holdings[uuid] if h.hidden and not h.outside} - shown
        outside = {f"/{h.entry.path}" for h in holdings[uuid] if h.outside}
        last = chains.last.get(uuid)
        found.append(
            Snapshot(
                uuid=uuid,
                paths=_by_bytes(shown),
                elsewhere=(*_by_bytes(hidden), *_by_bytes(outside)),
                created=stored_at(uuid),
                received=True,
                generation=generation,
                origin_generation=generation,
                lineage=lineages[uuid],
                ancestor=last.parent if last else None,
            )
        )
    return tuple(sorted(found, key=lambda s: (os.fsencode(s.path), s.uuid)))


def _by_bytes(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(paths, key=os.fsencode))


def _lineages(diffs: Iterable[Diff]) -> dict[UUID, str]:
    """Return for each snapshot what equals for all that some stored diff leads to or from."""
    leaders: dict[UUID, UUID] = {}

    def leader(member: UUID) -> UUID:
        while (above := leaders.setdefault(member, member)) != member:
            leaders[member] = leaders[above]
            member = above
        return member

    for diff in diffs:
        one = leader(diff.to)
        if diff.parent is not None:
            other = leader(diff.parent)
            leaders[max(one, other)] = min(one, other)
    return {member: str(leader(member)) for member in [*leaders]}


def _problems(by_diff: Mapping[Diff, list[Holding]], chains: Chains) -> Iterable[Problem]:
    """Tell of snapshots that can't be restored."""
    known = {diff.to for diff in by_diff}
    for diff in sorted(by_diff, key=_diff_order):
        first = by_diff[diff][0]
        if diff.to in chains.last or all(h.hidden or h.outside for h in by_diff[diff]):
            continue
        if diff.parent in known:
            message = "can't be restored: what it builds on can't be, either"
        else:
            message = f"can't be restored: it builds on {diff.parent}, of which there is no stream"
        yield Problem(path=first.entry.path, message=message)


def _by_partial(uploads: Iterable[OpenUpload], prefix: str) -> dict[str, OpenUpload]:
    """Return the uploads by what to call them: the key below the prefix, numbered if need be."""
    found: dict[str, OpenUpload] = {}
    seen: Counter[str] = Counter()
    for upload in sorted(uploads, key=lambda u: (u.key, u.started, u.upload_id)):
        path = upload.key.removeprefix(prefix)
        seen[path] += 1
        found[path if seen[path] == 1 else f"{path} #{seen[path]}"] = upload
    return dict(sorted(found.items(), key=lambda item: os.fsencode(item[0])))


def _partial(path: str, upload: OpenUpload, prefix: str, now: datetime) -> Partial:
    entry = parse_key(upload.key, prefix)
    diff = entry.diff if isinstance(entry, StreamEntry) else None
    guarded = ""
    if diff is None and entry is not Other.NOTHING:
        guarded = "its key is none of ours, so it may be another program's"
    elif now - upload.started < YOUNG:
        guarded = "it was begun less than a day ago, and may still be going on"
    return Partial(
        path=path,
        uuid=diff.to if diff else None,
        diff=diff,
        nbytes=upload.nbytes,
        guarded=guarded,
    )
