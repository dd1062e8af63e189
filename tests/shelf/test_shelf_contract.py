"""What every shelf promises of its objects, sentence by sentence of `stores.shelf`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import BusyError, MissingError, PathTakenError
from shelf.sending import keys, listed, sorted_as_bytes, store, whole

if TYPE_CHECKING:
    from buttersink.stores.shelf import Shelf
    from shelf.worlds import ShelfWorld

BACKSLASHES = "back\\slash/\\"
AWKWARD_KEYS = (
    "a b/c d",
    "quote'\"`$(x)&<>?#%25+=;:@!*|",
    BACKSLASHES,
    " leading and trailing ",
    "ünïcödé/日本",
    "-dash/--option",
    "...",
    "n" * 255 + "/" + "m" * 255,
)
AWKWARD_BYTES = ("new\nline", "\udcff\udcfe/x", "tab\there", "\x7f\x01")


def test_an_empty_shelf_has_nothing(shelf: Shelf) -> None:
    assert keys(shelf) == []
    assert list(shelf.uploads("")) == []
    assert shelf.stat("a") is None


def test_the_name_ends_in_a_slash(shelf: Shelf) -> None:
    assert shelf.name.endswith("/")


def test_what_is_taken_allows_parts_and_objects_of_any_use(shelf: Shelf) -> None:
    limits = shelf.part_limits
    assert 0 < limits.least <= 8 << 20
    assert limits.most >= 64 << 20
    assert limits.count >= 1000
    assert limits.total >= 1 << 40


def test_an_object_is_listed_with_its_size_and_time(shelf: Shelf) -> None:
    thing = store(shelf, "a/b", b"12345")
    assert (thing.key, thing.nbytes, thing.archived) == ("a/b", 5, False)
    assert abs(datetime.now(UTC) - thing.modified) < timedelta(hours=1)


def test_stat_tells_what_the_listing_does(shelf: Shelf) -> None:
    thing = store(shelf, "a/b")
    found = shelf.stat("a/b")
    assert found is not None
    assert (found.key, found.nbytes, found.etag) == (thing.key, thing.nbytes, thing.etag)


@pytest.mark.parametrize("key", ["a", "a/b/c", "a/x", "x/y"])
def test_there_is_no_object_where_there_is_only_a_part_of_its_key(shelf: Shelf, key: str) -> None:
    store(shelf, "a/b")
    assert shelf.stat(key) is None


def test_a_prefix_is_of_the_key_and_not_of_its_components(shelf: Shelf) -> None:
    for key in ("a/1", "a/2/3", "ab/1", "a-b", "b/a/1"):
        store(shelf, key)
    assert keys(shelf, "a/") == ["a/1", "a/2/3"]
    assert keys(shelf, "a") == ["a-b", "a/1", "a/2/3", "ab/1"]
    assert keys(shelf, "a/2") == ["a/2/3"]
    assert keys(shelf, "a/2/3") == ["a/2/3"]
    assert keys(shelf, "a/2/3/") == []
    assert keys(shelf, "c") == []
    assert keys(shelf, "c/d/") == []


def test_objects_are_in_the_order_of_the_bytes_of_their_keys(shelf: Shelf) -> None:
    stored = ["a/x", "a-x", "a.x", "a0", "aa/x", "a/x.json", "Z", "é", "a/b/c", "a/b-c", "a/b.c"]
    for key in stored:
        store(shelf, key)
    assert keys(shelf) == sorted_as_bytes(stored)


@pytest.mark.parametrize("key", AWKWARD_KEYS)
def test_awkward_keys_are_kept_as_they_are(shelf: Shelf, shelf_world: ShelfWorld, key: str) -> None:
    if key == BACKSLASHES and not shelf_world.keeps_backslashes:
        pytest.skip("the server does not keep them")
    thing = store(shelf, f"here/{key}", b"x")
    assert keys(shelf, "here/") == [f"here/{key}"]
    assert whole(shelf, thing) == b"x"
    shelf.move(thing, f"trash/{key}")
    assert keys(shelf, "here/") == []
    assert keys(shelf, "trash/") == [f"trash/{key}"]
    shelf.remove(f"trash/{key}")
    assert keys(shelf, "trash/") == []


@pytest.mark.parametrize("key", AWKWARD_BYTES)
def test_keys_of_any_bytes_are_kept_where_keys_are_no_text(shelf: Shelf, key: str) -> None:
    if shelf.keys_are_text:
        pytest.skip("keys are text here")
    assert whole(shelf, store(shelf, key, b"x")) == b"x"
    assert keys(shelf) == [key]


def test_exactly_the_bytes_that_were_asked_for_are_read(shelf: Shelf) -> None:
    data = bytes(range(256)) * 100
    thing = store(shelf, "a", data)
    assert shelf.read(thing, 0, len(data)) == data
    assert shelf.read(thing, 1, 1) == data[1:2]
    assert shelf.read(thing, 1000, 5000) == data[1000:6000]
    assert shelf.read(thing, len(data) - 1, 1) == data[-1:]


def test_a_listed_object_is_not_read_when_it_is_gone(shelf: Shelf) -> None:
    thing = store(shelf, "a/b")
    shelf.remove("a/b")
    with pytest.raises(MissingError, match="a/b"):
        shelf.read(thing, 0, 1)


def test_a_listed_object_is_not_read_when_it_is_another(shelf: Shelf) -> None:
    thing = store(shelf, "a", b"old")
    shelf.put("a", b"newer")
    with pytest.raises(MissingError, match="a"):
        shelf.read(thing, 0, 1)


def test_another_content_has_another_etag(shelf: Shelf) -> None:
    old = store(shelf, "a", b"old")
    new = store(shelf, "a", b"newer")
    assert old.etag != new.etag


def test_an_object_put_twice_is_the_second(shelf: Shelf) -> None:
    store(shelf, "a", b"a longer old one")
    assert whole(shelf, store(shelf, "a", b"new")) == b"new"
    assert keys(shelf) == ["a"]


def test_an_object_is_not_put_over_another_unless_it_may_be(shelf: Shelf) -> None:
    old = store(shelf, "a/b", b"old")
    with pytest.raises(PathTakenError, match="a/b"):
        shelf.put("a/b", b"new", replace=False)
    assert whole(shelf, old) == b"old"
    shelf.put("a/c", b"new", replace=False)
    assert keys(shelf) == ["a/b", "a/c"]


def test_an_empty_object_is_one(shelf: Shelf) -> None:
    assert store(shelf, "a/marker", b"").nbytes == 0


def test_a_moved_object_has_its_new_key_only(shelf: Shelf) -> None:
    thing = store(shelf, "a/b", b"content")
    store(shelf, "a/c")
    shelf.move(thing, "trash/a/b")
    assert keys(shelf, "a/") == ["a/c"]
    assert shelf.stat("a/b") is None
    assert whole(shelf, listed(shelf, "trash/a/b")) == b"content"


def test_an_earlier_removal_is_replaced_by_a_move(shelf: Shelf) -> None:
    store(shelf, "trash/a", b"an earlier one")
    shelf.move(store(shelf, "a", b"new"), "trash/a")
    assert whole(shelf, listed(shelf, "trash/a")) == b"new"
    assert keys(shelf, "a") == []


def test_what_is_gone_can_not_be_moved(shelf: Shelf) -> None:
    thing = store(shelf, "a")
    shelf.remove("a")
    with pytest.raises(MissingError, match="a"):
        shelf.move(thing, "trash/a")
    assert keys(shelf, "trash/") == []


def test_a_removed_object_is_gone_and_others_are_not(shelf: Shelf) -> None:
    store(shelf, "a/b")
    store(shelf, "a/bc")
    shelf.remove("a/b")
    assert keys(shelf) == ["a/bc"]


def test_it_is_no_error_to_remove_what_is_gone(shelf: Shelf) -> None:
    shelf.remove("a")
    shelf.remove("a/b/c")


def test_a_copy_within_one_service_is_whole_and_leaves_the_original(
    shelf: Shelf, shelf_world: ShelfWorld
) -> None:
    thing = store(shelf, "a/b", b"content" * 1000)
    copied = shelf_world.open().copy(thing, shelf, "c/d")
    assert copied is not None
    assert (copied.key, copied.nbytes) == ("c/d", thing.nbytes)
    assert whole(shelf, copied) == b"content" * 1000
    assert keys(shelf) == ["a/b", "c/d"]


def test_what_is_gone_can_not_be_copied(shelf: Shelf) -> None:
    thing = store(shelf, "a")
    shelf.remove("a")
    with pytest.raises(MissingError, match="a"):
        shelf.copy(thing, shelf, "b/c")
    assert keys(shelf) == []


def test_what_is_not_archived_can_be_read(shelf: Shelf) -> None:
    assert shelf.readable(store(shelf, "a")) == ""


def test_neither_a_directory_of_objects_nor_nothing_occupies_a_path(shelf: Shelf) -> None:
    store(shelf, "a/b")
    assert [shelf.occupied(path) for path in ("a", "c", "a/c")] == [False] * 3


def test_journals_of_different_keys_are_different_files(shelf: Shelf) -> None:
    assert len({shelf.journal_path(key) for key in ("a", "b", "c/a", "c/b")}) == 4
    assert shelf.journal_path("a") == shelf.journal_path("a")


def test_one_run_at_a_time_holds_the_lock(shelf: Shelf, shelf_world: ShelfWorld) -> None:
    other = shelf_world.open()
    with shelf.lock("a/"), pytest.raises(BusyError), other.lock("a/"):
        raise AssertionError("two have the lock")
    with other.lock("a/"):
        pass


def test_the_lock_is_no_object(shelf: Shelf) -> None:
    with shelf.lock("a/"):
        assert keys(shelf) == []
    assert keys(shelf) == []


def test_a_shelf_may_be_closed_twice(shelf_world: ShelfWorld) -> None:
    shelf = shelf_world.open()
    shelf.close()
    shelf.close()
