"""What a plan contains, with sizes given."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from buttersink.model import Certainty, Diff, Size, Snapshot, StreamOptions
from buttersink.plan import Adopt, Delete, Keep, Plan, Reason, Skip, Transfer
from buttersink.planning.planner import make_plan, measurements
from support.planning_worlds import asking, diff, series, snapshot, uuid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buttersink.planning.request import Request


def sized(sizes: Mapping[tuple[int, int | None], int]) -> dict[Diff, Size]:
    return {diff(*ends): Size(nbytes) for ends, nbytes in sizes.items()}


def sends(plan: Plan) -> list[tuple[int, int | None]]:
    """Return (snapshot, parent) of each transfer, in order."""
    ends = ((t.diff.to, t.diff.parent) for t in plan.transfers)
    return [(to.int, parent.int if parent else None) for to, parent in ends]


def skips(plan: Plan) -> dict[int, Skip]:
    return {s.snapshot.uuid.int: s for s in plan.steps if isinstance(s, Skip)}


# What happens to each snapshot


def test_what_the_destination_directory_has_is_kept_at_its_first_path() -> None:
    held = snapshot(1, paths=("a", "b"))
    plan = make_plan(asking([snapshot(1, path="c")], there=[held], taken=["c"]), {})
    assert plan.steps == (Keep(snapshot=snapshot(1, path="c"), path="a"),)


def test_what_the_file_system_has_elsewhere_is_adopted_at_the_path_of_the_source() -> None:
    wanted = snapshot(1, path="x/y")
    plan = make_plan(asking([wanted], there=[snapshot(1, paths=())]), {})
    assert plan.steps == (Adopt(snapshot=wanted, path="x/y"),)


def test_the_first_of_all_is_sent_in_full_and_what_follows_incrementally() -> None:
    first, second = series(2)
    sizes = sized({(1, None): 100, (2, None): 110, (2, 1): 10, (1, 2): 5})
    assert make_plan(asking([first, second]), sizes).steps == (
        Transfer(
            snapshot=first,
            diff=diff(1),
            path="00001",
            size=Size(100),
            reason=Reason.FIRST,
        ),
        Transfer(
            snapshot=second,
            diff=diff(2, 1),
            path="00002",
            size=Size(10),
            reason=Reason.CHEAPEST,
            parent_path="00001",
        ),
    )


def test_a_snapshot_without_kin_is_sent_in_full_because_nothing_else_is_possible() -> None:
    plan = make_plan(asking([snapshot(1, lineage="a"), snapshot(2, lineage="b")]), {})
    assert [t.reason for t in plan.transfers] == [Reason.ONLY_FULL, Reason.ONLY_FULL]


def test_a_full_send_that_is_cheaper_than_any_diff_is_chosen() -> None:
    first, second = series(2)
    plan = make_plan(asking([first, second], there=[first]), sized({(2, None): 9, (2, 1): 10}))
    assert sends(plan) == [(2, None)]
    assert plan.transfers[0].reason is Reason.FULL_CHEAPEST


def test_a_parent_outside_the_destination_directory_serves_as_well() -> None:
    first, second = series(2)
    elsewhere = snapshot(1, paths=())
    plan = make_plan(
        replace(asking([first, second], there=[elsewhere]), wanted=(second,)),
        sized({(2, None): 100, (2, 1): 10}),
    )
    assert sends(plan) == [(2, 1)]
    assert plan.transfers[0].parent_path == first.path


def test_a_later_snapshot_can_be_the_parent_of_an_earlier_one() -> None:
    snapshots = series(3)
    sizes = sized({(1, None): 90, (2, None): 90, (2, 1): 80, (1, 2): 80, (1, 3): 85, (2, 3): 5})
    plan = make_plan(asking(snapshots, there=[snapshots[2]]), sizes)
    assert sends(plan) == [(2, 3), (1, 2)]


def test_the_whole_is_optimised_and_not_each_snapshot_by_itself() -> None:
    # Each alone would take the other as its parent, and nothing would be there to start with.
    sizes = sized({(1, None): 100, (2, None): 70, (2, 1): 10, (1, 2): 30})
    plan = make_plan(asking(series(2)), sizes)
    assert sends(plan) == [(2, None), (1, 2)]
    assert plan.cost == Size(100)


def test_two_clusters_are_crossed_nowhere_if_that_costs_more_than_starting_anew() -> None:
    snapshots = series(6)
    sizes = {diff(n + d, n): Size(5) for n in range(1, 7) for d in (-1, 1)}
    sizes |= {diff(n): Size(100) for n in range(1, 7)}
    sizes |= sized({(4, 3): 150, (3, 4): 150})
    plan = make_plan(asking(snapshots), sizes)
    assert sends(plan) == [(1, None), (2, 1), (3, 2), (4, None), (5, 4), (6, 5)]


def test_the_worked_example_of_the_documentation() -> None:
    monday, tuesday, wednesday = series(3)
    thursday = snapshot(4, ancestor=2)
    megabytes = {
        (2, None): 900,
        (2, 1): 6,
        (2, 3): 5,
        (2, 4): 4,
        (3, None): 8900,
        (3, 1): 8006,
        (3, 2): 8000,
        (3, 4): 8000,
        (4, None): 900,
        (4, 1): 12,
        (4, 2): 7,
        (4, 3): 9,
    }
    request = asking([monday, tuesday, wednesday, thursday], there=[monday])
    assert sends(make_plan(request, sized(megabytes))) == [(2, 1), (3, 2), (4, 2)]


# Where it goes


def test_the_first_free_path_of_the_source_is_used() -> None:
    plan = make_plan(asking([snapshot(1, paths=("a", "b"))], taken=["a"]), {})
    assert plan.transfers[0].path == "b"


def test_a_snapshot_goes_to_one_path_even_if_several_are_free() -> None:
    plan = make_plan(asking([snapshot(1, paths=("a", "b"))]), {})
    assert [t.path for t in plan.transfers] == ["a"]


def test_a_snapshot_all_of_whose_paths_are_taken_is_skipped_and_said_why() -> None:
    plan = make_plan(asking([snapshot(1, paths=("a", "b"))], taken=["b", "a"]), {})
    skip = skips(plan)[1]
    assert (skip.reason, skip.path) == (Reason.PATH_TAKEN, "a")
    assert "'a' exists in the destination" in skip.detail


def test_an_adoption_never_replaces_anything_either() -> None:
    there = [snapshot(1, paths=()), snapshot(2, path="a", lineage="other")]
    plan = make_plan(asking([snapshot(1, path="a")], there=there), {})
    assert skips(plan)[1].reason is Reason.PATH_TAKEN


def test_a_path_that_this_run_frees_at_its_end_is_for_the_next_run() -> None:
    request = asking([snapshot(1, path="a")], there=[snapshot(2, path="a")], taken=["a"])
    plan = make_plan(replace(request, delete=True), {})
    assert [d.path for d in plan.deletes] == ["a"]
    assert "run again" in skips(plan)[1].detail


def test_two_snapshots_never_go_to_the_same_path() -> None:
    plan = make_plan(asking([snapshot(1, path="a"), snapshot(2, path="a")]), {})
    assert [t.snapshot.uuid.int for t in plan.transfers] == [1]
    assert skips(plan)[2].reason is Reason.PATH_TAKEN


def test_nothing_goes_inside_a_snapshot_that_is_sent_too() -> None:
    plan = make_plan(asking([snapshot(1, path="a/b/c"), snapshot(2, path="a")]), {})
    assert [t.path for t in plan.transfers] == ["a"]
    assert skips(plan)[1].reason is Reason.INSIDE_SNAPSHOT
    assert "'a'" in skips(plan)[1].detail


def test_nothing_goes_inside_a_snapshot_of_the_destination() -> None:
    plan = make_plan(asking([snapshot(1, path="a/b")], there=[snapshot(9, path="a")]), {})
    assert skips(plan)[1].reason is Reason.INSIDE_SNAPSHOT


def test_a_name_that_only_begins_like_a_snapshot_is_not_inside_it() -> None:
    plan = make_plan(asking([snapshot(1, path="a"), snapshot(2, path="a-b"), snapshot(3)]), {})
    assert skips(plan) == {}


def test_the_outer_path_wins_even_if_it_is_an_alternative() -> None:
    one, other = snapshot(1, paths=("b", "c/d")), snapshot(2, path="c")
    plan = make_plan(asking([one, other], taken=["b"]), {})
    assert [t.path for t in plan.transfers] == ["c"]
    assert skips(plan)[1].reason is Reason.PATH_TAKEN


def test_a_skipped_snapshot_is_no_parent() -> None:
    snapshots = series(3)
    sizes = sized({(3, 2): 1, (3, 1): 50, (2, 1): 1, (3, None): 99, (2, None): 99, (1, None): 99})
    plan = make_plan(asking(snapshots, there=[snapshots[0]], taken=["00002"]), sizes)
    assert sends(plan) == [(3, 1)]


# Sizes that are not known


def test_without_any_sizes_the_plan_is_the_chain_of_nearest_predecessors() -> None:
    plan = make_plan(asking(series(5)), {})
    assert sends(plan) == [(1, None), (2, 1), (3, 2), (4, 3), (5, 4)]
    assert plan.cost == Size(0, Certainty.AT_LEAST)


def test_unknown_and_estimated_sizes_give_a_full_plan_that_needs_no_measuring() -> None:
    request = asking(series(4))
    guesses = {
        diff(to, parent): Size(9 * abs(to - (parent or 99)), certainty)
        for to in range(1, 5)
        for parent in (None, 1, 2, 3, 4)
        for certainty in [Certainty.ESTIMATE if to % 2 else Certainty.UNKNOWN]
    }
    plan = make_plan(request, guesses)
    assert len(plan.transfers) == 4
    assert measurements(request, guesses, plan) == ()


def test_a_lower_bound_counts_as_more_than_what_it_excludes() -> None:
    first, second = series(2)
    sizes = {diff(2): Size(10), diff(2, 1): Size(10, Certainty.AT_LEAST)}
    assert sends(make_plan(asking([first, second], there=[first]), sizes)) == [(2, None)]


def test_a_diff_that_failed_is_not_planned_again() -> None:
    request = replace(asking(series(2)), impossible=frozenset({diff(2, 1)}))
    assert diff(2, 1) not in {t.diff for t in make_plan(request, {}).transfers}


def test_around_a_snapshot_that_cannot_be_read_its_neighbours_are_used() -> None:
    broken = frozenset({diff(2), diff(2, 1), diff(2, 3), diff(1, 2), diff(3, 2)})
    plan = make_plan(replace(asking(series(3)), impossible=broken), {})
    assert sends(plan) == [(1, None), (3, 1)]
    assert skips(plan)[2].reason is Reason.UNREACHABLE


# Ties and order


def test_of_equal_parents_the_nearest_in_time_is_chosen() -> None:
    snapshots = series(6)
    there = [snapshots[n] for n in (0, 2, 5)]
    sizes = {diff(to, parent): Size(7) for to in range(1, 7) for parent in (None, *range(1, 7))}
    plan = make_plan(replace(asking(snapshots, there=there), wanted=(snapshots[3],)), sizes)
    assert sends(plan) == [(4, 3)]


def test_of_two_as_near_the_earlier_is_chosen_and_a_full_send_last() -> None:
    snapshots = series(3)
    sizes = {diff(2, parent): Size(7) for parent in (None, 1, 3)}
    plan = make_plan(asking(snapshots, there=[snapshots[0], snapshots[2]]), sizes)
    assert sends(plan) == [(2, 1)]


def test_bytes_count_before_all_else() -> None:
    snapshots = series(40)
    sizes = sized({(40, 39): 8, (40, 1): 8, (40, None): 7})
    there = snapshots[:39]
    assert sends(make_plan(asking(snapshots, there=there), sizes)) == [(40, None)]


def test_steps_are_kept_and_adopted_ones_by_time_then_parents_before_children() -> None:
    snapshots = series(6)
    there = [snapshots[5], snapshot(1, paths=()), snapshot(4, path="4")]
    sizes = sized({(2, 3): 1, (3, 4): 1, (5, None): 1})
    others = {diff(to, parent): Size(50) for to in range(1, 7) for parent in (None, *range(1, 7))}
    plan = make_plan(asking(snapshots, there=there), others | sizes)
    kinds = [(type(step).__name__, step.snapshot.uuid.int) for step in plan.steps]
    assert kinds == [
        ("Adopt", 1),
        ("Keep", 4),
        ("Keep", 6),
        ("Transfer", 3),
        ("Transfer", 2),
        ("Transfer", 5),
    ]


def test_a_chain_of_two_thousand_links_needs_no_recursion() -> None:
    plan = make_plan(asking(series(2000)), {})
    assert sends(plan) == [(1, None), *((n, n - 1) for n in range(2, 2001))]


# Deletions


def deleting(there: Sequence[Snapshot], source: Sequence[Snapshot] = ()) -> Request:
    return replace(asking(source, there=there), delete=True)


def test_nothing_is_deleted_unless_asked() -> None:
    assert make_plan(asking([], there=series(2)), {}).deletes == ()


def test_what_the_source_directory_lacks_is_deleted_at_each_of_its_paths() -> None:
    plan = make_plan(deleting([snapshot(1, paths=("a", "b")), snapshot(2, paths=())]), {})
    assert plan.deletes == (Delete(uuid=uuid(1), path="a"), Delete(uuid=uuid(1), path="b"))


def test_what_the_source_has_outside_its_directory_is_deleted() -> None:
    outside = snapshot(1, paths=())
    assert len(make_plan(deleting([snapshot(1)], [outside]), {}).deletes) == 1


def test_what_the_source_directory_has_stays_even_if_it_is_not_wanted() -> None:
    request = replace(deleting([snapshot(1)], [snapshot(1)]), wanted=())
    assert make_plan(request, {}).deletes == ()


def test_protected_identities_and_paths_stay() -> None:
    request = replace(
        deleting([snapshot(1), snapshot(2, paths=("a", "b")), snapshot(3)]),
        protected=frozenset({uuid(1)}),
        protected_paths=frozenset({"b"}),
    )
    assert [d.path for d in make_plan(request, {}).deletes] == ["00003", "a"]


def test_nested_snapshots_are_deleted_before_the_outer_one() -> None:
    paths = ["a", "a/b", "a-b", "a/b/c", "b"]
    there = [snapshot(n, path=path) for n, path in enumerate(paths, start=1)]
    deletes = make_plan(deleting(there), {}).deletes
    assert [d.path for d in deletes] == ["a/b/c", "a/b", "a", "a-b", "b"]


def test_the_options_are_passed_on() -> None:
    options = StreamOptions(version=2, compressed=True)
    assert make_plan(replace(asking([]), options=options), {}).options == options
