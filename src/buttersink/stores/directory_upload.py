"""An object of a directory in the making: a file with a hidden name, filled part by part."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Final

from buttersink.errors import MissingError, PathTakenError, TransferError
from buttersink.stores import beneath
from buttersink.stores.directory_files import ABSENT, failure, reporting, scanned, write_all
from buttersink.stores.directory_names import UploadName
from buttersink.stores.directory_record import Extent, read_record
from buttersink.stores.shelf import HeldPart

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from buttersink.stores.directory_files import Files
    from buttersink.stores.shelf import SentPart, ShelfObject

_READ_BYTES: Final = 1 << 20


class DirectoryUpload:
    """Implements `shelf.Upload`.

    The file is opened anew for each part: an upload has no end at which it could be closed, and
    NFS tells of failed writes when the file is closed.
    """

    def __init__(self, files: Files, key: str, name: UploadName) -> None:
        """Remember which; nothing is looked up.

        Args:
            files: Those of the directory.
            key: Of the object that it is to become; or its own path where that is not known.
            name: Of its file.
        """
        self._files = files
        self._key = key
        self._name = name
        self._parents, self._at = beneath.split(key)
        self._text = f"{files.name}{key}"
        self._seen: dict[int, tuple[Extent, str]] = {}
        """The parts that are known to be in the file, with their hashes."""
        self._lock = Lock()

    @property
    def upload_id(self) -> str:
        """See `shelf.Upload`."""
        return self._name.upload_id

    def held(self) -> Mapping[int, HeldPart]:
        """See `shelf.Upload`: the parts in the journal, if the file is so long; as they are now.

        Each is read: of what was written before a power cut, anything may be missing.
        """
        with self._opened(os.O_RDONLY, "reading what there is of") as fd:
            nbytes = os.fstat(fd).st_size
            extents = dict(read_record(self._files, self._parents, self._name).extents)
            with self._lock:
                extents.update({number: extent for number, (extent, _) in self._seen.items()})
            hashes = {
                number: (extent, _hash(fd, extent))
                for number, extent in sorted(extents.items())
                if extent.end <= nbytes
            }
        with self._lock:
            self._seen = hashes
        return {
            number: HeldPart(nbytes=extent.nbytes, tag=sha256)
            for number, (extent, sha256) in hashes.items()
        }

    def put(self, number: int, offset: int, data: bytes | bytearray, sha256: str) -> str:
        """See `shelf.Upload`; what is hashed again is what is read back, where it counts."""
        extent = Extent(offset, len(data))
        with self._lock:
            self._seen = {
                other: (at, hash_)
                for other, (at, hash_) in self._seen.items()
                if other != number and not at.overlaps(extent)
            }
        with self._opened(os.O_WRONLY, "writing") as fd:
            write_all(fd, data, offset)
        with self._lock:
            self._seen[number] = (extent, sha256)
        return sha256

    def complete(self, parts: Sequence[SentPart]) -> ShelfObject:
        """See `shelf.Upload`.

        Raises:
            MissingError: The upload is not there any more.
        """
        with self._opened(os.O_RDWR, "completing") as fd:
            total = self._check(fd, parts)
            os.ftruncate(fd, total)  # a part beyond the end may be left of an earlier attempt
            os.fsync(fd)
        try:
            self._files.finish(self._parents, str(self._name), at=self._at, replace=False)
        except FileExistsError as error:
            raise PathTakenError(f"{self._text} is there already") from error
        except OSError as error:
            raise failure(error, f"giving {self._text} its name") from error
        with reporting(f"looking at {self._text}"):
            thing = self._files.described(self._key)
        if thing is None or thing.nbytes != total:
            raise TransferError(f"{self._text} is not of {total} bytes, though all was written")
        return thing

    def abort(self) -> None:
        """See `shelf.Upload`."""
        with reporting(f"giving up an upload of {self._text}"):
            self._files.unlink(self._parents, str(self._name))
            if not self._others():
                self._files.unlink(self._parents, self._name.journal)
            self._files.prune(self._parents)

    def _others(self) -> bool:
        """Tell whether there are more uploads of the same key, which the journal may be of."""
        try:
            with beneath.opened(self._files.fd, self._parents) as fd, scanned(fd) as entries:
                names = [UploadName.parse(entry.name) for entry in entries]
        except ABSENT:
            return False
        return any(name is not None and name.digest == self._name.digest for name in names)

    def _check(self, fd: int, parts: Sequence[SentPart]) -> int:
        """Return the size that the parts make, once they are seen to be in the file.

        Parts that were neither put nor looked at by this handle are read.
        """
        offset = 0
        with self._lock:
            seen = dict(self._seen)
        for part in sorted(parts, key=lambda part: part.number):
            extent = Extent(offset, part.nbytes)
            known, sha256 = seen.get(part.number, (None, ""))
            if known != extent:
                sha256 = _hash(fd, extent)
            if sha256 != part.sha256:
                raise TransferError(f"part {part.number} of {self._text} is not what was sent")
            offset = extent.end
        return offset

    @contextmanager
    def _opened(self, flags: int, doing: str) -> Iterator[int]:
        """Open the file.

        Raises:
            MissingError: It is gone, or is complete.
        """
        gone = MissingError(f"the upload of {self._text} is gone", "run again")
        with reporting(f"{doing} {self._text}"):
            try:
                with beneath.opened(self._files.fd, self._parents) as directory_fd:
                    fd = os.open(
                        str(self._name),
                        flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                        dir_fd=directory_fd,
                    )
            except OSError as error:
                if isinstance(error, ABSENT) or error.errno in {errno.ELOOP, errno.ENXIO}:
                    raise gone from error
                raise
            try:
                status = os.fstat(fd)
                # A second name is the object's, if a kill came between link and unlink.
                if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                    raise gone
                yield fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)


def _hash(fd: int, extent: Extent) -> str:
    """Return the SHA-256 of what is in a file there; less if it ends before."""
    digest = hashlib.sha256()
    offset = extent.offset
    while offset < extent.end:
        piece = os.pread(fd, min(_READ_BYTES, extent.end - offset), offset)
        if not piece:
            break
        digest.update(piece)
        offset += len(piece)
    return digest.hexdigest()
