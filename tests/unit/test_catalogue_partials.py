"""What the catalogue makes of that which a transfer left, and of links."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buttersink.model import Partial
from buttersink.stores.own_names import link_name, staged_name, work_name
from support.made_subvolumes import catalogue, foreign, own, subvolume

if TYPE_CHECKING:
    from uuid import UUID

LINK = link_name(foreign(1))


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
            ".buttersink-.link",
            f".buttersink-{foreign(1)}.link2",
            f".buttersink-{foreign(1)}.part\n",
            "snapshot.part",
        ],
    )
    def test_have_no_name_but_ours(self, name: str) -> None:
        found = catalogue(subvolume(256, name))
        assert found.inventory.partials == ()
        assert [snapshot.path for snapshot in found.inventory.snapshots] == [name]


class TestLinks:
    def test_are_snapshots_without_a_path_and_listed_as_left_over(self) -> None:
        link = subvolume(256, f"snaps/{LINK}", received=foreign(1))
        found = catalogue(link, directory="snaps")
        (snapshot,) = found.inventory.snapshots
        assert (snapshot.uuid, snapshot.paths) == (foreign(1), ())
        assert snapshot.elsewhere == (f"snaps/{LINK}",)
        assert found.inventory.partials == (Partial(path=LINK, uuid=foreign(1), link=True),)
        assert found.copies == {foreign(1): (link,)}
        assert (found.relative(link), found.shown(link)) == (LINK, None)
        assert found.inventory.writable == 0

    def test_outside_of_the_directory_are_snapshots_only(self) -> None:
        found = catalogue(subvolume(256, LINK, received=foreign(1)), directory="snaps")
        (snapshot,) = found.inventory.snapshots
        assert (snapshot.paths, snapshot.elsewhere) == ((), (LINK,))
        assert found.inventory.partials == ()

    def test_further_down_are_listed_with_their_path(self) -> None:
        found = catalogue(subvolume(256, f"a/{LINK}", received=foreign(1)))
        assert found.inventory.partials == (Partial(path=f"a/{LINK}", uuid=foreign(1), link=True),)

    def test_are_the_last_of_the_copies_of_a_snapshot(self) -> None:
        found = catalogue(
            subvolume(256, LINK, received=foreign(1)),
            subvolume(257, "z", received=foreign(1)),
            subvolume(258, "snaps/a", received=foreign(1)),
            directory="snaps",
        )
        assert [s.treeid for s in found.copies[foreign(1)]] == [258, 257, 256]
        (snapshot,) = found.inventory.snapshots
        assert (snapshot.paths, snapshot.elsewhere) == (("a",), ("z", LINK))

    @pytest.mark.parametrize(
        ("readonly", "received", "changed"),
        [
            (False, foreign(1), ()),
            (False, None, ()),
            (True, None, ()),
            (True, foreign(2), ()),
            (True, foreign(1), (256,)),
        ],
        ids=["writable", "unfinished", "without identity", "of another identity", "changed"],
    )
    def test_that_are_not_whole_are_like_any_other_partial(
        self, *, readonly: bool, received: UUID | None, changed: tuple[int, ...]
    ) -> None:
        link = subvolume(256, LINK, readonly=readonly, received=received)
        found = catalogue(link, changed=changed)
        assert found.inventory.snapshots == ()
        assert found.inventory.partials == (Partial(path=LINK, uuid=foreign(1)),)
        assert found.inventory.problems == ()
        assert found.copies == {}

    def test_hold_nothing_that_is_a_snapshot_and_are_none_inside_a_partial(self) -> None:
        nested = (
            subvolume(256, LINK, received=foreign(1)),
            subvolume(257, f"{LINK}/inner", received=foreign(2)),
            subvolume(258, f"{work_name(foreign(3))}/{LINK}", received=foreign(1)),
        )
        for order in (nested, nested[::-1]):
            found = catalogue(*order)
            assert found.copies == {foreign(1): (nested[0],)}
            assert {(p.uuid, p.link) for p in found.inventory.partials} == {
                (foreign(1), True),
                (foreign(3), False),
            }


class TestLeftoversOfOlderVersions:
    @pytest.mark.parametrize("name", ["1.part", "1_2014-07-01T12:34:56.789.part", "a b\n.part"])
    def test_are_listed_and_guarded(self, name: str) -> None:
        found = catalogue(subvolume(256, f"snaps/dir/{name}", readonly=False), directory="snaps")
        (partial,) = found.inventory.partials
        assert (partial.path, partial.uuid, partial.link) == (f"dir/{name}", None, False)
        assert "something else" in partial.guarded
        assert found.inventory.writable == 0

    def test_are_not_read_only_nor_received_nor_named_otherwise(self) -> None:
        found = catalogue(
            subvolume(256, "1.part"),
            subvolume(257, "2.part", readonly=False, received=foreign(1)),
            subvolume(258, "3.part2", readonly=False),
            subvolume(259, ".part", readonly=False),
            subvolume(260, "4.part/live", readonly=False),
        )
        assert found.inventory.partials == ()
        assert [snapshot.path for snapshot in found.inventory.snapshots] == ["1.part"]
        assert found.inventory.writable == 4

    def test_outside_of_the_directory_are_left_alone(self) -> None:
        found = catalogue(
            subvolume(256, "1.part", readonly=False),
            subvolume(257, "snaps.part", readonly=False),
            directory="snaps.part",
        )
        assert (found.inventory.partials, found.inventory.writable) == ((), 0)

    def test_may_have_snapshots_and_others_nested_in_them(self) -> None:
        found = catalogue(
            subvolume(256, "1.part", readonly=False),
            subvolume(257, "1.part/snapshot"),
            subvolume(258, "1.part/live", readonly=False),
        )
        assert [partial.path for partial in found.inventory.partials] == ["1.part"]
        assert [snapshot.uuid for snapshot in found.inventory.snapshots] == [own(257)]
        assert found.inventory.writable == 1
