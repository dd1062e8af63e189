"""A directory of files that is used like a bucket: `dir:///path/`.

Objects are files, keys their relative paths. Nothing is reached through a symbolic link below the
directory, and a link is no object. Neither is what has a name that begins with `.buttersink-`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from buttersink.errors import CorruptStreamError, MissingError, PathTakenError, TransferError
from buttersink.stores import beneath
from buttersink.stores.directory_files import (
    Files,
    copy_within_kernel,
    reporting,
    write_all,
)
from buttersink.stores.directory_listing import listed_objects, listed_uploads
from buttersink.stores.directory_lock import locked
from buttersink.stores.directory_names import (
    is_hidden,
    new_upload,
    open_upload,
    split_key,
)
from buttersink.stores.directory_upload import DirectoryUpload
from buttersink.stores.opening import open_directory
from buttersink.stores.shelf import PartLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from buttersink.stores.shelf import OpenUpload, Shelf, ShelfObject, Upload

_LIMITS: Final = PartLimits(least=1, most=4 << 30, count=10_000, total=10_000 * (2 << 30))
"""As if it were a service: so records of uploads stay small, and parts fit into memory."""


class DirectoryShelf:
    """Implements `shelf.Shelf` on any file system that POSIX programs can write to."""

    def __init__(self, path: str) -> None:
        """Open the directory.

        Raises:
            UsageError: It does not exist, or is no directory.
            NotPermittedError: It may not be opened.
        """
        # By links the same directory has many names, but two ends must be seen to be one.
        self._path = os.path.realpath(path)
        self._files = Files(open_directory(self._path), f"dir://{self._path.rstrip('/')}/")
        self._closed = False

    @property
    def name(self) -> str:
        """See `shelf.Shelf`."""
        return self._files.name

    @property
    def part_limits(self) -> PartLimits:
        """See `shelf.Shelf`."""
        return _LIMITS

    @property
    def keys_are_text(self) -> bool:
        """See `shelf.Shelf`: names of files are of any bytes."""
        return False

    @property
    def notes(self) -> tuple[str, ...]:
        """See `shelf.Shelf`; a directory does all that can be asked."""
        return ()

    def objects(self, prefix: str) -> Iterator[ShelfObject]:
        """See `shelf.Shelf`. What is in `trash/` is listed only if the prefix begins so.

        Raises:
            UsageError: The prefix can't be one of paths.
            NotPermittedError: A directory may not be read: nothing is left out unnoticed.
            PathTakenError: The prefix leads through a link.
        """
        return listed_objects(self._files, prefix)

    def uploads(self, prefix: str) -> Iterator[OpenUpload]:
        """See `shelf.Shelf`; `trash/` as in `objects`.

        An upload without a journal has its own path for a key, which `resume` understands. So has
        what a kill left of `put` and `copy`.
        """
        return listed_uploads(self._files, prefix)

    def stat(self, key: str) -> ShelfObject | None:
        """See `shelf.Shelf`."""
        beneath.split(key)
        if is_hidden(key):
            return None
        with reporting(f"looking at {self.name}{key}"):
            return self._files.described(key)

    def read(self, thing: ShelfObject, start: int, nbytes: int) -> bytes:
        """See `shelf.Shelf`."""
        pieces = []
        with reporting(f"reading {self.name}{thing.key}"), self._files.opened(thing) as fd:
            end = start + nbytes
            while start < end:
                piece = os.pread(fd, end - start, start)
                if not piece:
                    raise CorruptStreamError(
                        f"{self.name}{thing.key} ends after {start} bytes; {end} were asked for"
                    )
                pieces.append(piece)
                start += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def put(self, key: str, data: bytes, *, replace: bool = True) -> ShelfObject:
        """See `shelf.Shelf`."""

        def fill(fd: int) -> bool:
            write_all(fd, data, 0)
            return True

        self._store(key, fill, replace=replace)
        thing = self.stat(key)
        if thing is None or thing.nbytes != len(data):
            raise TransferError(f"{self.name}{key} is not what was stored a moment ago")
        return thing

    def begin(self, key: str) -> Upload:
        """See `shelf.Shelf`.

        Raises:
            UsageError: The key can't be a path.
            PathTakenError: Something stands where a directory is needed.
        """
        parents, _ = split_key(key)
        upload = new_upload(key)
        with reporting(f"beginning {self.name}{key}"):
            os.close(self._files.create(parents, str(upload)))
        return DirectoryUpload(self._files, key, upload)

    def resume(self, key: str, upload_id: str) -> Upload:
        """See `shelf.Shelf`."""
        return DirectoryUpload(self._files, key, open_upload(key, upload_id))

    def copy(self, thing: ShelfObject, shelf: Shelf, key: str) -> ShelfObject | None:
        """See `shelf.Shelf`: from another directory, where the kernel can do it.

        Raises:
            PathTakenError: There is an object of this key; it was not touched.
        """
        if not isinstance(shelf, DirectoryShelf):
            return None
        source = shelf._files  # noqa: SLF001 - of the same class
        if os.fstat(source.fd).st_dev != os.fstat(self._files.fd).st_dev:
            return None

        def fill(fd: int) -> bool:
            with source.opened(thing) as source_fd:
                if not copy_within_kernel(source_fd, fd, thing.nbytes):
                    return False
            with source.opened(thing):  # it was the same all the time
                return True

        if not self._store(key, fill, replace=False):
            return None
        copied = self.stat(key)
        if copied is None or copied.nbytes != thing.nbytes:
            raise CorruptStreamError(f"{self.name}{key} is not what was copied")
        return copied

    def move(self, thing: ShelfObject, key: str) -> None:
        """See `shelf.Shelf`.

        Raises:
            MissingError: It is gone, or is not the one that was listed.
            PathTakenError: Something else than an object is at `key`, or in the way there.
        """
        split_key(key)
        with reporting(f"moving {self.name}{thing.key} to {key}"):
            with self._files.opened(thing):
                pass
            try:
                self._files.move(thing.key, key)
            except FileNotFoundError as error:
                raise MissingError(f"{self.name}{thing.key} is gone") from error

    def remove(self, key: str) -> None:
        """See `shelf.Shelf`."""
        parents, name = split_key(key)
        with reporting(f"removing {self.name}{key}"):
            if self._files.described(key) is not None:
                self._files.unlink(parents, name)
                self._files.prune(parents)

    def unarchive(self, thing: ShelfObject, days: int) -> None:
        """See `shelf.Shelf`; nothing is archived here."""

    def readable(self, thing: ShelfObject) -> str:  # noqa: ARG002 - of the protocol
        """See `shelf.Shelf`; all is."""
        return ""

    def occupied(self, path: str) -> bool:
        """See `shelf.Shelf`; also if no object could be there, as its name is hidden."""
        parents, name = beneath.split(path)
        if is_hidden(path):
            return True
        with reporting(f"looking at {self.name}{path}"):
            try:
                with beneath.opened(self._files.fd, [*parents, name]):
                    return False
            except FileNotFoundError:
                return False
            except NotADirectoryError:
                return True

    def journal_path(self, key: str) -> str:
        """See `shelf.Shelf`: beside the upload, so that any machine can go on with it.

        Its directory is there as long as the upload is. Others may be able to write there:
        don't follow a link at that path.
        """
        parents, _ = split_key(key)
        return os.path.join(self._path, *parents, new_upload(key).journal)

    def lock(self, prefix: str) -> AbstractContextManager[None]:  # noqa: ARG002 - of the protocol
        """See `shelf.Shelf`; the whole directory is locked, whatever the prefix."""
        return locked(self._files)

    def close(self) -> None:
        """See `shelf.Shelf`."""
        if not self._closed:
            self._closed = True
            os.close(self._files.fd)

    def _store(self, key: str, fill: Callable[[int], bool], *, replace: bool) -> bool:
        """Make an object of what `fill` writes to a descriptor, if that returns true."""
        parents, name = split_key(key)
        temporary = str(new_upload(key))
        kept = False
        with reporting(f"storing {self.name}{key}"):
            if not replace and self._files.described(key) is not None:
                raise PathTakenError(f"{self.name}{key} is there already")
            fd = self._files.create(parents, temporary)
            try:
                with open(fd, "wb", buffering=0):
                    if not fill(fd):
                        return False
                    os.fsync(fd)
                self._files.finish(parents, temporary, at=name, replace=replace)
                kept = True
            finally:
                if not kept:
                    with suppress(OSError):  # what came before it is what matters
                        self._files.unlink(parents, temporary)
                    self._files.prune(parents)
        return True
