"""Which new streams would make hidden links superfluous, and pay for that: pure.

A link stays as long as the chain of any kept snapshot leads over it. If all of those that build
on it, or on links that build on it, get other streams, it can go, and their old streams with it:
they form a `Group`. It pays if what goes is more than twice what comes, as that has to be sent
and to be stored.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING, Final

from buttersink.model import Certainty, Chain, Diff, Measurement
from buttersink.planning.candidates import chronology
from buttersink.planning.measuring import LEAST_LIMIT
from buttersink.planning.stock import diff_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

    from buttersink.model import ChainLimits, Size
    from buttersink.planning.stock import RetentionRequest, Stock, Upkeep

LEAST_GAIN: Final = 64 << 10
"""Bytes that have to become free at least: less is not worth measuring anything."""

_PRICE: Final = 2
"""What comes counts so many times: it is sent, and then stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Streams that go together.

    Attributes:
        dropped: Old streams of kept snapshots.
        added: New ones, and the bytes that each will take as it is stored, at least.
        freed: Bytes of all that goes, the links included.
    """

    dropped: frozenset[Diff]
    added: Mapping[Diff, int]
    freed: int


class Appraisal:
    """Compares chains and sizes with the limits.

    Unknown sizes count as their lower bound, 0 at first.
    """

    def __init__(self, request: RetentionRequest, stock: Stock, sizes: Mapping[Diff, Size]) -> None:
        self._limits: ChainLimits = request.limits
        self._stored = stock.nbytes
        self._sizes = sizes

    def stored_bytes(self, diff: Diff) -> int | None:
        """Return what a new stream takes, as far as known; None if that is only a guess.

        What is stored is never replaced because of a guess. So nothing is hoped for from
        compression either: how well others could be compressed says little of this one.
        """
        size = self._sizes.get(diff)
        if size is None:
            return 0
        if size.certainty not in {Certainty.EXACT, Certainty.AT_LEAST}:
            return None
        return size.nbytes

    def settled(self, diff: Diff) -> bool:
        """Return whether nothing better will be known of a size."""
        size = self._sizes.get(diff)
        return size is not None and size.certainty is not Certainty.AT_LEAST

    def plain_limit(self, stored_bytes: int) -> int:
        """Return how far to measure a stream that may take so many bytes."""
        return max(stored_bytes, LEAST_LIMIT)

    def allows(self, uuid: UUID, after: Chain, *, before: Chain) -> bool:
        """Return whether a chain is within the limits, or takes no more than the one before."""
        if after.links > max(self._limits.links, before.links):
            return False
        if after.nbytes <= before.nbytes:
            return True
        full = self._stored.get(Diff(uuid))
        if full is None:
            full = floor((self.stored_bytes(Diff(uuid)) or 0) * self._limits.stored_fraction)
        return after.nbytes <= self._limits.factor * full


@dataclass(frozen=True, slots=True)
class _Substitute:
    """What may stand in for a stream: a new diff, or without one another stream that is stored."""

    diff: Diff | None
    nbytes: int


@dataclass(slots=True)
class _Balance:
    """What comes of it if all go that build on a link.

    Attributes:
        freed: Bytes that go.
        price: Bytes that come.
        sends: Number of streams to send.
        fixed: Something can't go.
    """

    freed: int
    price: int = 0
    sends: int = 0
    fixed: bool = False

    def add(self, other: _Balance) -> None:
        self.freed += other.freed
        self.price += other.price
        self.sends += other.sends
        self.fixed |= other.fixed

    @property
    def gain(self) -> int:
        if self.fixed or (self.sends and self.freed < LEAST_GAIN):
            return 0
        return max(0, self.freed - _PRICE * self.price)


class Replacements:
    """Finds the groups that pay; those returned together have no link in common."""

    def __init__(
        self, request: RetentionRequest, stock: Stock, held: Upkeep, appraisal: Appraisal
    ) -> None:
        self._stock = stock
        self._held = held
        self._appraisal = appraisal
        self._parents = stock.visible & held.chains.last.keys()
        """Snapshots that new streams may build on."""
        can_send = request.source is not None and request.source.makes_any_diff
        self._source = request.source.by_uuid() if request.source and can_send else {}
        self._parents_only = request.source.parents_only if request.source else frozenset()
        self._earlier = self._predecessors()
        self._impossible = request.impossible
        self._inner: defaultdict[UUID, list[UUID]] = defaultdict(list)
        """By link: links that build on it."""
        self._outer: defaultdict[UUID, list[Diff]] = defaultdict(list)
        """By link: other streams that do."""
        for diff in held.streams:
            if diff.parent not in stock.links:
                continue
            if diff.to in stock.links and held.chains.last.get(diff.to) == diff:
                self._inner[diff.parent].append(diff.to)
            else:
                self._outer[diff.parent].append(diff)
        self._rivals: dict[UUID, int] = {}
        """By snapshot: what its cheapest new stream takes of those whose size is final."""
        self._substitutes = {
            diff: self._substitute(diff) for diffs in self._outer.values() for diff in diffs
        }

    def _predecessors(self) -> dict[UUID, UUID]:
        """Return for each snapshot of the source the nearest before it that may be a parent."""
        latest: dict[str | None, UUID] = {}
        found = {}
        for snapshot in sorted(self._source.values(), key=chronology):
            if snapshot.lineage in latest:
                found[snapshot.uuid] = latest[snapshot.lineage]
            if snapshot.uuid in self._parents:
                latest[snapshot.lineage] = snapshot.uuid
        return found

    def groups(self) -> tuple[Group, ...]:
        """Return the groups that free the most in all, each in its own right."""
        chains = self._held.chains
        links = {d.to for d in self._held.streams} & self._stock.links & chains.last.keys()
        # What builds on a link has a longer chain, so it comes before it.
        order = sorted(links, key=lambda link: (-chains.costs[link].links, link.int))
        balances: dict[UUID, _Balance] = {}
        gains: dict[UUID, int] = {}
        chosen: set[UUID] = set()
        for link in order:
            balances[link] = self._balance(link, balances)
            gain_inside = sum(gains[inner] for inner in self._inner[link])
            gains[link] = max(balances[link].gain, gain_inside)
            if balances[link].gain > gain_inside:
                chosen.add(link)
        found = []
        covered: set[UUID] = set()
        for link in reversed(order):
            if link in chosen and link not in covered:
                below = list(self._below(link))
                covered.update(below)
                found.append(self._group(below, balances[link].freed))
        return tuple(found)

    def measurements(self, groups: Iterable[Group]) -> Iterator[Measurement]:
        """Yield what must be known better before these groups may go: if their price is not final.

        Measuring may stop where the price would be too high even if all the rest came for free,
        or where a rival would be cheaper.
        """
        for group in groups:
            price = sum(group.added.values())
            for diff in sorted(group.added, key=diff_order):
                if not self._appraisal.settled(diff):
                    most = group.freed // _PRICE - (price - group.added[diff])
                    limit = min(most, self._rivals.get(diff.to, most))
                    yield Measurement(diff=diff, limit=self._appraisal.plain_limit(limit))

    def _balance(self, link: UUID, inside: Mapping[UUID, _Balance]) -> _Balance:
        balance = _Balance(freed=self._stock.nbytes[self._held.chains.last[link]])
        for inner in self._inner[link]:
            balance.add(inside[inner])
        for diff in self._outer[link]:
            substitute = self._substitutes[diff]
            if substitute is None:
                balance.fixed = True
            else:
                sends = substitute.diff is not None
                balance.add(_Balance(self._stock.nbytes[diff], substitute.nbytes, sends))
        return balance

    def _below(self, link: UUID) -> Iterator[UUID]:
        waiting = [link]
        while waiting:
            link = waiting.pop()
            yield link
            waiting += self._inner[link]

    def _group(self, links: Sequence[UUID], freed: int) -> Group:
        dropped = [diff for link in links for diff in self._outer[link]]
        substitutes = [self._substitutes[diff] for diff in dropped]
        return Group(
            dropped=frozenset(dropped),
            added={s.diff: s.nbytes for s in substitutes if s is not None and s.diff is not None},
            freed=freed,
        )

    def _substitute(self, old: Diff) -> _Substitute | None:
        """Return the cheapest stream that may stand in for one of a kept snapshot on a link."""
        uuid = old.to
        if uuid not in self._parents:
            return None
        for diff in self._stock.streams(uuid):
            if diff.parent not in self._stock.links and self._fits(diff, self._stock.nbytes[diff]):
                return _Substitute(None, 0)
        found = []
        for diff in self._new_diffs(uuid):
            nbytes = self._appraisal.stored_bytes(diff)
            if nbytes is not None and self._fits(diff, nbytes):
                found.append(_Substitute(diff, nbytes))
                if self._appraisal.settled(diff):
                    self._rivals[uuid] = min(nbytes, self._rivals.get(uuid, nbytes))
        return min(found, key=lambda substitute: substitute.nbytes, default=None)

    def _new_diffs(self, uuid: UUID) -> Iterator[Diff]:
        """Yield what the source could make of a snapshot; of equal ones the first is best."""
        if uuid not in self._source or uuid in self._parents_only:
            return
        chain = self._held.chains.streams(uuid)
        above = (d.to for d in reversed(chain[:-1]))
        ancestor = next((u for u in above if u in self._parents and u in self._source), None)
        parents = dict.fromkeys((ancestor, self._earlier.get(uuid), None))
        yield from (
            diff
            for diff in (Diff(uuid, p) for p in (*(p for p in parents if p is not None), None))
            if diff not in self._impossible and diff not in self._stock.nbytes
        )

    def _fits(self, diff: Diff, nbytes: int) -> bool:
        """Return whether a chain would be complete and within limits, as far as can be told now."""
        if diff.parent is None:
            return True
        chains = self._held.chains
        passed = {step.to for step in chains.streams(diff.parent)}
        if not passed or diff.to in passed:
            return False
        if passed & self._stock.links:
            return True  # it will have another chain if its own links go, too
        cost = chains.costs[diff.parent]
        after = Chain(cost.links + 1, cost.nbytes + nbytes)
        return self._appraisal.allows(diff.to, after, before=chains.costs[diff.to])
