"""Destinations of streams from which something is to be deleted, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from buttersink.chains import Chains, best_chains
from buttersink.model import Certainty, ChainLimits, Diff, Inventory, Size
from buttersink.plan import Delete, Discard, Hide
from buttersink.planning.retention import (
    Retention,
    RetentionRequest,
    retain,
    retention_measurements,
)
from support.planning_worlds import snapshot, uuid

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from uuid import UUID

    from buttersink.model import Measurement
    from buttersink.plan import Removal

KIB = 1 << 10
MIB = 1 << 20
EASY = ChainLimits(links=60, factor=2.0)

Ends = tuple[int, int | None]
"""Numbers of a diff's snapshots: to, parent."""


def diff(to: int, parent: int | None = None) -> Diff:
    return Diff(uuid(to), None if parent is None else uuid(parent))


def stored(streams: Mapping[Ends, int]) -> tuple[tuple[Diff, Size], ...]:
    return tuple((diff(*ends), Size(nbytes)) for ends, nbytes in streams.items())


def request(
    streams: Mapping[Ends, int],
    *,
    coming: Mapping[Ends, int] | None = None,
    doomed: Collection[int] = (),
    hidden: Collection[int] = (),
    outside: Collection[int] = (),
    source: Collection[int] | None = None,
    limits: ChainLimits = EASY,
) -> RetentionRequest:
    """Ask for the retention of streams; their snapshots are those that have any."""
    away = {*hidden, *outside}
    return RetentionRequest(
        stored=stored(streams),
        coming=stored(coming or {}),
        snapshots=tuple(
            snapshot(number, paths=() if number in away else None)
            for number in sorted({to for to, _ in streams})
        ),
        doomed=frozenset(map(uuid, doomed)),
        outside=frozenset(map(uuid, outside)),
        source=None
        if source is None
        else Inventory(snapshots=tuple(snapshot(number) for number in source)),
        limits=limits,
    )


@dataclass(kw_only=True)
class Shop:
    """Makes what is asked for, and remembers what was measured."""

    request: RetentionRequest
    plain: Mapping[Diff, int]
    measured: list[Measurement] = field(default_factory=list)

    def settle(self) -> Retention:
        """Decide and measure until the decision is final, as a run does."""
        sizes: dict[Diff, Size] = {}
        retention = retain(self.request, sizes)
        for _ in range(50):
            todo = retention_measurements(self.request, sizes, retention)
            if not todo:
                return retention
            self.measured += todo
            sizes.update((m.diff, self._measure(m)) for m in todo)
            retention = retain(self.request, sizes)
        raise AssertionError("measuring does not come to an end")

    def _measure(self, measurement: Measurement) -> Size:
        nbytes = self.plain[measurement.diff]
        if measurement.limit is not None and nbytes > measurement.limit:
            return Size(measurement.limit + 1, Certainty.AT_LEAST)
        return Size(nbytes)


def settle(asked: RetentionRequest, plain: Mapping[Ends, int] | None = None) -> Retention:
    sizes = {diff(*ends): nbytes for ends, nbytes in (plain or {}).items()}
    return Shop(request=asked, plain=sizes).settle()


class Shelf:
    """The streams of a destination; what it is told to remove must not be needed by anything."""

    def __init__(self, asked: RetentionRequest) -> None:
        self.streams = {d: size.nbytes for d, size in (*asked.coming, *asked.stored)}
        self.visible = {s.uuid for s in asked.snapshots if s.paths} | {
            d.to for d, _ in asked.coming
        }
        self.hidden = {s.uuid for s in asked.snapshots if not s.paths} - asked.outside

    def chains(self) -> Chains:
        return best_chains((d, Size(nbytes)) for d, nbytes in self.streams.items())

    def store(self, new: Diff, nbytes: int) -> None:
        assert new.parent is None or new.parent in self.visible
        assert new not in self.streams
        self.streams[new] = nbytes

    def remove(self, removal: Removal) -> None:
        match removal:
            case Delete(uuid=gone):
                self._let_go(gone)
                mine = [d for d in self.streams if d.to == gone]
                assert removal.nbytes == sum(self.streams.pop(d) for d in mine)
                self.visible.remove(gone)
            case Hide(uuid=gone):
                self.visible.remove(gone)
                self.hidden.add(gone)
            case Discard(diff=gone_diff):
                assert removal.nbytes == self.streams.pop(gone_diff)
                if not any(d.to == gone_diff.to for d in self.streams):
                    self._let_go(gone_diff.to)

    def _let_go(self, gone: UUID) -> None:
        users = {d.to for d in self.streams if d.parent == gone} - {gone}
        assert not users, f"{users} build on {gone}, which is removed"


# Worlds of all kinds. Numbers are small, but nothing in them is too odd to happen: streams may
# lack their parents, build on each other in circles, or belong to snapshots outside.

_PARENTS = st.sampled_from((None, *range(1, 8)))
_BYTES = st.sampled_from((1, 40 * KIB, 100 * KIB, MIB, 3 * MIB, 10 * MIB))


@st.composite
def requests(draw: st.DrawFn) -> RetentionRequest:
    # A forest, so that most can be restored, and anything besides.
    streams: dict[Ends, int] = {
        (number, draw(st.sampled_from([None, *range(1, number)]))): draw(_BYTES)
        for number in range(1, 7)
    }
    oddities = st.dictionaries(st.tuples(st.integers(1, 6), _PARENTS), _BYTES, max_size=4)
    streams.update(draw(oddities))
    roles = [draw(st.sampled_from(("kept", "doomed", "hidden"))) for _ in range(7)]
    numbers = st.sets(st.integers(1, 7))
    return request(
        streams,
        coming=dict(draw(st.sets(st.tuples(st.tuples(st.just(8), _PARENTS), _BYTES), max_size=1))),
        doomed=[number for number, role in enumerate(roles) if role == "doomed"],
        hidden=[number for number, role in enumerate(roles) if role == "hidden"],
        outside=draw(st.one_of(st.just(set[int]()), numbers)),
        source=draw(st.one_of(st.just(range(1, 8)), numbers, st.none())),
        limits=ChainLimits(
            links=draw(st.sampled_from((6, 4, 2, 1))),
            factor=draw(st.sampled_from((1.0, 2.0, 5.0))),
            stored_fraction=draw(st.sampled_from((0.0, 0.3, 1.0))),
        ),
    )


@st.composite
def shops(draw: st.DrawFn) -> Shop:
    asked = draw(requests())
    everything = range(1, 8)
    plain = {
        diff(to, parent): draw(_BYTES) // 16 for to in everything for parent in (None, *everything)
    }
    return Shop(request=asked, plain=plain)
