"""Uploads that were left open by whomever: gone on with if they fit to the byte, never mixed."""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest

from buttersink.errors import ButterSinkError
from buttersink.model import Diff
from buttersink.stored.journal import JournalPart, encode_header, encode_part, parse_journal
from contract.carrying import OPTIONS
from support.processes import wait_until
from support.stored_ends import streams
from support.stored_runs import (
    MIB,
    PART_MIB,
    STORING,
    Bucket,
    Directory,
    memory_source,
    random_contents,
    run,
)

if TYPE_CHECKING:
    from pathlib import Path

    from buttersink.stored.journal import Journal
    from buttersink.storing import Storing
    from support.s3_servers import S3Server

PLAIN = replace(STORING, level=None)
"""Nothing is compressed, so that each byte that is written makes its part complete at once."""
CONTENTS = {"home/1": random_contents(large=13 * MIB)["home/1"]}
"""A stream of three parts."""
PART = PART_MIB * MIB


class StoppedError(Exception):
    """What ends a transfer that is to leave an upload."""


@pytest.fixture
def bucket(seaweed: S3Server, tmp_path: Path) -> Bucket:
    return Bucket(seaweed, tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Directory:
    (tmp_path / "streams").mkdir()
    return Directory(tmp_path / "streams")


@pytest.fixture(params=["bucket", "folder"])
def place(request: pytest.FixtureRequest) -> Bucket | Directory:
    found: Bucket | Directory = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """SHA-256 of the object, as it is if nothing happened before."""
    end = Directory(tmp_path_factory.mktemp("streams"))
    with end.store(PLAIN) as store:
        assert run(memory_source(CONTENTS), store).status == 0
    (key,) = streams(end)
    return sha256(end.read(key))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def diff() -> Diff:
    (snapshot,) = memory_source(CONTENTS).inventory().snapshots
    return Diff(snapshot.uuid)


def key_of(place: Bucket | Directory) -> str:
    return f"{place.prefix}home/1/{diff().to}_None"


def leave_upload(place: Bucket | Directory, storing: Storing = PLAIN) -> None:
    """Leave what a run leaves that is stopped when the first two parts are stored."""
    source = memory_source(CONTENTS)
    with (  # noqa: PT012 - the block is what is stopped
        place.store(storing) as store,
        pytest.raises(StoppedError),
        store.receive(diff(), "home/1", OPTIONS) as writer,
        source.send(diff(), OPTIONS) as reader,
    ):
        path = store.shelf.journal_path(key_of(place))
        buffer = memoryview(bytearray(2 * (PART + MIB) + MIB // 2))
        writer.write(buffer[: reader.readinto(buffer)])
        wait_until(lambda: recorded_parts(path) == 2, "two parts were stored")
        raise StoppedError


def recorded_parts(path: str) -> int:
    with suppress(FileNotFoundError), open(path, "rb") as file:
        journal = parse_journal(file.read())
        return len(journal.parts) if journal else 0
    return 0


def journal_of(place: Bucket | Directory) -> str:
    with place.shelf() as shelf:
        return shelf.journal_path(key_of(place))


def read_journal(path: str) -> Journal:
    with open(path, "rb") as file:
        found = parse_journal(file.read())
    assert found is not None
    return found


def write_journal(path: str, journal: Journal) -> None:
    lines = [encode_header(journal.header), *map(encode_part, journal.parts.values())]
    with open(path, "wb") as file:
        file.writelines(lines)


def held_parts(place: Bucket | Directory) -> int:
    with place.shelf() as shelf:
        return sum(upload.nbytes for upload in shelf.uploads(place.prefix))


def assert_converges(
    place: Bucket | Directory, undisturbed: str, *, begins_anew: bool = False
) -> int:
    """Run once more; fail unless the object is right. Return how many bytes were resumed."""
    with place.store(PLAIN) as store:
        ran = run(memory_source(CONTENTS), store)
    assert ran.status == 0, ran.told()
    assert any("begins anew" in warning for warning in ran.warnings) == begins_anew, ran.warnings
    (key,) = streams(place)
    assert sha256(place.read(key)) == undisturbed
    return ran.done["home/1"].resumed_bytes


def assert_no_litter(place: Bucket | Directory) -> None:
    if isinstance(place, Bucket):
        assert (place.uploads(), place.journals()) == ([], [])
    else:
        assert place.unfinished() == []


def test_an_upload_is_gone_on_with(place: Bucket | Directory, undisturbed: str) -> None:
    leave_upload(place)
    assert assert_converges(place, undisturbed) >= PART
    assert_no_litter(place)


def test_parts_that_the_stream_does_not_have_begin_it_anew(
    place: Bucket | Directory, undisturbed: str
) -> None:
    leave_upload(place)
    path = journal_of(place)
    journal = read_journal(path)
    extra = bytes(PART)
    with place.shelf() as shelf:
        upload = shelf.resume(journal.header.key, journal.header.upload_id)
        tag = upload.put(6, 5 * PART, extra, sha256(extra))
    part = JournalPart(number=6, nbytes=PART, sha256=sha256(extra), tag=tag)
    write_journal(path, replace(journal, parts={**journal.parts, 6: part}))

    assert assert_converges(place, undisturbed, begins_anew=True) == 0
    assert_no_litter(place)


def test_parts_of_another_size_begin_it_anew(place: Bucket | Directory, undisturbed: str) -> None:
    leave_upload(place, replace(PLAIN, part_mib=PART_MIB + 1))
    assert assert_converges(place, undisturbed) == 0
    assert_no_litter(place)


def test_other_bytes_on_our_record_begin_it_anew(
    place: Bucket | Directory, undisturbed: str
) -> None:
    leave_upload(place)
    path = journal_of(place)
    journal = read_journal(path)
    other = bytes(PART)
    with place.shelf() as shelf:
        upload = shelf.resume(journal.header.key, journal.header.upload_id)
        tag = upload.put(1, 0, other, sha256(other))
    part = JournalPart(number=1, nbytes=PART, sha256=sha256(other), tag=tag)
    write_journal(path, replace(journal, parts={**journal.parts, 1: part}))

    # A bucket may tell of both parts: then there is doubt, and it is sent again.
    anew = isinstance(place, Directory) or held_is_clear(place, path)
    assert_converges(place, undisturbed, begins_anew=anew)
    assert_no_litter(place)


def held_is_clear(place: Bucket, path: str) -> bool:
    journal = read_journal(path)
    with place.shelf() as shelf:
        return 1 in shelf.resume(journal.header.key, journal.header.upload_id).held()


def test_bytes_that_changed_behind_our_record_are_sent_again(
    place: Bucket | Directory, undisturbed: str
) -> None:
    leave_upload(place)
    journal = read_journal(journal_of(place))
    other = bytes(PART)
    with place.shelf() as shelf:
        upload = shelf.resume(journal.header.key, journal.header.upload_id)
        upload.put(1, 0, other, sha256(other))

    assert_converges(place, undisturbed)
    assert_no_litter(place)


def test_a_record_that_says_more_than_is_there_is_not_believed(
    place: Bucket | Directory, undisturbed: str
) -> None:
    leave_upload(place)
    path = journal_of(place)
    journal = read_journal(path)
    false = JournalPart(number=3, nbytes=PART, sha256=sha256(b""), tag=sha256(b""))
    write_journal(path, replace(journal, parts={**journal.parts, 3: false}))

    assert_converges(place, undisturbed)
    assert_no_litter(place)


def test_what_another_library_compressed_begins_anew(
    place: Bucket | Directory, undisturbed: str
) -> None:
    leave_upload(place)
    path = journal_of(place)
    journal = read_journal(path)
    header = msgspec.structs.replace(journal.header, library="another one")
    write_journal(path, replace(journal, header=header))

    assert assert_converges(place, undisturbed) == 0
    assert_no_litter(place)


@pytest.mark.parametrize("record", [b"", b"\0" * 4096])
def test_a_garbled_record_begins_it_anew(
    place: Bucket | Directory, undisturbed: str, record: bytes
) -> None:
    leave_upload(place)
    with open(journal_of(place), "wb") as file:
        file.write(record)
    assert held_parts(place)

    assert assert_converges(place, undisturbed) == 0


def test_an_upload_without_a_record_is_another_s_and_stays(
    bucket: Bucket, undisturbed: str
) -> None:
    leave_upload(bucket)
    os.unlink(journal_of(bucket))

    assert assert_converges(bucket, undisturbed) == 0
    assert len(bucket.uploads()) == 1
    assert bucket.journals() == []


def test_an_upload_that_was_aborted_behind_our_back_begins_anew(
    place: Bucket | Directory, undisturbed: str
) -> None:
    leave_upload(place)
    journal = read_journal(journal_of(place))
    if isinstance(place, Bucket):
        with place.shelf() as shelf:
            shelf.resume(journal.header.key, journal.header.upload_id).abort()
    else:
        (path,) = (p for p in place.path.rglob(".buttersink-upload-*") if p.suffix != ".journal")
        path.unlink()

    assert assert_converges(place, undisturbed) == 0
    assert_no_litter(place)


def test_an_upload_of_a_living_process_is_left_alone(
    place: Bucket | Directory, undisturbed: str
) -> None:
    leave_upload(place)
    with ExitStack() as living:
        fd = os.open(journal_of(place), os.O_RDWR)
        living.callback(os.close, fd)
        fcntl.flock(fd, fcntl.LOCK_EX)
        before = held_parts(place)

        with place.store(PLAIN) as store:
            ran = run(memory_source(CONTENTS), store)

        assert ran.status == 3
        assert "another run is uploading" in ran.told()
        assert (held_parts(place), streams(place)) == (before, [])
    assert assert_converges(place, undisturbed) >= PART
    assert_no_litter(place)


def test_an_upload_that_ends_while_we_go_on_with_it_fails_cleanly(
    bucket: Bucket, undisturbed: str
) -> None:
    source = memory_source(CONTENTS)
    buffer = memoryview(bytearray(2 * (PART + MIB) + MIB // 2))
    with (  # noqa: PT012 - the block is what is tested
        bucket.store(PLAIN) as store,
        pytest.raises(ButterSinkError, match="not there any more") as raised,
        store.receive(diff(), "home/1", OPTIONS) as writer,
        source.send(diff(), OPTIONS) as reader,
    ):
        path = store.shelf.journal_path(key_of(bucket))
        writer.write(buffer[: reader.readinto(buffer)])
        wait_until(lambda: recorded_parts(path) == 2, "two parts were stored")
        header = read_journal(path).header
        store.shelf.resume(header.key, header.upload_id).abort()
        writer.write(buffer[: reader.readinto(buffer)])
    assert "\n" not in str(raised.value)
    assert streams(bucket) == []
    assert_converges(bucket, undisturbed)
    assert_no_litter(bucket)
