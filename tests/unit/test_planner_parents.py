"""What an end keeps to itself: it can be built on, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from buttersink.model import ChainLimits, Diff, Inventory, Partial, Size, Snapshot
from buttersink.plan import Keep, Plan, Reason, Skip, Transfer
from buttersink.planning.healing import find_healing
from buttersink.planning.planner import make_plan, measurements
from buttersink.planning.request import Request
from support.planning_worlds import asking, diff, inventory, series, snapshot, storing

if TYPE_CHECKING:
    from collections.abc import Iterable


def secret(*snapshots: Snapshot) -> Inventory:
    """Return the facts of an end that keeps all of these to itself."""
    return Inventory(
        snapshots=tuple(replace(s, paths=(), elsewhere=()) for s in snapshots),
        parents_only=frozenset(s.uuid for s in snapshots),
    )


def parents(plan: Plan) -> dict[int, int | None]:
    """Return the snapshots that are sent, with what each builds on."""
    return {t.diff.to.int: t.diff.parent.int if t.diff.parent else None for t in plan.transfers}


def with_destination(snapshots: Iterable[Snapshot], destination: Inventory) -> Request:
    return replace(asking(tuple(snapshots)), destination=destination)


def test_what_is_wanted_is_sent_though_it_could_be_built_on_there() -> None:
    wanted = series(1)
    plan = make_plan(with_destination(wanted, secret(*wanted)), {})
    (step,) = plan.steps
    assert isinstance(step, Transfer)
    assert step.diff == diff(1)


def test_what_is_not_wanted_is_built_on() -> None:
    first, second = series(2)
    offered = (snapshot(1, paths=()), second)
    plan = make_plan(with_destination(offered, secret(first)), {})
    assert parents(plan) == {2: 1}
    assert plan.transfers[0].parent_path == "elsewhere/00001"


def test_what_is_kept_to_itself_serves_the_others_once_it_has_come() -> None:
    wanted = series(3)
    plan = make_plan(with_destination(wanted, secret(wanted[1])), {})
    assert parents(plan).keys() == {1, 2, 3}
    assert sum(parent is None for parent in parents(plan).values()) == 1


def test_what_is_wanted_but_has_no_place_is_skipped() -> None:
    wanted = snapshot(1, path="taken")
    request = with_destination([wanted], secret(wanted))
    plan = make_plan(replace(request, taken=frozenset({"taken"})), {})
    assert [type(step) for step in plan.steps] == [Skip]


def test_a_stored_stream_builds_on_it_too() -> None:
    request = Request(
        source=storing({(2, 1): 10}),
        destination=secret(snapshot(1)),
        wanted=(snapshot(2),),
    )
    assert parents(make_plan(request, {})) == {2: 1}


def test_a_stored_snapshot_is_restored_though_it_could_be_built_on_there() -> None:
    offered = storing({(1, None): 100, (2, 1): 10})
    request = Request(
        source=offered,
        destination=secret(snapshot(1)),
        wanted=offered.snapshots,
    )
    assert parents(make_plan(request, {})) == {1: None, 2: 1}


def test_what_the_source_keeps_to_itself_is_a_parent_with_its_path_at_the_destination() -> None:
    first, second = series(2)
    hidden = secret(first)
    request = Request(
        source=replace(hidden, snapshots=(*hidden.snapshots, second)),
        destination=inventory([replace(first, paths=("old",))]),
        wanted=(second,),
    )
    plan = make_plan(request, {})
    assert parents(plan) == {2: 1}
    assert plan.transfers[0].parent_path == "old"


def test_what_the_source_keeps_to_itself_is_never_measured() -> None:
    first, second = series(2)
    hidden = secret(first)
    request = Request(
        source=replace(hidden, snapshots=(*hidden.snapshots, second)),
        destination=storing({(1, None): 1000}),
        wanted=(second,),
        limits=ChainLimits(links=60, factor=2.0),
    )
    sizes: dict[Diff, Size] = {}
    plan = make_plan(request, sizes)
    asked = []
    while todo := measurements(request, sizes, plan):
        asked += [m.diff.to.int for m in todo]
        sizes.update((m.diff, Size(600)) for m in todo)
        plan = make_plan(request, sizes)
    assert set(asked) == {2}


def test_a_lost_link_that_the_source_keeps_to_itself_is_not_sent_again() -> None:
    first, second = series(2)
    hidden = secret(first)
    request = Request(
        source=replace(hidden, snapshots=(*hidden.snapshots, second)),
        destination=storing({(2, 1): 10}),
        wanted=(second,),
        limits=ChainLimits(links=60, factor=2.0),
    )
    assert find_healing(request) is None
    whole = replace(request, source=inventory([first, second]))
    assert find_healing(whole) is not None


def test_leftover_links_stay_where_nothing_may_be_removed() -> None:
    link = snapshot(1, paths=())
    destination = replace(
        inventory([link]), partials=(Partial(path=".link", uuid=link.uuid, link=True),)
    )
    request = Request(
        source=storing({(1, None): 5, (2, 1): 5, (3, 2): 5}),
        destination=destination,
        wanted=(snapshot(3),),
    )
    assert {r.uuid.int for r in make_plan(request, {}).releases} == {1, 2}
    gentle = make_plan(replace(request, may_remove=False), {})
    assert {r.uuid.int for r in gentle.releases} == {2}
    assert [t.reason for t in gentle.transfers] == [Reason.LINK, Reason.STORED]


def test_what_is_in_the_directory_is_kept_whatever_else_is_secret() -> None:
    first, second = series(2)
    hidden = secret(first)
    there = replace(hidden, snapshots=(*hidden.snapshots, second))
    plan = make_plan(with_destination([first, second], there), {})
    assert [type(step) for step in plan.steps] == [Keep, Transfer]
    assert parents(plan) == {1: 2}
