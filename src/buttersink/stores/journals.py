"""The file in which the record of an open upload is kept, and locked while somebody is at it."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Self

from buttersink.errors import BusyError
from buttersink.stored.journal import encode_header, encode_part, parse_journal
from buttersink.stores.mapping import mapped_error

if TYPE_CHECKING:
    from buttersink.stored.journal import Journal, JournalHeader, JournalPart


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
            try:
                fd = os.open(path, flags | (os.O_CREAT if create else 0), 0o600)
            except FileNotFoundError:
                if create:
                    raise
                return None
            except OSError as error:
                raise mapped_error(error, f"opening the record of an upload, {path}") from error
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(fd)
                raise BusyError(
                    f"another run is uploading what {path} records",
                    "wait until it has ended, then run again",
                ) from error
            if _is_at(fd, path):
                return cls(path, fd)
            os.close(fd)  # whoever had locked it before has removed it

    def read(self) -> Journal | None:
        """Return what is recorded; None if that is nothing of use."""
        with open(os.dup(self._fd), "rb") as file:
            file.seek(0)
            found = parse_journal(file.read())
        if found is not None:
            os.ftruncate(self._fd, found.nbytes)  # a torn last line
        return found

    def start(self, header: JournalHeader) -> None:
        """Begin anew, with the record of an upload without parts."""
        os.ftruncate(self._fd, 0)
        os.write(self._fd, encode_header(header))

    def add(self, part: JournalPart) -> None:
        """Record a part. It need not survive a power cut: it would be sent again."""
        os.write(self._fd, encode_part(part))

    def close(self) -> None:
        """Unlock it, and leave it for the next run."""
        os.close(self._fd)

    def remove(self) -> None:
        """Remove and unlock it: the upload is complete or given up."""
        if _is_at(self._fd, self._path):
            os.unlink(self._path)
        os.close(self._fd)


def _is_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False
