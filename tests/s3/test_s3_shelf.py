"""What every service must let a shelf do."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import CorruptStreamError, MissingError, PathTakenError
from s3.samples import LEAST_PART, content, noise, send, sha256, store, stored

if TYPE_CHECKING:
    from buttersink.stores.s3.shelf import S3Shelf
    from buttersink.stores.shelf import Shelf
    from s3.conftest import OpenShelf
    from support.s3_servers import S3Server

AWKWARD_KEYS = [
    "p/a b+c/%41 ü~'\"<>&;$@=:,?#*!().zst",
    "p/\N{SNOWMAN}/\N{PILE OF POO}",
    "p/.hidden",
    "p/-dash",
]


def test_it_is_a_shelf(shelf: S3Shelf) -> None:
    promised: Shelf = shelf
    assert promised.keys_are_text
    assert not promised.occupied("p")


def test_it_is_named_as_a_user_would(shelf_of: OpenShelf, server: S3Server) -> None:
    bucket = server.fresh_bucket()
    assert shelf_of(server, bucket).name == f"s3://{bucket}/"


def test_an_object_of_several_parts_is_what_was_sent(shelf: S3Shelf) -> None:
    pieces = [noise(LEAST_PART, 1), noise(LEAST_PART + 1, 2), b"end"]
    thing = store(shelf, "p/key", pieces)
    assert thing.nbytes == sum(map(len, pieces))
    assert thing == replace(stored(shelf, "p/key"), modified=thing.modified)
    assert content(shelf, "p/key") == b"".join(pieces)


def test_a_part_may_be_a_bytearray(shelf: S3Shelf) -> None:
    upload = shelf.begin("p/key")
    piece = bytearray(b"bytes")
    upload.complete(send(upload, [piece]))
    assert content(shelf, "p/key") == b"bytes"


def test_parts_may_be_sent_at_once_and_in_any_order(shelf: S3Shelf) -> None:
    pieces = [noise(LEAST_PART, seed) for seed in range(5)]
    upload = shelf.begin("p/key")
    with ThreadPoolExecutor(4) as pool:
        futures = [
            pool.submit(upload.put, number, 0, piece, sha256(piece))
            for number, piece in reversed(list(enumerate(pieces, 1)))
        ]
        tags = [future.result() for future in reversed(futures)]
    parts = [
        replace(part, tag=tag)
        for part, tag in zip(send(shelf.begin("p/other"), pieces), tags, strict=True)
    ]
    upload.complete(list(reversed(parts)))
    assert content(shelf, "p/key") == b"".join(pieces)


@pytest.mark.parametrize("key", AWKWARD_KEYS)
def test_any_text_may_be_a_key(shelf: S3Shelf, key: str) -> None:
    upload = shelf.begin(key)
    assert [found.key for found in shelf.uploads("p/")] == [key]
    upload.complete(send(upload, [b"content"]))
    assert [thing.key for thing in shelf.objects("p/")] == [key]
    assert content(shelf, key) == b"content"
    shelf.move(stored(shelf, key), f"trash/{key}")
    assert [thing.key for thing in shelf.objects("")] == [f"trash/{key}"]
    shelf.remove(f"trash/{key}")
    assert list(shelf.objects("")) == []


def test_objects_come_in_the_order_of_their_keys_bytes(shelf: S3Shelf) -> None:
    keys = ["s/a/x", "s/a.b", "s/a-b", "s/b/c", "s/~", "s/ü", "s/B", "s/\N{PILE OF POO}"]
    for key in keys:
        shelf.put(key, key.encode())
    assert [thing.key for thing in shelf.objects("s/")] == sorted(keys, key=str.encode)


def test_a_prefix_is_taken_as_it_is(shelf: S3Shelf) -> None:
    for key in ("laptop/a", "laptop2/a", "lap/a"):
        shelf.put(key, b"")
        shelf.begin(key)
    assert [thing.key for thing in shelf.objects("laptop/")] == ["laptop/a"]
    assert [found.key for found in shelf.uploads("laptop/")] == ["laptop/a"]


def test_a_listing_shows_what_looking_at_the_object_does(shelf: S3Shelf) -> None:
    shelf.put("p/key", b"content")
    (listed,) = shelf.objects("p/")
    seen = stored(shelf, "p/key")
    assert listed == replace(seen, modified=listed.modified)
    assert (listed.nbytes, listed.archived, bool(listed.etag)) == (7, False, True)
    assert listed.modified.tzinfo is not None


def test_there_is_nothing_where_nothing_was_stored(shelf: S3Shelf) -> None:
    assert shelf.stat("p/key") is None
    assert list(shelf.objects("p/")) == []
    assert list(shelf.uploads("p/")) == []


def test_a_range_is_read_exactly(shelf: S3Shelf) -> None:
    data = noise(3 << 20)
    shelf.put("p/key", data)
    thing = stored(shelf, "p/key")
    assert shelf.read(thing, 0, 0) == b""
    assert shelf.read(thing, 1, 2) == data[1:3]
    assert shelf.read(thing, len(data) - 1, 1) == data[-1:]
    assert shelf.read(thing, 5, 2 << 20) == data[5 : 5 + (2 << 20)]


def test_an_object_that_was_replaced_is_not_read(shelf: S3Shelf) -> None:
    shelf.put("p/key", b"before")
    thing = stored(shelf, "p/key")
    shelf.put("p/key", b"after!")
    with pytest.raises(MissingError):
        shelf.read(thing, 0, 6)


def test_an_object_that_is_gone_is_not_read(shelf: S3Shelf) -> None:
    shelf.put("p/key", b"before")
    thing = stored(shelf, "p/key")
    shelf.remove("p/key")
    with pytest.raises(MissingError):
        shelf.read(thing, 0, 6)
    with pytest.raises(MissingError):
        shelf.readable(thing)
    with pytest.raises(MissingError):
        shelf.move(thing, "trash/p/key")


@pytest.mark.parametrize("start", [0, 6, 7])
def test_an_object_shorter_than_it_was_listed_is_corrupt(shelf: S3Shelf, start: int) -> None:
    shelf.put("p/key", b"short!")
    thing = replace(stored(shelf, "p/key"), nbytes=20)
    with pytest.raises(CorruptStreamError):
        shelf.read(thing, start, 13)


def test_small_objects_are_replaced_only_if_they_may(shelf: S3Shelf) -> None:
    shelf.put("p/key", b"first", replace=False)
    with pytest.raises(PathTakenError):
        shelf.put("p/key", b"second", replace=False)
    assert content(shelf, "p/key") == b"first"
    shelf.put("p/key", b"third")
    assert content(shelf, "p/key") == b"third"


def test_of_several_who_put_a_new_object_one_wins(shelf: S3Shelf) -> None:
    start = threading.Barrier(6)

    def put(number: int) -> bool:
        start.wait()
        try:
            shelf.put("p/key", b"%d" % number, replace=False)
        except PathTakenError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(put, range(6)))
    assert content(shelf, "p/key") == b"%d" % won.index(True)
    assert won.count(True) == 1


def test_completing_never_touches_an_object_that_is_there(shelf: S3Shelf) -> None:
    upload = shelf.begin("p/key")
    parts = send(upload, [b"second"])
    shelf.put("p/key", b"first")
    with pytest.raises(PathTakenError):
        upload.complete(parts)
    assert content(shelf, "p/key") == b"first"


def test_an_upload_goes_on_in_another_run(shelf_of: OpenShelf, server: S3Server) -> None:
    bucket = server.fresh_bucket()
    pieces = [noise(LEAST_PART, 1), noise(LEAST_PART, 2), b"end"]
    before = shelf_of(server, bucket).begin("p/key")
    (first,) = send(before, pieces[:1])

    shelf = shelf_of(server, bucket)
    (found,) = shelf.uploads("p/")
    assert (found.key, found.nbytes) == ("p/key", LEAST_PART)
    assert found.upload_id == before.upload_id
    upload = shelf.resume(found.key, found.upload_id)
    held = upload.held()
    assert {number: (part.nbytes, part.tag) for number, part in held.items()} == {
        1: (LEAST_PART, first.tag)
    }
    rest = send(shelf.begin("p/other"), pieces)[1:]
    for part, piece in zip(rest, pieces[1:], strict=True):
        assert upload.put(part.number, 0, piece, part.sha256) == part.tag
    upload.complete([first, *rest])
    assert content(shelf, "p/key") == b"".join(pieces)


def test_an_object_has_no_parts_but_those_it_is_completed_of(shelf: S3Shelf) -> None:
    upload = shelf.begin("p/key")
    parts = send(upload, [noise(LEAST_PART, 1), b"end", b"of an earlier run", b"also"])
    thing = upload.complete(parts[:2])
    assert thing.nbytes == LEAST_PART + 3
    assert content(shelf, "p/key") == noise(LEAST_PART, 1) + b"end"


def test_a_part_sent_again_takes_the_place_of_the_first(shelf: S3Shelf) -> None:
    upload = shelf.begin("p/key")
    send(upload, [b"first attempt"])
    parts = send(upload, [b"second"])
    held = upload.held()
    assert 1 not in held or held[1].tag == parts[0].tag
    upload.complete(parts)
    assert content(shelf, "p/key") == b"second"


def test_an_upload_given_up_is_gone(shelf: S3Shelf) -> None:
    upload = shelf.begin("p/key")
    send(upload, [b"part"])
    upload.abort()
    upload.abort()
    assert list(shelf.uploads("")) == []
    with pytest.raises(MissingError):
        upload.held()


def test_no_part_can_be_added_to_an_upload_that_is_gone(
    shelf_of: OpenShelf, seaweed: S3Server
) -> None:
    # moto answers with an internal error, which might pass
    upload = shelf_of(seaweed).begin("p/key")
    upload.abort()
    with pytest.raises(MissingError):
        upload.put(1, 0, b"part", sha256(b"part"))


def test_trying_out_the_service_leaves_nothing(shelf: S3Shelf) -> None:
    shelf.put("p/key", b"content")
    assert list(shelf.uploads("")) == []
    assert [thing.key for thing in shelf.objects("")] == ["p/key"]
    assert shelf.notes == ()


def test_moving_replaces_what_an_earlier_removal_left(shelf: S3Shelf) -> None:
    shelf.put("trash/p/key", b"earlier")
    shelf.put("p/key", b"later")
    shelf.move(stored(shelf, "p/key"), "trash/p/key")
    assert [thing.key for thing in shelf.objects("")] == ["trash/p/key"]
    assert content(shelf, "trash/p/key") == b"later"


def test_what_is_above_the_limit_is_moved_in_parts(shelf_of: OpenShelf, server: S3Server) -> None:
    shelf = shelf_of(server, copy_limit=LEAST_PART)
    pieces = [noise(LEAST_PART, 1), noise(LEAST_PART, 2), b"end"]
    thing = store(shelf, "p/key", pieces)
    shelf.put("trash/p/key", b"earlier")
    shelf.move(thing, "trash/p/key")
    assert [found.key for found in shelf.objects("")] == ["trash/p/key"]
    assert content(shelf, "trash/p/key") == b"".join(pieces)
    assert list(shelf.uploads("")) == []


@pytest.mark.parametrize("limit", [LEAST_PART, 1 << 30])
def test_a_copy_to_another_bucket_stays_within_the_service(
    shelf_of: OpenShelf, server: S3Server, limit: int
) -> None:
    here, there = shelf_of(server, copy_limit=limit), shelf_of(server, copy_limit=limit)
    thing = store(here, "p/key", [noise(LEAST_PART, 1), b"end"])
    copied = there.copy(thing, here, "q/other")
    assert copied is not None
    assert copied.nbytes == thing.nbytes
    assert content(there, "q/other") == noise(LEAST_PART, 1) + b"end"
    assert content(here, "p/key") == noise(LEAST_PART, 1) + b"end"


def test_a_copy_never_touches_an_object_that_is_there(shelf: S3Shelf) -> None:
    shelf.put("p/key", b"content")
    shelf.put("p/taken", b"taken")
    with pytest.raises(PathTakenError):
        shelf.copy(stored(shelf, "p/key"), shelf, "p/taken")
    assert content(shelf, "p/taken") == b"taken"


def test_no_service_copies_from_another(
    shelf_of: OpenShelf, moto: S3Server, seaweed: S3Server
) -> None:
    here = shelf_of(moto)
    here.put("p/key", b"content")
    assert shelf_of(seaweed).copy(stored(here, "p/key"), here, "p/key") is None


def test_removing_what_is_gone_is_no_error(shelf: S3Shelf) -> None:
    shelf.put("p/key", b"content")
    shelf.remove("p/key")
    shelf.remove("p/key")
    assert shelf.stat("p/key") is None


def test_what_is_not_archived_can_be_read(shelf: S3Shelf) -> None:
    shelf.put("p/key", b"content")
    thing = stored(shelf, "p/key")
    assert shelf.readable(thing) == ""
    shelf.unarchive(thing, 1)
