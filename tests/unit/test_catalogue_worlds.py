"""Laws of the catalogue, in any world of subvolumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from buttersink.stores.catalogue import make_catalogue
from buttersink.stores.own_names import link_name, work_name
from support.made_subvolumes import foreign, own, subvolume

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from random import Random

    from buttersink.btrfs.subvolumes import Subvolume
    from buttersink.stores.catalogue import Catalogue


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Subvolume], frozenset[int]]:
    """Return subvolumes of any kind, and the ids of those that were changed."""
    names = st.sampled_from(
        ["a", "b", "a2", "\udcff", "a.part", work_name(foreign(1)), link_name(foreign(1))]
    )
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


def is_whole_link(subvolume: Subvolume, changed: Collection[int]) -> bool:
    directory, _, name = subvolume.path.rpartition("/")
    return (
        (name, subvolume.received_uuid) == (link_name(foreign(1)), foreign(1))
        and ".buttersink-" not in directory
        and subvolume.readonly
        and subvolume.treeid not in changed
    )


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
        links = {s.path for s in made if is_whole_link(s, changed)}
        expected = [s.path for s in made if s.readonly and ".buttersink-" not in s.path]
        problems = sum(s.treeid in changed and s.path in expected for s in made)
        expected += links

        assert sorted(listed) == sorted(expected)
        assert len(inventory.by_uuid()) == len(inventory.snapshots)
        assert {s.uuid for s in inventory.snapshots} == set(found.copies)
        assert len(inventory.problems) == problems
        listed_links = {start + partial.path for partial in inventory.partials if partial.link}
        assert listed_links == {path for path in links if path.startswith(start)}

    @given(worlds(), DIRECTORIES)
    def test_has_each_subvolume_below_the_directory_in_one_place_only(
        self, world: tuple[list[Subvolume], frozenset[int]], directory: str
    ) -> None:
        made, changed = world
        inventory = described(made, directory, changed).inventory
        start = f"{directory}/" if directory else ""
        below = [s.path.removeprefix(start) for s in made if s.path.startswith(start)]
        shown = [path for s in inventory.snapshots for path in s.paths]
        partials = {partial.path for partial in inventory.partials}
        ours = [path for path in below if ".buttersink-" in path]

        assert partials.isdisjoint(shown)
        plain = sum(path in shown or path in partials for path in below if path not in ours)
        assert plain + inventory.writable + len(ours) == len(below)
        assert all(p.guarded for p in inventory.partials if p.uuid is None)

    @given(worlds(), DIRECTORIES)
    def test_has_the_same_snapshots_seen_from_any_directory(
        self, world: tuple[list[Subvolume], frozenset[int]], directory: str
    ) -> None:
        made, changed = world
        here, top = (described(made, d, changed).inventory for d in (directory, ""))
        assert set(here.by_uuid()) == set(top.by_uuid())
        assert len(here.inside()) <= len(top.inside())
        links = {partial.uuid for partial in top.partials if partial.link}
        assert {s.uuid for s in top.snapshots if not s.paths} <= links

    @given(worlds())
    def test_has_ancestors_that_are_other_snapshots(
        self, world: tuple[list[Subvolume], frozenset[int]]
    ) -> None:
        made, changed = world
        known = described(made, "", changed).inventory.by_uuid()
        for snapshot in known.values():
            assert snapshot.ancestor != snapshot.uuid
            assert snapshot.ancestor is None or snapshot.ancestor in known
