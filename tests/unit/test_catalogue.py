"""From subvolumes, made by hand, to what other ends may know of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.btrfs.subvolumes import Quota, Subvolume
from buttersink.model import Partial
from buttersink.stores.catalogue import make_catalogue, staged_name, work_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from random import Random

    from buttersink.model import Snapshot
    from buttersink.stores.catalogue import Catalogue

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


def own(number: int) -> UUID:
    """Return the uuid of the subvolume with this id."""
    return UUID(int=number)


def foreign(number: int) -> UUID:
    """Return the uuid of a snapshot on another machine."""
    return UUID(int=1 << 64 | number)


def subvolume(
    number: int,
    path: str,
    *,
    readonly: bool = True,
    received: UUID | None = None,
    parent: int | None = None,
) -> Subvolume:
    """Return a subvolume whose facts are all told by its number."""
    return Subvolume(
        treeid=number,
        path=path,
        uuid=own(number),
        parent_uuid=None if parent is None else own(parent),
        received_uuid=received,
        generation=1000 + number,
        ctransid=2000 + number,
        otransid=3000 + number,
        stransid=4000 + number if received else 0,
        rtransid=5000 + number if received else 0,
        flags=int(readonly),
        bytes_used=6000 + number,
        ctime=EPOCH + timedelta(days=number),
        otime=EPOCH + timedelta(hours=number),
        stime=EPOCH,
        rtime=EPOCH,
    )


def without_uuid(number: int, path: str) -> Subvolume:
    """Return a snapshot as Linux before 3.6 made them."""
    made = subvolume(number, path)
    names = set(Subvolume.__dataclass_fields__) - {"uuid"}
    return Subvolume(uuid=None, **{name: getattr(made, name) for name in names})


def catalogue(
    *subvolumes: Subvolume, directory: str = "", changed: Collection[int] = ()
) -> Catalogue:
    return make_catalogue(
        (subvolume(5, "", readonly=False), *subvolumes),
        directory=directory,
        lineages={s.treeid: f"lineage {s.treeid}" for s in subvolumes},
        changed=changed,
        quotas={},
    )


def snapshots(*subvolumes: Subvolume, directory: str = "") -> tuple[Snapshot, ...]:
    return catalogue(*subvolumes, directory=directory).inventory.snapshots


class TestIdentity:
    def test_is_the_own_uuid_of_what_was_made_here(self) -> None:
        (snapshot,) = snapshots(subvolume(256, "a"))
        assert (snapshot.uuid, snapshot.received) == (own(256), False)

    def test_is_the_received_uuid_of_what_came_from_elsewhere(self) -> None:
        (snapshot,) = snapshots(subvolume(256, "a", received=foreign(1)))
        assert (snapshot.uuid, snapshot.received) == (foreign(1), True)

    def test_makes_one_snapshot_of_several_paths(self) -> None:
        found = catalogue(
            subvolume(258, "snaps/b", received=foreign(1)),
            subvolume(257, "elsewhere", received=foreign(1)),
            subvolume(256, "snaps/a", received=foreign(1), parent=258),
            directory="snaps",
        )
        (snapshot,) = found.inventory.snapshots
        assert snapshot.paths == ("a", "b")
        assert snapshot.elsewhere == ("elsewhere",)
        assert [s.treeid for s in found.copies[foreign(1)]] == [256, 258, 257]
        assert found.inventory.problems == ()

    def test_joins_an_original_with_what_came_back(self) -> None:
        (snapshot,) = snapshots(subvolume(256, "a"), subvolume(257, "b", received=own(256)))
        assert snapshot.uuid == own(256)
        assert snapshot.paths == ("a", "b")
        assert not snapshot.received

    def test_of_what_was_changed_is_its_own_and_is_reported(self) -> None:
        found = catalogue(
            subvolume(256, "snaps/good", received=foreign(1)),
            subvolume(257, "snaps/flipped", received=foreign(1)),
            directory="snaps",
            changed={257},
        )
        flipped, good = found.inventory.snapshots
        assert (flipped.uuid, flipped.path, flipped.received) == (own(257), "flipped", False)
        assert (good.uuid, good.path, good.received) == (foreign(1), "good", True)
        (problem,) = found.inventory.problems
        assert problem.path == "flipped"
        assert str(foreign(1)) in problem.message

    def test_of_what_has_none_is_reported_instead(self) -> None:
        found = catalogue(without_uuid(256, "snaps/old"), directory="snaps")
        assert found.inventory.snapshots == ()
        (problem,) = found.inventory.problems
        assert problem.path == "old"
        assert "no uuid" in problem.message

    def test_problems_outside_the_directory_are_named_from_the_top(self) -> None:
        found = catalogue(
            without_uuid(256, "old"),
            subvolume(257, "flipped", received=foreign(1)),
            directory="snaps",
            changed={257},
        )
        assert [problem.path for problem in found.inventory.problems] == ["flipped", "old"]

    def test_problems_of_the_same_name_have_an_order(self) -> None:
        both = (
            subvolume(256, "a", received=foreign(1)),
            subvolume(257, "snaps/a", received=foreign(2)),
        )
        one, other = (
            catalogue(*order, directory="snaps", changed={256, 257}) for order in (both, both[::-1])
        )
        assert one.inventory == other.inventory


class TestFacts:
    def test_of_an_original(self) -> None:
        (snapshot,) = snapshots(subvolume(256, "a", parent=7))
        assert snapshot.created == EPOCH + timedelta(hours=256)
        assert (snapshot.generation, snapshot.origin_generation) == (3256, 3256)
        assert snapshot.parent_uuid == own(7)
        assert snapshot.lineage == "lineage 256"
        assert snapshot.metadata_bytes == 6256
        assert (snapshot.total, snapshot.exclusive) == (None, None)

    def test_of_a_received_one_have_the_senders_generation(self) -> None:
        (snapshot,) = snapshots(subvolume(256, "a", received=foreign(1)))
        assert (snapshot.generation, snapshot.origin_generation) == (3256, 4256)

    def test_of_a_changed_one_have_only_generations_of_its_own(self) -> None:
        found = catalogue(subvolume(256, "a", received=foreign(1)), changed={256})
        (snapshot,) = found.inventory.snapshots
        assert (snapshot.generation, snapshot.origin_generation) == (3256, 3256)

    def test_hold_the_numbers_that_quotas_know(self) -> None:
        found = make_catalogue(
            [subvolume(256, "a"), subvolume(257, "b")],
            directory="",
            lineages={},
            changed=(),
            quotas={256: Quota(referenced=100, exclusive=0)},
        )
        known, unknown = found.inventory.snapshots
        assert (known.total, known.exclusive) == (100, 0)
        assert (unknown.total, unknown.exclusive) == (None, None)
        assert known.lineage is None

    def test_are_those_of_the_first_copy_below_the_directory(self) -> None:
        (snapshot,) = snapshots(
            subvolume(256, "a", received=foreign(1)),
            subvolume(257, "snaps/z", received=foreign(1)),
            directory="snaps",
        )
        assert snapshot.generation == 3257


class TestPartials:
    @pytest.mark.parametrize("name", [work_name(foreign(1)), staged_name(foreign(1))])
    @pytest.mark.parametrize("readonly", [False, True])
    def test_are_never_snapshots_whatever_is_in_them(self, name: str, *, readonly: bool) -> None:
        found = catalogue(
            subvolume(256, f"snaps/{name}", readonly=readonly, received=foreign(1)),
            subvolume(257, f"snaps/{name}/parent", received=foreign(2)),
            subvolume(258, f"snaps/{name}/new", readonly=False),
            subvolume(259, f"snaps/{name}/new/{work_name(foreign(3))}", readonly=False),
            directory="snaps",
        )
        assert found.inventory.snapshots == ()
        assert found.inventory.partials == (Partial(path=name, uuid=foreign(1)),)
        assert found.inventory.writable == 0
        assert found.copies == {}

    def test_are_sorted_and_found_at_any_depth(self) -> None:
        found = catalogue(
            subvolume(256, f"snaps/b/{work_name(foreign(1))}", readonly=False),
            subvolume(257, f"snaps/a/{work_name(foreign(2))}", readonly=False),
            directory="snaps",
        )
        assert [partial.uuid for partial in found.inventory.partials] == [foreign(2), foreign(1)]

    def test_outside_of_the_directory_are_left_alone(self) -> None:
        found = catalogue(
            subvolume(256, work_name(foreign(1)), readonly=False),
            subvolume(257, f"{work_name(foreign(1))}/parent", received=foreign(2)),
            subvolume(258, f"snaps2/{work_name(foreign(3))}", readonly=False),
            directory="snaps",
        )
        assert found.inventory.partials == ()
        assert found.inventory.snapshots == ()

    @pytest.mark.parametrize(
        "name",
        [
            f".buttersink-{foreign(1)}",
            f".buttersink-{foreign(1)}.part2",
            f"x.buttersink-{foreign(1)}.part",
            f".buttersink-{str(foreign(0xABCDEF)).upper()}.part",
            ".buttersink-.part",
            f".buttersink-{foreign(1)}.part\n",
            "snapshot.part",
        ],
    )
    def test_have_no_name_but_ours(self, name: str) -> None:
        found = catalogue(subvolume(256, name))
        assert found.inventory.partials == ()
        assert [snapshot.path for snapshot in found.inventory.snapshots] == [name]


class TestDirectory:
    def test_ends_at_a_slash_and_not_at_a_prefix(self) -> None:
        found = catalogue(
            subvolume(256, "snaps/a"),
            subvolume(257, "snaps2/b"),
            subvolume(258, "snaps2", readonly=False),
            subvolume(259, "snaps ", readonly=False),
            subvolume(260, "x/snaps/c"),
            directory="snaps",
        )
        places = {s.uuid: (s.paths, s.elsewhere) for s in found.inventory.snapshots}
        assert places == {
            own(256): (("a",), ()),
            own(257): ((), ("snaps2/b",)),
            own(260): ((), ("x/snaps/c",)),
        }
        assert found.inventory.writable == 0

    def test_at_the_top_has_all_below_it(self) -> None:
        found = catalogue(
            subvolume(256, "a"), subvolume(257, "b/c"), subvolume(258, "live", readonly=False)
        )
        assert [s.paths for s in found.inventory.inside()] == [("a",), ("b/c",)]
        assert found.inventory.writable == 1
        assert not found.directory_is_snapshot

    def test_that_is_a_subvolume_is_not_below_itself(self) -> None:
        found = catalogue(
            subvolume(256, "snaps", readonly=False), subvolume(257, "snaps/a"), directory="snaps"
        )
        assert found.inventory.writable == 0
        assert [s.path for s in found.inventory.inside()] == ["a"]
        assert not found.directory_is_snapshot

    def test_that_is_itself_a_snapshot_is_told(self) -> None:
        found = catalogue(subvolume(256, "snaps/a"), directory="snaps/a")
        assert found.directory_is_snapshot
        assert found.inventory.inside() == ()

    def test_counts_writable_subvolumes_below_it(self) -> None:
        found = catalogue(
            subvolume(256, "live", readonly=False),
            subvolume(257, "snaps/x", readonly=False),
            subvolume(258, "snaps/x/y", readonly=False),
            subvolume(259, "snaps/a"),
            directory="snaps",
        )
        assert found.inventory.writable == 2

    def test_finds_subvolumes_by_relative_path(self) -> None:
        outer, inner, other = (
            subvolume(256, "snaps/a"),
            subvolume(257, "snaps/a/x/y"),
            subvolume(258, "snaps/a2"),
        )
        found = catalogue(outer, inner, other, directory="snaps")
        assert found.at("a") == outer
        assert found.at("a/x/y") == inner
        assert found.at("a/x") is None
        assert found.inside("a") == (inner,)
        assert [found.relative(s) for s in (outer, inner, other)] == ["a", "a/x/y", "a2"]
        assert found.relative(subvolume(259, "snaps")) is None

    def test_lists_what_is_nested_innermost_first(self) -> None:
        nested = [subvolume(256 + n, path) for n, path in enumerate(("w/a", "w/a/b", "w/a/b/c"))]
        assert catalogue(*nested).inside("w") == tuple(reversed(nested))


class TestAncestor:
    @staticmethod
    def of(number: int, *subvolumes: Subvolume, changed: Collection[int] = ()) -> UUID | None:
        found = catalogue(*subvolumes, changed=changed)
        (snapshot,) = (
            snapshot
            for snapshot in found.inventory.snapshots
            if number in {copy.treeid for copy in found.copies[snapshot.uuid]}
        )
        return snapshot.ancestor

    def test_is_the_snapshot_it_was_made_from(self) -> None:
        assert self.of(257, subvolume(256, "a"), subvolume(257, "b", parent=256)) == own(256)

    def test_is_found_across_writable_ones(self) -> None:
        chain = (
            subvolume(256, "a"),
            subvolume(257, "live", readonly=False, parent=256),
            subvolume(258, "live2", readonly=False, parent=257),
            subvolume(259, "b", parent=258),
        )
        assert self.of(259, *chain) == own(256)

    def test_is_none_if_only_writable_ones_are_above(self) -> None:
        live = subvolume(256, "live", readonly=False)
        assert self.of(257, live, subvolume(257, "a", parent=256)) is None

    def test_is_none_beyond_what_was_deleted(self) -> None:
        assert self.of(258, subvolume(256, "a"), subvolume(258, "b", parent=257)) is None

    def test_is_told_by_its_identity(self) -> None:
        pair = (subvolume(256, "a", received=foreign(1)), subvolume(257, "b", parent=256))
        assert self.of(257, *pair) == foreign(1)
        assert self.of(257, *pair, changed={256}) == own(256)

    def test_is_never_a_partial(self) -> None:
        chain = (
            subvolume(256, "a"),
            subvolume(257, f"{work_name(foreign(1))}/parent", parent=256),
            subvolume(258, "b", parent=257),
        )
        assert self.of(258, *chain) == own(256)

    def test_is_another_snapshot_than_that_it_is_a_copy_of(self) -> None:
        chain = (
            subvolume(256, "a"),
            subvolume(257, "z", parent=256, received=foreign(1)),
            subvolume(258, "b", parent=257, received=foreign(1)),
        )
        assert self.of(258, *chain) == own(256)

    @pytest.mark.parametrize("readonly", [False, True])
    def test_of_a_loop_is_found_without_going_round(self, *, readonly: bool) -> None:
        loop = (
            subvolume(256, "a", parent=257),
            subvolume(257, "b", parent=256, readonly=readonly),
            subvolume(258, "c", parent=258),
        )
        for order in (loop, loop[::-1]):
            assert self.of(256, *order) == (own(257) if readonly else None)
            assert self.of(258, *order) is None


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Subvolume], frozenset[int]]:
    """Return subvolumes of any kind, and the ids of those that were changed."""
    names = st.sampled_from(["a", "b", "a2", "\udcff", work_name(foreign(1))])
    some_paths = draw(
        st.lists(st.lists(names, min_size=1, max_size=3).map("/".join), max_size=8, unique=True)
    )
    identities = st.sampled_from([None, foreign(1), foreign(2), own(256), own(257)])
    made = [
        subvolume(
            number,
            path,
            readonly=draw(st.booleans()),
            received=draw(identities),
            parent=draw(st.none() | st.integers(256, 264)),
        )
        for number, path in enumerate(some_paths, start=256)
    ]
    received = [s.treeid for s in made if s.received_uuid]
    changed = draw(st.frozensets(st.sampled_from(received))) if received else frozenset()
    return made, changed


def described(found: Iterable[Subvolume], directory: str, changed: Collection[int]) -> Catalogue:
    return make_catalogue(found, directory=directory, lineages={}, changed=changed, quotas={})


DIRECTORIES = st.sampled_from(["", "a", "a/b", "nowhere"])


class TestAnyWorld:
    @given(worlds(), DIRECTORIES, st.randoms(use_true_random=False))
    def test_looks_the_same_in_any_order(
        self,
        world: tuple[list[Subvolume], frozenset[int]],
        directory: str,
        random: Random,
    ) -> None:
        made, changed = world
        mixed = random.sample(made, len(made))
        assert described(mixed, directory, changed) == described(made, directory, changed)

    @given(worlds(), DIRECTORIES)
    def test_has_each_read_only_subvolume_in_one_snapshot_or_partial(
        self, world: tuple[list[Subvolume], frozenset[int]], directory: str
    ) -> None:
        made, changed = world
        found = described(made, directory, changed)
        inventory = found.inventory
        listed = [path for s in inventory.snapshots for path in s.elsewhere]
        start = f"{directory}/" if directory else ""
        listed += [start + path for s in inventory.snapshots for path in s.paths]
        expected = [s.path for s in made if s.readonly and ".buttersink-" not in s.path]

        assert sorted(listed) == sorted(expected)
        assert len(inventory.by_uuid()) == len(inventory.snapshots)
        assert {s.uuid for s in inventory.snapshots} == set(found.copies)
        assert len(inventory.problems) == sum(
            s.treeid in changed and s.path in expected for s in made
        )

    @given(worlds(), DIRECTORIES)
    def test_has_the_same_snapshots_seen_from_any_directory(
        self, world: tuple[list[Subvolume], frozenset[int]], directory: str
    ) -> None:
        made, changed = world
        here, top = (described(made, d, changed).inventory for d in (directory, ""))
        assert set(here.by_uuid()) == set(top.by_uuid())
        assert len(here.inside()) <= len(top.inside()) == len(top.snapshots)

    @given(worlds())
    def test_has_ancestors_that_are_other_snapshots(
        self, world: tuple[list[Subvolume], frozenset[int]]
    ) -> None:
        made, changed = world
        known = described(made, "", changed).inventory.by_uuid()
        for snapshot in known.values():
            assert snapshot.ancestor != snapshot.uuid
            assert snapshot.ancestor is None or snapshot.ancestor in known
