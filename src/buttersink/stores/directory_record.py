"""What the journals beside uploads to a directory tell: keys, and where the parts are.

The caller writes them (`stored.journal`). Nothing they say is trusted further than it can be
checked.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from buttersink.stored.journal import parse_journal
from buttersink.stores import beneath
from buttersink.stores.directory_names import key_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buttersink.stores.directory_files import Files
    from buttersink.stores.directory_names import UploadName

_LONGEST: Final = 256 << 20
"""Bytes that are read of a journal; one of 10,000 parts has a hundredth of that."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a part lies in its object, in bytes."""

    offset: int
    nbytes: int

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + self.nbytes

    def overlaps(self, other: Extent) -> bool:
        """Tell whether they have a byte in common."""
        return self.offset < other.end and other.offset < self.end


@dataclass(frozen=True, slots=True)
class Record:
    """What a journal tells.

    Attributes:
        key: Of the object that the upload is to become; None if that is not told.
        extents: Of the parts that were sent, by number.
    """

    key: str | None
    extents: Mapping[int, Extent]


def read_record(files: Files, parents: list[str], name: UploadName) -> Record:
    """Return what the journal beside an upload tells; nothing if there is none of it.

    The journal may be of a later upload of the same key: then it tells nothing of parts.

    Raises:
        OSError: It can't be read.
    """
    journal = parse_journal(_content(files, parents, name.journal))
    if journal is None or not _is_of(journal.header.key, parents, name):
        return Record(None, {})
    if journal.header.upload_id != name.upload_id:
        return Record(journal.header.key, {})
    offset = journal.header.schedule.offset
    extents = {number: Extent(offset(number), p.nbytes) for number, p in journal.parts.items()}
    return Record(journal.header.key, extents)


def _is_of(key: str, parents: list[str], name: UploadName) -> bool:
    """Tell whether an upload of that name, in that directory, is to become the object `key`."""
    if key.split("/")[:-1] != parents:
        return False
    try:
        return key_digest(key) == name.digest
    except UnicodeEncodeError:  # surrogates that no name of a file gives
        return False


def _content(files: Files, parents: list[str], name: str) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with beneath.opened(files.fd, parents) as directory_fd:
            fd = os.open(name, flags, dir_fd=directory_fd)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ELOOP}:
            return b""
        raise
    with open(fd, "rb") as file:
        return file.read(_LONGEST) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
