"""What a destination of streams holds, and what of it has to stay for the rest to be restored.

Each of its snapshots is of one of two kinds. The *links* are those that nobody wants for their
own sake: hidden already, or to be deleted now. Of them stays what others' chains lead over, and
nothing else. All others are *kept*, with all their streams. Whatever can't be told belongs to
them: streams of unknown snapshots, or of those outside the prefix, and what is broken, since it
may be all that is left of something.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from buttersink.chains import Chains, best_chains
from buttersink.model import ChainLimits, Diff, Size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from buttersink.model import Inventory, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRequest:
    """What is to be deleted at a destination of streams, and all facts that matter for it.

    Attributes:
        stored: The diffs that the destination holds now, with the bytes of their objects.
        coming: The new streams of this run, with the bytes expected to be stored. None of them
            is ever removed, nor anything that they build on.
        snapshots: Those of the destination. Without `paths` they are hidden links, or lie
            outside the prefix.
        doomed: Those of them that are to be deleted, under all their paths.
        adopted: Hidden ones that this run makes snapshots again.
        outside: Those outside the prefix: nothing of them is ever removed.
        source: What can make streams to replace others with; None if nothing can.
        limits: What restoring a snapshot may take, if it takes more than before.
        impossible: Diffs that can't be made.
    """

    stored: tuple[tuple[Diff, Size], ...]
    coming: tuple[tuple[Diff, Size], ...] = ()
    snapshots: tuple[Snapshot, ...]
    doomed: frozenset[UUID] = frozenset()
    adopted: frozenset[UUID] = frozenset()
    outside: frozenset[UUID] = frozenset()
    source: Inventory | None = None
    limits: ChainLimits = field(default_factory=lambda: ChainLimits(links=1, factor=1.0))
    impossible: frozenset[Diff] = frozenset()


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What stays.

    Attributes:
        streams: The streams that stay, and the bytes that each takes.
        chains: The best chains over all that was to choose from. What stays has them all, but
            for those of links that don't stay.
    """

    streams: Mapping[Diff, int]
    chains: Chains

    @property
    def nbytes(self) -> int:
        """Bytes of all that stays."""
        return sum(self.streams.values())


class Stock:
    """The streams of a destination, and whose they are.

    Attributes:
        nbytes: Bytes of each stream, stored and coming.
        links: Snapshots that stay only as far as others need them.
        visible: Those that the directory has and will go on to have, if they are not coming.
    """

    def __init__(self, request: RetentionRequest) -> None:
        self.nbytes = {diff: size.nbytes for diff, size in (*request.coming, *request.stored)}
        ours = {s.uuid: s for s in request.snapshots if s.uuid not in request.outside}
        staying = {diff.to for diff, _ in request.coming} | request.adopted
        self.links = frozenset(
            uuid
            for uuid, snapshot in ours.items()
            if uuid not in staying and (uuid in request.doomed or not snapshot.paths)
        )
        self.visible = frozenset(ours.keys() - self.links - {diff.to for diff, _ in request.coming})
        streams: defaultdict[UUID, list[Diff]] = defaultdict(list)
        for diff in sorted(self.nbytes, key=diff_order):
            streams[diff.to].append(diff)
        self._streams = streams

    def streams(self, uuid: UUID) -> Sequence[Diff]:
        """Return all streams of a snapshot."""
        return self._streams.get(uuid, ())

    def upkeep(
        self, *, dropped: frozenset[Diff] = frozenset(), added: Mapping[Diff, int] | None = None
    ) -> Upkeep:
        """Return what has to stay if some streams of kept snapshots go and others come."""
        available = {diff: n for diff, n in self.nbytes.items() if diff not in dropped}
        available.update(added or {})
        chains = best_chains((diff, Size(nbytes)) for diff, nbytes in available.items())
        waiting = [diff for diff in available if diff.to not in self.links]
        staying = set(waiting)
        while waiting:
            parent = waiting.pop().parent
            if parent not in self.links:
                continue
            more = self._upkeep_of(parent, chains) - staying
            staying |= more
            waiting += more
        return Upkeep({diff: available[diff] for diff in sorted(staying, key=diff_order)}, chains)

    def _upkeep_of(self, link: UUID, chains: Chains) -> set[Diff]:
        if link in chains.last:
            return {chains.last[link]}
        # It can't be restored from what is here. Who has the rest of its chain may still do so.
        return set(self.streams(link))


def diff_order(diff: Diff) -> tuple[int, int]:
    """Return a key that orders diffs, the full one of a snapshot first."""
    return diff.to.int, -1 if diff.parent is None else diff.parent.int
