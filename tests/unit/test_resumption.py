"""What a run makes of what interrupted transfers have left: which can be gone on with, and when."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product
from random import Random
from typing import TYPE_CHECKING

import pytest

from buttersink.model import (
    Checkpoint,
    Diff,
    Inventory,
    Partial,
    Position,
    Size,
    Span,
    StreamOptions,
)
from buttersink.plan import Plan, Reason, Transfer
from buttersink.planning.candidates import candidate_diffs
from buttersink.resumption import going_on, kept_of, with_resumptions
from support.planning_worlds import diff, history, run, snapshot, uuid, world_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
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


class TestAPlanThatGoesOn:
    STEPS = tuple(
        Transfer(
            snapshot=snapshot(n),
            diff=diff(n, n - 1 or None),
            path=f"{n}",
            size=Size(1000),
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
        assert first.whole == first.size
        assert (second.resume, second.resumed_bytes) == (here, 700)
        assert (second.size, second.whole) == (Size(300), Size(1000))
        assert going_on(plan, leftover(here))
        assert not going_on(plan, leftover(other))
        assert not going_on(plan, leftover(here, of=uuid(1)))
        assert not going_on(plan, leftover(here, directory="deeper/"))
        assert not going_on(plan, Partial(path=".leftover", uuid=uuid(2)))
        assert not going_on(plan, leftover(checkpoint(diff(2, 1), 600)))

    def test_may_have_counted_whole_streams(self) -> None:
        here = checkpoint(diff(1))
        plan = with_resumptions(Plan(steps=self.STEPS), {here.diff: here}, counted=False)
        assert (plan.transfers[0].resume, plan.transfers[0].resumed_bytes) == (here, 0)


class TestThePlanner:
    """It goes on if that moves fewer bytes."""

    @pytest.mark.parametrize("seed", range(8))
    def test_moves_the_fewest_bytes_of_all_ways_if_all_is_measured(self, seed: int) -> None:
        rng = Random(seed)
        for world, here in begun_worlds(rng, piece_bytes=5000, most=2):
            plan = planned(world, here)
            assert plan.cost.nbytes == fewest_bytes(world, here)
            assert plan.cost.exact

    @pytest.mark.parametrize("seed", range(8))
    def test_never_moves_more_than_if_it_had_not_looked(self, seed: int) -> None:
        rng = Random(seed)
        for world, here in begun_worlds(rng, piece_bytes=5_000_000, most=1):
            plan = planned(world, here)
            without = run(world.request, world.measure)
            saved = sum(here.get(transfer.diff, 0) for transfer in without.transfers)
            assert plan.cost.nbytes <= without.cost.nbytes - saved
            assert plan.cost.nbytes >= fewest_bytes(world, here)
            assert plan.cost.exact


def begun_worlds(
    rng: Random, *, piece_bytes: int, most: int
) -> Iterator[tuple[World, dict[Diff, int]]]:
    """Yield worlds in which some transfers were interrupted, with how far they had come."""
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
    possible = [Diff(to, parent) for to in missing for parent in (None, *snapshots) if to != parent]
    for begun in combinations(possible, most):
        if begun[0].to == begun[-1].to and most > 1:
            continue  # one snapshot has one place to be received in
        yield world, {each: rng.randrange(1, world.size(each)) for each in begun}


def planned(world: World, here: Mapping[Diff, int]) -> Plan:
    """Plan as a run does that has found so many bytes of some diffs."""
    found = {each: checkpoint(each, nbytes) for each, nbytes in here.items()}
    plan = run(replace(world.request, begun=here), world.measure)
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
