"""From subvolumes, made by hand, to what other ends may know of them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from buttersink.btrfs.subvolumes import Quota
from buttersink.stores.catalogue import make_catalogue
from buttersink.stores.own_names import link_name, work_name
from support.made_subvolumes import (
    EPOCH,
    catalogue,
    foreign,
    own,
    snapshots,
    subvolume,
    without_uuid,
)

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from buttersink.btrfs.subvolumes import Subvolume


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
        assert (problem.path, problem.elsewhere) == ("flipped", False)
        assert "changed after it was received" in problem.message
        # The true holder may lie outside, where who is served must not know of it.
        assert str(foreign(1)) not in problem.message

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
        assert all(problem.elsewhere for problem in found.inventory.problems)

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

    def test_may_be_a_link(self) -> None:
        link = subvolume(256, link_name(foreign(1)), received=foreign(1))
        assert self.of(257, link, subvolume(257, "b", parent=256)) == foreign(1)
        assert self.of(257, link, subvolume(257, "b", parent=256), changed={256}) is None

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
