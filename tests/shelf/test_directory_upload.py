"""Uploads to directories after kills, power cuts and other people's hands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import MissingError, TransferError, UsageError
from buttersink.stores.directory import DirectoryShelf
from buttersink.stores.shelf import SentPart
from shelf.sending import content, keys, part_bytes, record, send, sha256, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buttersink.stores.shelf import Upload

KEY = "some/object"

SENDER = """
import sys
from buttersink.stores.directory import DirectoryShelf
from shelf.sending import content, record, send

shelf = DirectoryShelf(sys.argv[1])
upload = shelf.begin(sys.argv[2])
sent = []
print(upload.upload_id, flush=True)
for number in range(1, 100):
    sent += send(upload, content(shelf, 100), [number])
    record(shelf, sys.argv[2], upload, sent)
    print(number, flush=True)
"""


@pytest.fixture
def root(scratch: Path) -> Path:
    path = scratch / "objects"
    path.mkdir()
    return path


@pytest.fixture
def shelf(root: Path) -> Iterator[DirectoryShelf]:
    shelf = DirectoryShelf(str(root))
    yield shelf
    shelf.close()


def file_of(root: Path, upload: Upload) -> Path:
    (path,) = root.rglob(f".buttersink-upload-*.{upload.upload_id}")
    return path


def sent_upload(shelf: DirectoryShelf, pieces: list[bytes]) -> tuple[Upload, list[SentPart]]:
    """Return the handle that another run has of an upload all parts of which were sent."""
    upload = shelf.begin(KEY)
    sent = send(upload, pieces)
    record(shelf, KEY, upload, sent)
    return shelf.resume(KEY, upload.upload_id), sent


def test_after_a_kill_what_arrived_is_gone_on_with(shelf: DirectoryShelf, root: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SENDER, str(root), KEY],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    ) as sender:
        assert sender.stdout is not None
        upload_id = sender.stdout.readline().strip()
        while sender.stdout.readline().strip() != "5":
            pass
        sender.send_signal(signal.SIGKILL)
    assert keys(shelf) == []
    (found,) = shelf.uploads("some/")
    assert (found.key, found.upload_id) == (KEY, upload_id)
    upload = shelf.resume(KEY, upload_id)
    pieces = content(shelf, 100)
    held = upload.held()
    assert len(held) >= 4  # the kill may have come while the journal was being written anew
    assert all(part.tag == sha256(pieces[number - 1]) for number, part in held.items())
    missing = [number for number in range(1, 101) if number not in held]
    sent = [
        SentPart(number=number, nbytes=part.nbytes, sha256=part.tag, tag=part.tag)
        for number, part in held.items()
    ]
    assert whole(shelf, upload.complete(sent + send(upload, pieces, missing))) == b"".join(pieces)


def test_a_part_that_never_reached_the_disk_is_told_from_what_was_sent(
    shelf: DirectoryShelf, root: Path
) -> None:
    pieces = content(shelf, 3)
    upload, sent = sent_upload(shelf, pieces)
    with open(file_of(root, upload), "r+b") as file:
        file.seek(part_bytes(shelf))
        file.write(bytes(part_bytes(shelf)))  # a hole reads as zeros
    held = upload.held()
    assert [held[part.number].tag == part.tag for part in sent] == [True, False, True]
    assert upload.put(2, part_bytes(shelf), pieces[1], sha256(pieces[1])) == sent[1].tag
    assert whole(shelf, upload.complete(sent)) == b"".join(pieces)


def test_a_part_beyond_the_end_of_the_file_is_not_held(shelf: DirectoryShelf, root: Path) -> None:
    upload, sent = sent_upload(shelf, content(shelf, 3))
    os.truncate(file_of(root, upload), sum(part.nbytes for part in sent) - 1)
    assert set(upload.held()) == {1, 2}


@pytest.mark.parametrize("looks", [1, 0])
def test_an_upload_with_a_damaged_part_is_not_completed(
    shelf: DirectoryShelf, root: Path, looks: int
) -> None:
    upload, sent = sent_upload(shelf, content(shelf, 3))
    with open(file_of(root, upload), "r+b") as file:
        file.write(b"damage")
    for _ in range(looks):
        upload.held()
    with pytest.raises(TransferError, match="part 1"):
        upload.complete(sent)
    assert keys(shelf) == []


def test_a_part_written_over_another_takes_its_place(shelf: DirectoryShelf) -> None:
    pieces = content(shelf, 2)
    upload = shelf.begin(KEY)
    sent = send(upload, pieces)
    upload.put(3, 10, b"misplaced", sha256(b"misplaced"))
    with pytest.raises(TransferError, match="part 1"):
        upload.complete(sent)


def test_without_a_journal_an_upload_goes_by_its_own_path(
    shelf: DirectoryShelf, root: Path
) -> None:
    upload = shelf.begin(KEY)
    send(upload, content(shelf, 2))
    (found,) = shelf.uploads("some/")
    assert abs(datetime.now(UTC) - found.started) < timedelta(hours=1)
    assert root / found.key == file_of(root, upload)
    assert found.upload_id == upload.upload_id
    assert found.nbytes == (root / found.key).stat().st_size
    shelf.resume(found.key, found.upload_id).abort()
    assert os.listdir(root) == []


@pytest.mark.parametrize("key", ["some/other", "other/object", "../etc/passwd", "/object"])
def test_a_journal_of_another_key_is_not_believed(
    shelf: DirectoryShelf, root: Path, key: str
) -> None:
    upload = shelf.begin(KEY)
    sent = send(upload, content(shelf, 2))
    record(shelf, KEY, upload, sent)
    path = Path(shelf.journal_path(KEY))
    lines = path.read_bytes().split(b"\n")
    lines[0] = lines[0].replace(b'"some/object"', f'"{key}"'.encode())
    path.write_bytes(b"\n".join(lines))
    (found,) = shelf.uploads("")
    assert root / found.key == file_of(root, upload)
    assert dict(shelf.resume(KEY, upload.upload_id).held()) == {}


@pytest.mark.parametrize(
    "journal", [b"", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"{}\n", b"null\n"]
)
def test_an_unreadable_journal_tells_nothing(
    shelf: DirectoryShelf, root: Path, journal: bytes
) -> None:
    upload, _ = sent_upload(shelf, content(shelf, 2))
    Path(shelf.journal_path(KEY)).write_bytes(journal)
    assert dict(upload.held()) == {}
    (found,) = shelf.uploads("")
    assert root / found.key == file_of(root, upload)


def test_a_journal_that_is_a_link_is_not_followed(shelf: DirectoryShelf, scratch: Path) -> None:
    upload, _ = sent_upload(shelf, content(shelf, 2))
    path = Path(shelf.journal_path(KEY))
    path.rename(scratch / "elsewhere")
    path.symlink_to(scratch / "elsewhere")
    assert dict(upload.held()) == {}


def test_the_journal_of_a_later_upload_tells_nothing_of_the_parts_of_an_earlier(
    shelf: DirectoryShelf,
) -> None:
    old = shelf.begin(KEY)
    send(old, content(shelf, 3))
    sent_upload(shelf, content(shelf, 2))
    assert dict(shelf.resume(KEY, old.upload_id).held()) == {}
    assert {found.key for found in shelf.uploads("")} == {KEY}


def test_an_upload_that_is_complete_but_for_its_second_name_is_not_written_to(
    shelf: DirectoryShelf, root: Path
) -> None:
    upload, sent = sent_upload(shelf, content(shelf, 2))
    os.link(file_of(root, upload), root / KEY)  # killed between link and unlink
    with pytest.raises(MissingError, match=KEY):
        upload.held()
    with pytest.raises(MissingError, match=KEY):
        send(upload, content(shelf, 2, seed=9))
    with pytest.raises(MissingError, match=KEY):
        upload.complete(sent)
    upload.abort()
    assert keys(shelf) == [KEY]
    assert os.listdir(root / "some") == ["object"]


@pytest.mark.parametrize("upload_id", ["", "x", "../x", "20260101T000000Z-0123456", "*"])
def test_what_is_no_upload_id_is_refused(shelf: DirectoryShelf, upload_id: str) -> None:
    with pytest.raises(UsageError, match="upload"):
        shelf.resume(KEY, upload_id)


def test_an_upload_that_became_a_link_is_not_written_to(
    shelf: DirectoryShelf, root: Path, scratch: Path
) -> None:
    upload = shelf.begin(KEY)
    path = file_of(root, upload)
    path.unlink()
    (scratch / "target").write_bytes(b"kept")
    path.symlink_to(scratch / "target")
    with pytest.raises(MissingError, match=KEY):
        send(upload, content(shelf, 2))
    assert (scratch / "target").read_bytes() == b"kept"
    assert list(shelf.uploads("")) == []
