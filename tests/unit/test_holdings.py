"""What a listing of a shelf means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.model import Diff
from buttersink.stores.holdings import YOUNG, make_holdings
from buttersink.stores.shelf import OpenUpload, ShelfObject

if TYPE_CHECKING:
    from buttersink.model import Partial
    from buttersink.stores.holdings import Holdings

A, B, C, D = (UUID(int=number) for number in range(0xA, 0xE))
NOW = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)


def thing(key: str, nbytes: int = 100, *, minute: int = 0, archived: bool = False) -> ShelfObject:
    modified = NOW - timedelta(days=9) + timedelta(minutes=minute)
    return ShelfObject(key=key, nbytes=nbytes, modified=modified, archived=archived)


def key(path: str, to: UUID, parent: UUID | None = None, suffix: str = ".zst") -> str:
    return f"laptop/{path}/{to}_{parent}{suffix}"


def holdings(*objects: ShelfObject, uploads: tuple[OpenUpload, ...] = ()) -> Holdings:
    return make_holdings(objects, uploads, prefix="laptop/", now=NOW)


def partial(upload_key: str, *, age: timedelta) -> Partial:
    upload = OpenUpload(key=upload_key, upload_id="id", started=NOW - age, nbytes=5)
    (found,) = holdings(uploads=(upload,)).inventory.partials
    return found


# Snapshots


def test_snapshots_are_in_the_order_in_which_they_were_stored() -> None:
    found = holdings(
        thing(key("late", C, B), minute=5),
        thing(key("early", A), minute=1),
        thing(key("middle", B, A), minute=3),
    ).inventory
    assert [(s.path, s.generation) for s in found.snapshots] == [
        ("early", 1),
        ("late", 3),
        ("middle", 2),
    ]
    assert [s.ancestor for s in found.snapshots] == [None, B, A]


def test_of_those_stored_at_once_the_longer_chain_is_later() -> None:
    found = holdings(thing(key("1", C, B)), thing(key("2", B, A)), thing(key("3", A)))
    assert [s.uuid for s in sorted(found.inventory.snapshots, key=lambda s: s.generation)] == [
        A,
        B,
        C,
    ]


def test_lineage_is_shared_by_all_that_streams_join() -> None:
    found = holdings(
        thing(key("1", A)), thing(key("2", B, A)), thing(key("3", C)), thing(key("4", D, C))
    ).inventory.by_uuid()
    assert found[A].lineage == found[B].lineage != found[C].lineage == found[D].lineage


def test_a_snapshot_is_shown_where_one_of_its_streams_is() -> None:
    found = holdings(
        thing(key("a", A)),
        thing(key("a", A) + ".hidden"),
        thing(key("b", A)),
        thing(key("c", B)),
        thing(key("c", B) + ".hidden"),
        thing(key("c", B, A)),
    ).inventory.by_uuid()
    assert (found[A].paths, found[A].elsewhere) == (("b",), ("a",))
    assert (found[B].paths, found[B].elsewhere) == (("c",), ())


def test_what_is_outside_the_prefix_is_elsewhere() -> None:
    found = holdings(thing(f"laptop2/x/{A}_None.zst"), thing(key("b", B, A))).inventory
    by_uuid = found.by_uuid()
    assert (by_uuid[A].paths, by_uuid[A].elsewhere) == ((), ("/laptop2/x",))
    assert found.problems == ()
    assert found.foreign == 0


def test_of_equal_streams_the_one_that_is_read_is_ready_near_and_small() -> None:
    found = holdings(
        thing(key("a", A), 1, archived=True),
        thing(f"laptop2/x/{A}_None.zst", 2),
        thing(key("b", A), 4),
        thing(key("c", A), 3),
    )
    assert [h.thing.nbytes for h in found.by_diff[Diff(A)]] == [3, 4, 2, 1]
    ((_, size),) = found.inventory.stored
    assert size.nbytes == 3


def test_what_belongs_to_a_stream_is_found_by_its_key() -> None:
    stream = key("a", A)
    found = holdings(thing(stream), thing(stream + ".json", 7), thing(stream + ".hidden", 0))
    (holding,) = found.at(A, "a")
    assert holding.receipt == thing(stream + ".json", 7)
    assert holding.marker is not None
    assert holding.hidden
    assert found.at(A, "b") == found.at(B, "a") == ()


def test_what_belongs_to_no_stream_is_no_snapshot() -> None:
    found = holdings(thing(key("a", A) + ".json"), thing(key("a", A) + ".hidden")).inventory
    assert (found.snapshots, found.foreign) == ((), 0)


def test_what_is_not_ours_is_counted_and_the_rest_passed_over() -> None:
    found = holdings(
        thing("laptop/README"),
        thing("laptop/photos/1.jpg"),
        thing("laptop/home.bs"),
        thing("laptop/dir/"),
        thing("other/README"),
        thing(f"trash/{key('a', A)}"),
    ).inventory
    assert (found.snapshots, found.foreign) == ((), 2)


def test_each_snapshot_that_can_not_be_restored_is_a_problem() -> None:
    found = holdings(
        thing(key("a", A)), thing(key("c", C, B)), thing(key("d", D, C)), thing(key("b", B, D))
    ).inventory
    assert [p.path for p in found.problems] == ["b", "c", "d"]
    (lone,) = holdings(thing(key("b", B, A))).inventory.problems
    assert str(A) in lone.message
    hidden = holdings(thing(key("b", B, A)), thing(key("b", B, A) + ".hidden")).inventory
    assert hidden.problems == ()


# Partials


def test_a_young_upload_is_guarded_and_an_old_one_is_not() -> None:
    young = partial(key("a", A, B), age=YOUNG - timedelta(seconds=1))
    old = partial(key("a", A, B), age=YOUNG)
    assert (young.uuid, young.diff, young.nbytes) == (A, Diff(A, B), 5)
    assert young.path == old.path == f"a/{A}_{B}.zst"
    assert young.guarded
    assert not old.guarded


def test_an_upload_of_another_program_is_guarded_however_old() -> None:
    found = partial("laptop/film.mp4", age=timedelta(days=100))
    assert (found.uuid, found.diff) == (None, None)
    assert "another program" in found.guarded


def test_a_working_file_is_guarded_only_while_it_is_young() -> None:
    name = "laptop/a/.buttersink-upload-x"
    assert partial(name, age=timedelta(0)).guarded
    assert not partial(name, age=YOUNG).guarded


def test_several_uploads_of_a_key_are_told_apart() -> None:
    uploads = tuple(
        OpenUpload(key=key("a", A), upload_id=f"{n}", started=NOW - timedelta(hours=n), nbytes=n)
        for n in range(3)
    )
    found = holdings(uploads=uploads)
    name = f"a/{A}_None.zst"
    assert [p.path for p in found.inventory.partials] == [name, f"{name} #2", f"{name} #3"]
    assert [found.uploads[p.path].upload_id for p in found.inventory.partials] == ["2", "1", "0"]


# What removing takes away

NODES = [A, B, C, D]
STREAMS = st.sets(
    st.tuples(
        st.sampled_from(NODES), st.sampled_from([None, *NODES]), st.sampled_from(["x", "y"])
    ).filter(lambda stream: stream[0] != stream[1]),
    min_size=1,
    max_size=9,
)


def restorable(streams: set[tuple[UUID, UUID | None, str]]) -> set[UUID]:
    """Return by brute force which snapshots some chain leads to."""
    found: set[UUID | None] = {None}
    while more := {to for to, parent, _ in streams if parent in found} - found:
        found |= more
    return {uuid for uuid in found if uuid is not None}


@given(streams=STREAMS, data=st.data())
def test_what_is_lost_is_what_was_restorable_and_shown_and_is_no_more(
    streams: set[tuple[UUID, UUID | None, str]], data: st.DataObject
) -> None:
    hidden = data.draw(st.sets(st.sampled_from(sorted(streams, key=str))))
    uuid = data.draw(st.sampled_from(sorted({to for to, _, _ in streams})))
    leaving = data.draw(st.sampled_from([None, uuid]))
    mine = sorted((s for s in streams if s[0] == uuid), key=str)
    doomed = data.draw(st.sets(st.sampled_from(mine), min_size=1))
    keys = {s: key(s[2], s[0], s[1]) for s in streams}
    found = holdings(
        *(thing(k) for k in keys.values()), *(thing(keys[s] + ".hidden") for s in hidden)
    )
    left = streams - doomed
    shown = {to for to, _, _ in streams - hidden}
    if leaving not in {to for to, _, _ in left - hidden}:
        shown -= {leaving} if leaving else set()
    lost = (restorable(streams) - restorable(left)) & shown
    holding = [h for h in found.by_uuid[uuid] if h.entry.key in {keys[s] for s in doomed}]
    told = found.lost_without(holding, leaving=leaving)
    assert (told is not None) == bool(lost)
    assert told is None or told.uuid in lost


def test_what_is_shown_outside_the_prefix_is_lost_as_well() -> None:
    found = holdings(thing(key("a", A)), thing(f"elsewhere/x/{B}_{A}.zst"))
    lost = found.lost_without(found.by_diff[Diff(A)], leaving=A)
    assert lost is not None
    assert lost.uuid == B


def test_nothing_is_lost_with_nothing() -> None:
    assert holdings(thing(key("a", A))).lost_without([]) is None


@pytest.mark.parametrize("prefix", ["", "laptop/"])
def test_the_order_of_the_listing_does_not_matter(prefix: str) -> None:
    objects = [thing(key("a", A)), thing(key("a", B, A)), thing(key("a", A) + ".json")]
    one = make_holdings(objects, (), prefix=prefix, now=NOW)
    other = make_holdings(objects[::-1], (), prefix=prefix, now=NOW)
    assert one.inventory == other.inventory
