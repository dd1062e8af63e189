"""What a run makes of what interrupted transfers have left: which can be gone on with, and when."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product
from random import Random
from typing import TYPE_CHECKING

import pytest

from buttersink.model import (
    Certainty,
    Checkpoint,
    Diff,
    Inventory,
    Measurement,
    Partial,
    Position,
    Size,
    Span,
    StreamOptions,
)
from buttersink.plan import Plan, Reason, Transfer
from buttersink.planning.candidates import candidate_diffs
from buttersink.resumption import going_on, kept_of, rest_limit, rest_size, with_resumptions
from support.planning_worlds import diff, history, run, snapshot, uuid, world_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from buttersink.model import Snapshot
    from support.planning_worlds import World

V1 = StreamOptions(version=1)
V2 = StreamOptions(version=2)
COMPRESSED = StreamOptions(version=2, compressed=True)


def checkpoint(of: Diff, nbytes: int = 1000, *, options: StreamOptions = V2) -> Checkpoint:
    return Checkpoint(
        diff=of,
        options=options,
        position=Position(plain_bytes=nbytes, spans=(Span(nbytes, b"digest"),)),
    )


def leftover(kept: Checkpoint, *, directory: str = "", of: UUID | None = None) -> Partial:
    return Partial(
        path=f"{directory}.leftover", uuid=kept.diff.to if of is None else of, checkpoint=kept
    )


def kept(
    *partials: Partial,
    wanted: tuple[Snapshot, ...] = (),
    made: StreamOptions = COMPRESSED,
    options: StreamOptions = COMPRESSED,
) -> Mapping[Diff, Checkpoint]:
    return kept_of(Inventory(partials=partials), wanted, made=made, options=options)


class TestWhatCanBeGoneOnWith:
    def test_is_what_has_a_checkpoint(self) -> None:
        one, other = checkpoint(diff(1)), checkpoint(diff(2, 1))
        plain = Partial(path=".other", uuid=uuid(3))
        assert kept(leftover(one), plain, leftover(other)) == {one.diff: one, other.diff: other}

    def test_is_not_what_claims_to_become_another_snapshot(self) -> None:
        assert kept(leftover(checkpoint(diff(1)), of=uuid(2))) == {}

    @pytest.mark.parametrize(
        ("was", "options", "made", "possible"),
        [
            (V1, V1, V1, True),
            (V1, V2, COMPRESSED, False),
            (V2, V1, V1, False),
            (V2, V2, V2, True),
            (V2, COMPRESSED, COMPRESSED, True),
            (COMPRESSED, COMPRESSED, COMPRESSED, True),
            (COMPRESSED, V2, COMPRESSED, True),
            (COMPRESSED, V2, V2, False),
        ],
    )
    def test_is_of_a_kind_of_stream_that_is_made_in_this_run(
        self, was: StreamOptions, options: StreamOptions, made: StreamOptions, *, possible: bool
    ) -> None:
        found = kept(leftover(checkpoint(diff(1), options=was)), made=made, options=options)
        assert bool(found) == possible

    @pytest.mark.parametrize(
        ("path", "directory", "possible"),
        [
            ("1", "", True),
            ("1", "deeper/", False),
            ("deeper/1", "deeper/", True),
            ("deeper/1", "", False),
        ],
    )
    def test_lies_where_its_snapshot_comes_to(
        self, path: str, directory: str, *, possible: bool
    ) -> None:
        found = kept(
            leftover(checkpoint(diff(1)), directory=directory), wanted=(snapshot(1, path=path),)
        )
        assert bool(found) == possible

    @pytest.mark.parametrize(("directory", "possible"), [("", True), ("deeper/", False)])
    def test_may_be_of_a_link_which_comes_to_the_top(
        self, directory: str, *, possible: bool
    ) -> None:
        assert bool(kept(leftover(checkpoint(diff(1)), directory=directory))) == possible


class TestSizesOfRests:
    @pytest.mark.parametrize("certainty", [c for c in Certainty if c is not Certainty.UNKNOWN])
    @pytest.mark.parametrize(("nbytes", "rest"), [(5000, 4000), (1000, 0), (400, 0)])
    def test_are_what_is_still_to_be_sent(
        self, nbytes: int, rest: int, certainty: Certainty
    ) -> None:
        here = {diff(1): checkpoint(diff(1))}
        assert rest_size(diff(1), Size(nbytes, certainty), here) == Size(rest, certainty)
        assert rest_size(diff(1, 2), Size(nbytes, certainty), here) == Size(nbytes, certainty)

    def test_stay_unknown(self) -> None:
        unknown = Size(7, Certainty.UNKNOWN)
        assert rest_size(diff(1), unknown, {diff(1): checkpoint(diff(1))}) == unknown

    @pytest.mark.parametrize(("limit", "asked"), [(None, None), (0, 1000), (5000, 6000)])
    def test_are_known_up_to_the_limit(self, limit: int | None, asked: int | None) -> None:
        here = {diff(1): checkpoint(diff(1))}
        for each, expected in ((diff(1), asked), (diff(2), limit)):
            measurement = Measurement(diff=each, limit=limit)
            assert rest_limit(measurement, here) == replace(measurement, limit=expected)


class TestAPlanThatGoesOn:
    STEPS = tuple(
        Transfer(
            snapshot=snapshot(n),
            diff=diff(n, n - 1 or None),
            path=f"{n}",
            size=Size(300),
            reason=Reason.CHEAPEST,
        )
        for n in (1, 2)
    )

    def test_says_what_from(self) -> None:
        here = checkpoint(diff(2, 1), 700)
        other = checkpoint(diff(1, 5))
        plan = with_resumptions(
            Plan(steps=self.STEPS), {here.diff: here, other.diff: other}, counted=True
        )
        first, second = plan.transfers
        assert first == self.STEPS[0]
        assert (second.resume, second.resumed_bytes) == (here, 700)
        assert (second.size, second.whole) == (Size(300), Size(1000))
        assert going_on(plan, uuid(2), here)
        assert not going_on(plan, uuid(1), other)
        assert not going_on(plan, uuid(1), here)
        assert not going_on(plan, uuid(2), None)
        assert not going_on(plan, None, here)
        assert not going_on(plan, uuid(2), checkpoint(diff(2, 1), 600))

    def test_may_have_counted_whole_streams(self) -> None:
        here = checkpoint(diff(1))
        plan = with_resumptions(Plan(steps=self.STEPS), {here.diff: here}, counted=False)
        assert (plan.transfers[0].resume, plan.transfers[0].resumed_bytes) == (here, 0)


class TestThePlanner:
    """It goes on exactly if that moves the fewest bytes."""

    @pytest.mark.parametrize(
        ("piece_bytes", "most"),
        [
            pytest.param(5000, 2, id="all is measured"),
            pytest.param(5_000_000, 1, id="measuring stops early"),
        ],
    )
    @pytest.mark.parametrize("seed", range(8))
    def test_moves_the_fewest_bytes_of_all_ways(
        self, seed: int, piece_bytes: int, most: int
    ) -> None:
        rng = Random(seed)
        contents = history(
            rng,
            count=4,
            pieces=4,
            added=2,
            removed=1,
            piece_bytes=lambda random: random.randrange(piece_bytes // 50, piece_bytes),
        )
        world = world_of(contents, there=rng.choice((0, 1)))
        snapshots = [s.uuid for s in world.request.source.snapshots]
        there = world.request.destination.by_uuid().keys()
        missing = [s for s in snapshots if s not in there]
        possible = [
            Diff(to, parent) for to in missing for parent in (None, *snapshots) if to != parent
        ]
        for begun in combinations(possible, most):
            if begun[0].to == begun[-1].to and most > 1:
                continue  # one snapshot has one place to be received in
            here = {each: rng.randrange(1, world.size(each)) for each in begun}
            plan = planned(world, here)
            assert plan.cost.nbytes == fewest_bytes(world, here)
            assert plan.cost.exact


def planned(world: World, here: Mapping[Diff, int]) -> Plan:
    """Plan as a run does that has found so many bytes of some diffs."""
    found = {each: checkpoint(each, nbytes) for each, nbytes in here.items()}

    def measure(measurement: Measurement) -> Size:
        size = world.measure(rest_limit(measurement, found))
        return rest_size(measurement.diff, size, found)

    plan = run(replace(world.request, resumable=frozenset(found)), measure)
    return with_resumptions(plan, found, counted=True)


def fewest_bytes(world: World, here: Mapping[Diff, int]) -> int:
    """Return the bytes of the best of all sets of diffs that bring what is missing.

    Those that a plan would never consider count if they were begun.
    """
    request = world.request
    there = request.destination.by_uuid()
    missing = [s for s in request.wanted if s.uuid not in there]
    considered = {*candidate_diffs(missing, request.source, there), *here}
    choices = [[each for each in considered if each.to == s.uuid] for s in missing]
    return min(
        sum(world.size(each) - here.get(each, 0) for each in chosen)
        for chosen in product(*choices)
        if can_be_brought(chosen, set(there))
    )


def can_be_brought(chosen: tuple[Diff, ...], there: set[UUID]) -> bool:
    """Tell whether the diffs can be sent in some order."""
    here, left = {None, *there}, set(chosen)
    while ready := {each for each in left if each.parent in here}:
        here |= {each.to for each in ready}
        left -= ready
    return not left
