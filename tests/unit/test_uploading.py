"""An upload that goes on from an earlier one: what tests/contract can't make happen."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import (
    BusyError,
    NoSpaceError,
    PathTakenError,
    RestartError,
    TransferError,
    UnavailableError,
)
from buttersink.stored.journal import FORMAT, JournalHeader, JournalPart
from buttersink.stored.parts import schedule
from buttersink.stores.cutting import Part
from buttersink.stores.journals import JournalFile
from buttersink.stores.shelf import PartLimits
from buttersink.stores.uploading import Uploading
from support.memory_shelf import MemoryShelf, MemoryUpload

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = PartLimits(least=1, most=40, count=20, total=400)
PIECES = [b"0123456789", b"abcdefghij", b"klm"]


@pytest.fixture
def shelf(tmp_path: Path) -> MemoryShelf:
    return MemoryShelf(tmp_path, LIMITS)


def header(key: str = "key", base: int = 10) -> JournalHeader:
    return JournalHeader(
        format=FORMAT,
        key=key,
        upload_id="",
        to=UUID(int=1),
        parent=None,
        version=1,
        compressed=False,
        level=None,
        frame_bytes=None,
        library="",
        schedule=schedule(base, None, LIMITS),
    )


def uploading(shelf: MemoryShelf, *, keep_schedule: bool = True, base: int = 10) -> Uploading:
    return Uploading(shelf, header(base=base), keep_schedule=keep_schedule)


def send(upload: Uploading, pieces: list[bytes]) -> None:
    offset = 0
    for number, piece in enumerate(pieces, start=1):
        upload.send(Part(number=number, offset=offset, data=piece))
        offset += len(piece)


def content(shelf: MemoryShelf, key: str = "key") -> bytes:
    thing = shelf.stat(key)
    assert thing is not None
    return shelf.read(thing, 0, thing.nbytes)


@given(
    first=st.lists(st.sampled_from([b"0123456789", b"abcdefghij"]), max_size=5),
    second=st.lists(st.sampled_from([b"0123456789", b"abcdefghij"]), min_size=1, max_size=5),
    kept=st.booleans(),
    end=st.binary(max_size=9),
)
def test_whatever_was_sent_before_an_object_is_all_of_the_last_attempt(
    tmp_path_factory: pytest.TempPathFactory,
    first: list[bytes],
    second: list[bytes],
    end: bytes,
    *,
    kept: bool,
) -> None:
    shelf = MemoryShelf(tmp_path_factory.mktemp("state"), LIMITS)
    earlier = uploading(shelf)
    send(earlier, first)
    earlier.stop(keep=kept)
    pieces = second + ([end] if end else [])
    upload = uploading(shelf)
    try:
        send(upload, pieces)
        upload.complete()
    except RestartError:
        assert kept
        assert first[: len(pieces)] != pieces[: len(first)] or len(first) > len(pieces)
        upload.stop(keep=False)
        assert (list(shelf.uploads("")), list(shelf.objects(""))) == ([], [])
        upload = uploading(shelf)
        send(upload, pieces)
        upload.complete()
        assert upload.resumed_bytes == 0
    assert content(shelf) == b"".join(pieces)
    assert list(shelf.uploads("")) == []
    assert not os.path.exists(shelf.journal_path("key"))


def test_parts_of_another_base_are_fine_if_nobody_wished_for_one(shelf: MemoryShelf) -> None:
    earlier = uploading(shelf)
    send(earlier, PIECES[:2])
    earlier.stop(keep=True)
    upload = uploading(shelf, keep_schedule=False, base=20)
    assert upload.part_bytes(1) == 10
    send(upload, PIECES)
    upload.complete()
    assert upload.resumed_bytes == 20


def test_what_has_no_parts_is_not_kept(shelf: MemoryShelf) -> None:
    upload = uploading(shelf)
    upload.stop(keep=True)
    assert list(shelf.uploads("")) == []
    assert not os.path.exists(shelf.journal_path("key"))


def test_nothing_begins_after_the_stop(shelf: MemoryShelf) -> None:
    upload = uploading(shelf)
    upload.stop(keep=True)
    with pytest.raises(TransferError, match="stopped"):
        send(upload, PIECES)
    assert list(shelf.uploads("")) == []


def test_what_came_meanwhile_is_not_replaced(shelf: MemoryShelf) -> None:
    for pieces in (PIECES, [b"small"]):
        upload = uploading(shelf)
        send(upload, pieces)
        shelf.put("key", b"of somebody else")
        with pytest.raises(PathTakenError):
            upload.complete()
        upload.stop(keep=False)
        assert content(shelf) == b"of somebody else"
        assert list(shelf.uploads("")) == []


def test_two_that_begin_at_once_do_not_share_a_record(shelf: MemoryShelf) -> None:
    one, other = uploading(shelf), uploading(shelf)
    send(one, PIECES[:1])
    with pytest.raises(BusyError):
        send(other, PIECES[:1])
    other.stop(keep=True)
    assert len(list(shelf.uploads(""))) == 1
    send(one, PIECES)
    one.complete()
    assert content(shelf) == b"".join(PIECES)


def test_a_record_of_another_key_is_of_no_use(shelf: MemoryShelf) -> None:
    theirs = shelf.begin("theirs")
    journal = JournalFile.open(shelf.journal_path("key"), create=True)
    assert journal is not None
    journal.start(msgspec.structs.replace(header("theirs"), upload_id=theirs.upload_id))
    journal.close()
    upload = uploading(shelf)
    send(upload, PIECES)
    upload.complete()
    assert [found.key for found in shelf.uploads("")] == ["theirs"]


def test_an_object_can_not_have_more_parts_than_the_shelf_takes(shelf: MemoryShelf) -> None:
    upload = uploading(shelf)
    with pytest.raises(TransferError) as raised:
        upload.part_bytes(LIMITS.count + 1)
    assert "--part-size" in raised.value.hint


# The record


def test_a_record_that_can_not_be_made_is_an_error_for_people(
    shelf: MemoryShelf, tmp_path: Path
) -> None:
    tmp_path.rmdir()
    upload = uploading(shelf)
    with pytest.raises(TransferError, match="the record of an upload"):
        send(upload, PIECES)
    assert list(shelf.uploads("")) == []


def test_a_full_disk_under_the_record_is_an_error_for_people() -> None:
    fd = os.open("/dev/full", os.O_RDWR)
    journal = JournalFile("/dev/full", fd)
    part = JournalPart(number=1, nbytes=1, sha256=hashlib.sha256(b"x").hexdigest(), tag="")
    try:
        with pytest.raises(NoSpaceError):
            journal.add(part)
    finally:
        journal.close()


@pytest.mark.parametrize("kind", ["link", "directory", "pipe"])
def test_what_is_no_file_is_no_record(shelf: MemoryShelf, tmp_path: Path, kind: str) -> None:
    path = shelf.journal_path("key")
    match kind:
        case "link":
            os.symlink(tmp_path / "elsewhere", path)
        case "directory":
            os.mkdir(path)
        case _:
            os.mkfifo(path)
    with pytest.raises(TransferError):
        uploading(shelf)
    assert not os.path.exists(tmp_path / "elsewhere")


class UnreachableShelf(MemoryShelf):
    """At which no upload can begin, which it takes its time to tell."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, LIMITS)
        self.asked = threading.Event()
        self.told = threading.Event()
        self.begun = 0

    def begin(self, key: str) -> MemoryUpload:
        self.begun += 1
        self.asked.set()
        self.told.wait()
        raise UnavailableError(f"{key} can't be reached")


def test_an_upload_that_cannot_begin_is_not_begun_again_by_its_other_parts(tmp_path: Path) -> None:
    shelf = UnreachableShelf(tmp_path)
    shelf.told.set()
    upload = uploading(shelf)
    for number in (1, 2, 3):
        with pytest.raises(UnavailableError):
            upload.send(Part(number=number, offset=0, data=PIECES[0]))
    assert shelf.begun == 1


def test_an_interrupt_does_not_wait_for_an_upload_to_begin(tmp_path: Path) -> None:
    shelf = UnreachableShelf(tmp_path)
    upload = uploading(shelf)

    def begin() -> None:
        with pytest.raises(UnavailableError):
            upload.send(Part(number=1, offset=0, data=PIECES[0]))

    sender = threading.Thread(target=begin)
    sender.start()
    shelf.asked.wait()
    upload.stop(keep=True, hurry=True)
    assert sender.is_alive()
    shelf.told.set()
    sender.join()
