"""Which diffs are considered."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from buttersink.model import Diff
from buttersink.planning.candidates import candidate_diffs
from support.planning_worlds import inventory, series, snapshot, uuid

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from random import Random

    from buttersink.model import Snapshot


def parents(
    of: int,
    *,
    snapshots: Sequence[Snapshot],
    there: Collection[int] = (),
    unwanted: Collection[int] = (),
) -> set[int | None]:
    diffs = candidates(snapshots, there=there, unwanted=unwanted)
    return {d.parent.int if d.parent else None for d in diffs if d.to == uuid(of)}


def candidates(
    snapshots: Iterable[Snapshot],
    *,
    there: Collection[int] = (),
    unwanted: Collection[int] = (),
) -> tuple[Diff, ...]:
    everything = tuple(snapshots)
    wanted = [s for s in everything if s.uuid.int not in unwanted]
    return candidate_diffs(wanted, inventory(everything), {uuid(n) for n in there})


def test_the_neighbours_in_time_and_the_full_stream_are_considered() -> None:
    assert parents(3, snapshots=series(5)) == {None, 2, 4}


def test_what_the_destination_has_gets_no_diffs() -> None:
    diffs = candidates(series(3), there={1, 3})
    assert {d.to for d in diffs} == {uuid(2)}


def test_the_nearest_at_the_destination_are_considered_beside_the_nearest() -> None:
    assert parents(4, snapshots=series(7), there={1, 2, 7}) == {None, 2, 3, 5, 7}


def test_what_is_neither_wanted_nor_at_the_destination_is_no_parent() -> None:
    assert parents(3, snapshots=series(5), unwanted={2, 4}) == {None, 1, 5}


def test_a_snapshot_outside_the_source_directory_can_be_a_parent_if_the_destination_has_it() -> (
    None
):
    outside = snapshot(1, paths=())
    assert parents(2, snapshots=[outside, snapshot(2)], there={1}, unwanted={1}) == {None, 1}


def test_what_only_the_destination_has_is_no_parent() -> None:
    assert parents(2, snapshots=[snapshot(2)], there={1}) == {None}


def test_other_lineages_are_never_considered() -> None:
    one, other = series(3, lineage="a"), series(3, lineage="b", start=11)
    mixed = [replace(s, generation=s.uuid.int % 10) for s in (*one, *other)]
    kin = {s.uuid: s.lineage for s in mixed}
    diffs = candidates(mixed)
    assert all(kin[d.to] == kin[d.parent] for d in diffs if d.parent is not None)
    assert Counter(d.parent is None for d in diffs) == {True: 6, False: 8}


def test_not_even_ancestors_count_across_lineages() -> None:
    snapshots = [
        snapshot(1, lineage="a", branch=7),
        snapshot(2, lineage="b", branch=7, ancestor=1),
    ]
    assert candidates(snapshots) == (Diff(uuid(1)), Diff(uuid(2)))


def test_without_a_lineage_only_known_relations_count() -> None:
    snapshots = [
        snapshot(1, lineage=None),
        snapshot(2, lineage=None),
        snapshot(3, lineage=None, ancestor=1),
        snapshot(4, lineage=None, branch=5),
        snapshot(5, lineage=None, branch=5),
    ]
    assert parents(2, snapshots=snapshots) == {None}
    assert parents(3, snapshots=snapshots) == {None, 1}
    assert parents(1, snapshots=snapshots) == {None, 3}
    assert parents(5, snapshots=snapshots) == {None, 4}


def test_the_order_at_the_origin_counts_too() -> None:
    snapshots = [snapshot(n, origin=n * 3 % 7) for n in range(1, 7)]  # origins 3 6 2 5 1 4
    assert parents(1, snapshots=snapshots) == {None, 2, 3, 6}


def test_siblings_of_one_subvolume_are_neighbours_across_others_between_them() -> None:
    snapshots = [snapshot(n, branch=n % 2) for n in range(1, 8)]
    assert parents(4, snapshots=snapshots) == {None, 2, 3, 5, 6}


def test_the_nearest_usable_ancestor_and_descendant_are_found_over_unusable_ones() -> None:
    snapshots = [snapshot(n, lineage=None, ancestor=n - 1) for n in range(1, 7)]
    assert parents(5, snapshots=snapshots, unwanted={2, 3, 4}) == {None, 1, 6}
    assert parents(1, snapshots=snapshots, unwanted={2, 3, 4}) == {None, 5}


def test_the_nearest_ancestor_and_descendant_at_the_destination_are_found_too() -> None:
    snapshots = [
        *(snapshot(n, lineage=None, ancestor=n - 1) for n in range(1, 5)),
        snapshot(5, lineage=None, ancestor=3),
    ]
    assert parents(3, snapshots=snapshots, there={1, 5}) == {None, 1, 2, 4, 5}


def test_ancestors_in_a_circle_do_no_harm() -> None:
    snapshots = [snapshot(1, lineage=None, ancestor=2), snapshot(2, lineage=None, ancestor=1)]
    assert parents(1, snapshots=snapshots) == {None, 2}
    lost = [*snapshots, snapshot(3, lineage=None, ancestor=1)]
    assert parents(3, snapshots=lost, unwanted={1, 2}) == {None}


def test_a_tie_in_time_is_broken_by_identity() -> None:
    snapshots = [snapshot(n, generation=1) for n in (1, 2, 3)]
    assert parents(3, snapshots=snapshots) == {None, 2}


any_snapshot = st.builds(
    snapshot,
    st.integers(1, 30),
    generation=st.integers(1, 8),
    origin=st.integers(1, 8),
    lineage=st.sampled_from([None, "a", "b"]),
    branch=st.sampled_from([None, 1, 2]),
    ancestor=st.none() | st.integers(1, 30),
)
any_snapshots = st.lists(any_snapshot, max_size=20, unique_by=lambda s: s.uuid)


@given(any_snapshots, st.sets(st.integers(1, 30)), st.randoms(use_true_random=False))
def test_the_order_of_the_facts_does_not_matter(
    snapshots: list[Snapshot], there: set[int], random: Random
) -> None:
    shuffled = list(snapshots)
    random.shuffle(shuffled)
    assert candidates(shuffled, there=there) == candidates(snapshots, there=there)


@given(any_snapshots, st.sets(st.integers(1, 30)), st.sets(st.integers(1, 30)))
def test_there_are_few_for_each_snapshot_and_all_can_be_made(
    snapshots: list[Snapshot], there: set[int], unwanted: set[int]
) -> None:
    diffs = candidates(snapshots, there=there, unwanted=unwanted)
    known = {s.uuid: s for s in snapshots}
    assert len(diffs) == len(set(diffs))
    assert max(Counter(d.to for d in diffs).values(), default=0) <= 17
    fulls = {d.to.int for d in diffs if d.parent is None}
    assert fulls == {n.int for n in known} - there - unwanted
    for diff in diffs:
        if diff.parent is not None:
            assert diff.parent != diff.to
            assert diff.parent.int in there or diff.parent.int not in unwanted
            assert len({known[diff.to].lineage, known[diff.parent].lineage} - {None}) <= 1
