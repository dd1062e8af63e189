"""What every shelf promises of uploads, sentence by sentence of `stores.shelf`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import MissingError, PathTakenError, TransferError
from buttersink.stores.shelf import HeldPart
from shelf.sending import content, keys, record, send, sha256, store, whole

if TYPE_CHECKING:
    from buttersink.stores.shelf import Shelf
    from shelf.worlds import ShelfWorld

KEY = "some/where/object"


def test_an_object_is_what_its_parts_are(shelf: Shelf) -> None:
    pieces = content(shelf, 3)
    upload = shelf.begin(KEY)
    thing = upload.complete(send(upload, pieces))
    assert (thing.key, thing.nbytes) == (KEY, sum(map(len, pieces)))
    assert whole(shelf, thing) == b"".join(pieces)
    assert [found.etag for found in shelf.objects("")] == [thing.etag]


def test_nothing_is_visible_of_an_upload_until_it_is_complete(shelf: Shelf) -> None:
    upload = shelf.begin(KEY)
    sent = send(upload, content(shelf, 2))
    record(shelf, KEY, upload, sent)
    assert keys(shelf) == []
    assert shelf.stat(KEY) is None
    upload.complete(sent)
    assert keys(shelf) == [KEY]


def test_an_upload_is_listed_until_it_is_complete(shelf: Shelf) -> None:
    upload = shelf.begin(KEY)
    sent = send(upload, content(shelf, 2))
    record(shelf, KEY, upload, sent)
    (found,) = shelf.uploads("some/")
    assert (found.key, found.upload_id) == (KEY, upload.upload_id)
    assert found.nbytes == sum(part.nbytes for part in sent)
    assert found.started.tzinfo is not None
    upload.complete(sent)
    assert list(shelf.uploads("")) == []


def test_uploads_are_listed_by_prefixes_of_their_keys(shelf: Shelf) -> None:
    for key in ("a/1", "ab/1", "a/b/2"):
        record(shelf, key, shelf.begin(key), [])
    assert {upload.key for upload in shelf.uploads("a/")} == {"a/1", "a/b/2"}
    assert {upload.key for upload in shelf.uploads("a/b")} == {"a/b/2"}
    assert {upload.key for upload in shelf.uploads("")} == {"a/1", "ab/1", "a/b/2"}
    assert list(shelf.uploads("c/")) == []


def test_a_new_upload_holds_nothing(shelf: Shelf) -> None:
    assert dict(shelf.begin(KEY).held()) == {}


def test_an_upload_tells_the_parts_it_has(shelf: Shelf) -> None:
    upload = shelf.begin(KEY)
    sent = send(upload, content(shelf, 3), [1, 3])
    assert upload.held() == {
        part.number: HeldPart(nbytes=part.nbytes, tag=part.tag) for part in sent
    }


def test_an_upload_goes_on_from_another_run(shelf: Shelf, shelf_world: ShelfWorld) -> None:
    pieces = content(shelf, 3)
    first = shelf.begin(KEY)
    sent = send(first, pieces, [1])
    record(shelf, KEY, first, sent)
    second = shelf_world.open().resume(KEY, first.upload_id)
    assert second.upload_id == first.upload_id
    assert second.held() == {1: HeldPart(nbytes=len(pieces[0]), tag=sent[0].tag)}
    thing = second.complete(sent + send(second, pieces, [2, 3]))
    assert whole(shelf, thing) == b"".join(pieces)


def test_of_several_uploads_to_a_key_the_one_that_was_named_goes_on(
    shelf: Shelf, shelf_world: ShelfWorld
) -> None:
    old, new = shelf.begin(KEY), shelf.begin(KEY)
    assert old.upload_id != new.upload_id
    ours, theirs = content(shelf, 2, seed=1), content(shelf, 2, seed=2)
    send(old, theirs)
    sent = send(new, ours)
    record(shelf, KEY, new, sent)
    resumed = shelf_world.open().resume(KEY, new.upload_id)
    assert whole(shelf, resumed.complete(sent)) == b"".join(ours)
    old.abort()
    assert keys(shelf) == [KEY]


def test_a_part_sent_twice_is_the_second(shelf: Shelf) -> None:
    wrong, pieces = content(shelf, 2, seed=1), content(shelf, 2, seed=2)
    upload = shelf.begin(KEY)
    old = send(upload, wrong)
    sent = send(upload, pieces)
    assert [part.tag for part in old] != [part.tag for part in sent]
    held = upload.held().get(1)  # SeaweedFS tells of both, and the shelf then of none
    assert held is None or held.tag == sent[0].tag
    assert whole(shelf, upload.complete(sent)) == b"".join(pieces)


def test_a_part_sent_again_has_the_same_tag(shelf: Shelf) -> None:
    pieces = content(shelf, 2)
    upload = shelf.begin(KEY)
    assert send(upload, pieces, [1]) == send(upload, pieces, [1])


def test_parts_beyond_the_last_are_never_of_the_object(
    shelf: Shelf, shelf_world: ShelfWorld
) -> None:
    pieces = content(shelf, 4)
    first = shelf.begin(KEY)
    record(shelf, KEY, first, send(first, pieces))
    second = shelf_world.open().resume(KEY, first.upload_id)
    thing = second.complete(send(second, pieces, [1, 2]))
    assert whole(shelf, thing) == b"".join(pieces[:2])


def test_parts_may_come_in_any_order(shelf: Shelf) -> None:
    pieces = content(shelf, 4)
    upload = shelf.begin(KEY)
    sent = send(upload, pieces, [4, 2, 1, 3])
    thing = upload.complete(sorted(sent, key=lambda part: part.number))
    assert whole(shelf, thing) == b"".join(pieces)


def test_parts_may_be_sent_by_several_threads(shelf: Shelf) -> None:
    pieces = content(shelf, 8)
    upload = shelf.begin(KEY)
    with ThreadPoolExecutor(4) as pool:
        sent = [
            part
            for found in pool.map(lambda number: send(upload, pieces, [number]), range(1, 9))
            for part in found
        ]
    thing = upload.complete(sent)
    step = len(pieces[0])
    with ThreadPoolExecutor(4) as pool:
        read = pool.map(
            lambda start: shelf.read(thing, start, min(step, thing.nbytes - start)),
            range(0, thing.nbytes, step),
        )
        assert b"".join(read) == b"".join(pieces)


def test_a_part_may_be_a_bytearray(shelf: Shelf) -> None:
    data = bytearray(content(shelf, 1)[0])
    upload = shelf.begin(KEY)
    upload.put(1, 0, data, sha256(bytes(data)))
    assert upload.held()[1].nbytes == len(data)


def test_an_object_is_never_replaced_by_an_upload(shelf: Shelf) -> None:
    upload = shelf.begin(KEY)
    sent = send(upload, content(shelf, 2))
    old = store(shelf, KEY, b"somebody else's")
    with pytest.raises(PathTakenError, match=KEY):
        upload.complete(sent)
    assert whole(shelf, old) == b"somebody else's"
    upload.abort()
    assert keys(shelf) == [KEY]


def test_an_upload_is_not_completed_of_parts_that_were_not_sent(shelf: Shelf) -> None:
    pieces = content(shelf, 3)
    upload = shelf.begin(KEY)
    other = shelf.begin("elsewhere")
    sent = send(upload, pieces, [1]) + send(other, pieces, [2, 3])
    with pytest.raises(TransferError, match=KEY):
        upload.complete(sent)
    assert keys(shelf) == []


def test_a_given_up_upload_is_gone(shelf: Shelf) -> None:
    upload = shelf.begin(KEY)
    record(shelf, KEY, upload, send(upload, content(shelf, 2)))
    upload.abort()
    assert list(shelf.uploads("")) == []
    assert keys(shelf) == []
    with pytest.raises(MissingError, match=KEY):
        upload.held()


def test_nothing_is_sent_to_an_upload_that_was_given_up(
    shelf: Shelf, shelf_world: ShelfWorld
) -> None:
    if not shelf_world.misses_uploads:
        pytest.skip("the server has no proper answer to that")
    upload = shelf.begin(KEY)
    upload.abort()
    with pytest.raises(MissingError, match=KEY):
        send(upload, content(shelf, 2))
    with pytest.raises(MissingError, match=KEY):
        upload.complete([])
    assert keys(shelf) == []


def test_it_is_no_error_to_give_up_an_upload_that_is_gone(
    shelf: Shelf, shelf_world: ShelfWorld
) -> None:
    upload = shelf.begin(KEY)
    again = shelf_world.open().resume(KEY, upload.upload_id)
    upload.abort()
    upload.abort()
    again.abort()


def test_to_give_up_one_upload_leaves_others_of_the_key_alone(shelf: Shelf) -> None:
    one, two = shelf.begin(KEY), shelf.begin(KEY)
    sent = send(two, content(shelf, 2))
    record(shelf, KEY, two, sent)
    one.abort()
    assert [found.upload_id for found in shelf.uploads("")] == [two.upload_id]
    assert two.complete(sent).key == KEY


def test_a_completed_upload_is_no_upload_any_more(shelf: Shelf, shelf_world: ShelfWorld) -> None:
    upload = shelf.begin(KEY)
    upload.complete(send(upload, content(shelf, 2)))
    with pytest.raises(MissingError, match=KEY):
        shelf_world.open().resume(KEY, upload.upload_id).held()
