"""The file in which the record of an open upload is kept, and locked while somebody is at it."""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

from buttersink.errors import BusyError, ButterSinkError, TransferError
from buttersink.stored.journal import encode_header, encode_part, parse_journal
from buttersink.stores.mapping import mapped_error

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from buttersink.stored.journal import Journal, JournalHeader, JournalPart
    from buttersink.stores.shelf import Shelf


class JournalFile:
    """An open and locked journal. Its owner is the only one who may touch the upload."""

    def __init__(self, path: str, fd: int) -> None:
        """Take over a locked descriptor of the file at `path`."""
        self._path = path
        self._fd = fd

    @classmethod
    def open(cls, path: str, *, create: bool) -> Self | None:
        """Open and lock the journal at `path`; None if there is none and none is to be made.

        Raises:
            BusyError: Another process is at work on the upload.
            TransferError: It can't be opened.
        """
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        while True:
            with _reporting(f"opening the record of an upload, {path}"):
                try:
                    fd = os.open(path, flags | (os.O_CREAT if create else 0), 0o600)
                except FileNotFoundError:
                    if create:
                        raise
                    return None
                try:
                    kept = _locked(fd, path)
                except BaseException:
                    os.close(fd)
                    raise
            if kept:
                return cls(path, fd)
            os.close(fd)  # whoever had locked it before has removed it

    def read(self) -> Journal | None:
        """Return what is recorded; None if that is nothing of use.

        Raises:
            TransferError: It can't be read.
        """
        with self._at_work("reading"):
            with open(os.dup(self._fd), "rb") as file:
                file.seek(0)
                found = parse_journal(file.read())
            if found is not None:
                os.ftruncate(self._fd, found.nbytes)  # a torn last line
        return found

    def start(self, header: JournalHeader) -> None:
        """Begin anew, with the record of an upload without parts.

        Raises:
            TransferError: It can't be written.
        """
        with self._at_work("beginning"):
            os.ftruncate(self._fd, 0)
            os.write(self._fd, encode_header(header))

    def add(self, part: JournalPart) -> None:
        """Record a part. It need not survive a power cut: it would be sent again.

        Raises:
            TransferError: It can't be written.
        """
        with self._at_work("adding to"):
            os.write(self._fd, encode_part(part))

    def close(self) -> None:
        """Unlock it, and leave it for the next run."""
        os.close(self._fd)

    def remove(self) -> None:
        """Remove and unlock it: the upload is complete or given up."""
        try:
            with self._at_work("removing"):
                if _is_at(self._fd, self._path):
                    os.unlink(self._path)
        finally:
            os.close(self._fd)

    @contextmanager
    def _at_work(self, doing: str) -> Iterator[None]:
        with _reporting(f"{doing} the record of an upload, {self._path}"):
            yield


def forget_complete(shelf: Shelf, keys: Iterable[str], open_ids: Container[str]) -> None:
    """Remove the records of uploads that are complete: a kill can come right before that is done.

    Args:
        shelf: Where the uploads went.
        keys: Of objects that are there.
        open_ids: What the uploads are called that are still open.
    """
    for key in keys:
        with suppress(ButterSinkError):  # such as another run's, which is at work on it
            journal = JournalFile.open(shelf.journal_path(key), create=False)
            if journal is None:
                continue
            try:
                record = journal.read()
            except BaseException:
                journal.close()
                raise
            if record is None or record.header.upload_id in open_ids:
                journal.close()
            else:
                journal.remove()


@contextmanager
def _reporting(doing: str) -> Iterator[None]:
    """Let only errors that a user can act on leave the block."""
    try:
        yield
    except OSError as error:
        raise mapped_error(error, doing) from error


def _locked(fd: int, path: str) -> bool:
    """Lock a file; tell whether it is still the one at `path`."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise TransferError(f"{path} is no file, so it can't be the record of an upload")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BusyError(
            f"another run is uploading what {path} records",
            "wait until it has ended, then run again",
        ) from error
    return _is_at(fd, path)


def _is_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False
