"""What happens to stored streams when snapshots are deleted: pure.

Nothing that stays may lose its chain. So a snapshot is deleted only if none that is kept builds
on it; otherwise it is hidden, and its streams stay as links. But if new streams of the snapshots
that build on links take much less than these, then those are stored first, and the links go.

Sizes come from the caller, who measures what `retention_measurements` asks for:

    retention = retain(request, sizes)
    while todo := retention_measurements(request, sizes, retention):
        sizes.update((m.diff, source.measure(m.diff, options, m.limit)) for m in todo)
        retention = retain(request, sizes)
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from buttersink.chains import Chains, best_chains
from buttersink.model import Diff, Size
from buttersink.plan import Delete, Discard, Hide, Reason, Removal
from buttersink.planning.replacement import Appraisal, Group, Replacements
from buttersink.planning.stock import RetentionRequest, Stock, Upkeep, diff_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from buttersink.model import Measurement, Snapshot

__all__ = ["Retention", "RetentionRequest", "retain", "retention_measurements"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What to do.

    Attributes:
        replacements: Diffs of kept snapshots to transfer before anything is removed. All their
            parents are there already.
        removals: What to remove if all transfers succeeded, in this order: nothing that is needed
            by what stands after it. All kept snapshots can be restored at any time between.
        chains: What restoring snapshots takes afterwards. New streams count as what they will
            take at least.
    """

    replacements: tuple[Diff, ...]
    removals: tuple[Removal, ...]
    chains: Chains


def retain(request: RetentionRequest, sizes: Mapping[Diff, Size]) -> Retention:
    """Return how to delete what is to be deleted, as far as the sizes are known.

    It never takes more bytes, sent and stored, than hiding whatever is still needed. The order
    of the facts does not matter.

    Args:
        request: What is to be deleted.
        sizes: Known plain sizes, of any diffs. AT_LEAST is a lower bound, and so is 0 for a diff
            that is missing here. An estimate is not good enough for a replacement.
    """
    decision = _decide(request, sizes)
    chains = best_chains((d, Size(n)) for d, n in decision.after.streams.items())
    added = {diff for group in decision.groups for diff in group.added}
    return Retention(
        replacements=tuple(sorted(added, key=diff_order)),
        removals=tuple(_Removals(request, decision).in_order()),
        chains=chains,
    )


def retention_measurements(
    request: RetentionRequest, sizes: Mapping[Diff, Size], retention: Retention
) -> tuple[Measurement, ...]:
    """Return what to measure before deciding again; nothing if `retention` is final.

    Args:
        request: What `retention` was made for.
        sizes: What `retention` was made with.
        retention: The current decision.

    Returns:
        Diffs and the limits up to which to measure them. If one can't be measured, put it into
        `RetentionRequest.impossible`; else its size into `sizes`.
    """
    if not retention.replacements:
        return ()
    decision = _decide(request, sizes)
    return tuple(decision.replacements.measurements(decision.groups))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decision:
    stock: Stock
    replacements: Replacements
    groups: Sequence[Group]
    after: Upkeep


def _decide(request: RetentionRequest, sizes: Mapping[Diff, Size]) -> _Decision:
    """Choose what to replace.

    Groups are made from the chains as they are now. Together they may spoil each other's: so
    all of them are tried at once, and if that fails, halves, down to single ones.
    """
    stock = Stock(request)
    appraisal = Appraisal(request, stock, sizes)
    held = stock.upkeep()
    replacements = Replacements(request, stock, held, appraisal)
    accepted: list[Group] = []
    after, cost = held, held.nbytes
    waiting = [list(replacements.groups())]
    while waiting:
        some = waiting.pop()
        groups = [*accepted, *some]
        added = {diff: nbytes for group in groups for diff, nbytes in group.added.items()}
        dropped = frozenset(diff for group in groups for diff in group.dropped)
        trial = stock.upkeep(dropped=dropped, added=added)
        trial_cost = trial.nbytes + sum(added.values())
        if trial_cost < cost and _all_restorable(stock, appraisal, held, trial):
            accepted, after, cost = groups, trial, trial_cost
        elif len(some) > 1:
            half = len(some) // 2
            waiting += [some[half:], some[:half]]
    return _Decision(stock=stock, replacements=replacements, groups=accepted, after=after)


def _all_restorable(stock: Stock, appraisal: Appraisal, before: Upkeep, after: Upkeep) -> bool:
    """Return whether all kept snapshots still have a chain that is not too long."""
    return all(
        uuid in after.chains.costs
        and appraisal.allows(uuid, after.chains.costs[uuid], before=chain)
        for uuid, chain in before.chains.costs.items()
        if uuid not in stock.links
    )


class _Removals:
    """Turns a decision into removals."""

    def __init__(self, request: RetentionRequest, decision: _Decision) -> None:
        self._stock = decision.stock
        self._chains = decision.after.chains
        self._staying = decision.after.streams
        self._doomed = request.doomed
        self._snapshots = {s.uuid: s for s in request.snapshots}

    def in_order(self) -> Iterator[Removal]:
        """Yield removals. What only shortens the list of a snapshot's streams comes first."""
        hides: list[Hide] = []
        discards: list[Discard] = []
        leaving: list[Snapshot] = []
        for snapshot in sorted(self._snapshots.values(), key=lambda s: (s.path, s.uuid.int)):
            streams = self._stock.streams(snapshot.uuid)
            needless = [diff for diff in streams if diff not in self._staying]
            link = snapshot.uuid in self._stock.links
            if link and len(needless) == len(streams):
                leaving.append(snapshot)
                continue
            reason = Reason.UNUSED_LINK if link else Reason.REPLACED
            discards += (self._discard(diff, reason) for diff in needless)
            if link and snapshot.paths:
                hides += self._hides(snapshot, streams)
        yield from hides
        yield from discards
        yield from self._departures(leaving)

    def _hides(self, snapshot: Snapshot, streams: Sequence[Diff]) -> Iterator[Hide]:
        nbytes = sum(self._staying.get(diff, 0) for diff in streams)
        for path in snapshot.paths:
            yield Hide(uuid=snapshot.uuid, path=path, nbytes=nbytes)
            nbytes = 0  # so that the sum over all is right

    def _discard(self, diff: Diff, reason: Reason) -> Discard:
        path = self._snapshots[diff.to].path
        return Discard(diff=diff, path=path, nbytes=self._stock.nbytes[diff], reason=reason)

    def _departures(self, leaving: Sequence[Snapshot]) -> Iterator[Removal]:
        """Yield the removals of whole snapshots: none before all that builds on it.

        Where snapshots build on each other in a circle, a stream is removed by itself first.
        """
        rank = {s.uuid: number for number, s in enumerate(leaving)}
        left = {s.uuid: set(self._stock.streams(s.uuid)) for s in leaving}
        users = Counter(diff.parent for diffs in left.values() for diff in diffs)
        ready = [rank[uuid] for uuid in left if not users[uuid]]
        heapify(ready)

        def let_go(diff: Diff) -> None:
            users[diff.parent] -= 1
            if diff.parent in left and not users[diff.parent]:
                heappush(ready, rank[diff.parent])

        while left:
            if ready:
                snapshot = leaving[heappop(ready)]
                diffs = sorted(left.pop(snapshot.uuid), key=diff_order)
                yield from self._departure(snapshot, diffs)
                for diff in diffs:
                    let_go(diff)
            else:
                diff = self._opening(left)
                left[diff.to].remove(diff)
                yield self._discard(diff, Reason.UNUSED_LINK)
                let_go(diff)

    def _departure(self, snapshot: Snapshot, diffs: Sequence[Diff]) -> Iterator[Removal]:
        if snapshot.uuid in self._doomed and snapshot.paths:
            nbytes = sum(self._stock.nbytes[diff] for diff in diffs)
            for path in snapshot.paths:
                yield Delete(uuid=snapshot.uuid, path=path, nbytes=nbytes)
                nbytes = 0  # so that the sum over all is right
        else:
            for diff in diffs:
                yield self._discard(diff, Reason.UNUSED_LINK)

    def _opening(self, left: Mapping[UUID, set[Diff]]) -> Diff:
        """Return the stream with which to open a circle: if possible one of no best chain."""
        return min(
            (diff for diffs in left.values() for diff in diffs if diff.parent in left),
            key=lambda diff: (self._chains.last.get(diff.to) == diff, diff_order(diff)),
        )
