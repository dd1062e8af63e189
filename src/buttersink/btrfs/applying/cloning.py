"""Sharing data between files, and copying it where the file system can't share it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from buttersink.btrfs.applying.openfiles import SourceFiles
from buttersink.btrfs.applying.paths import Directories
from buttersink.btrfs.file_calls import clone_range
from buttersink.errors import CorruptStreamError

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

_COPYABLE: Final = frozenset(
    {
        errno.EINVAL,  # with and without checksums; blocks of another size than the sender's
        errno.EOPNOTSUPP,
        errno.ETXTBSY,  # the source is swap space
        errno.EXDEV,  # through another mount, before Linux 5.18
    }
)
"""What a clone fails with where a copy may do."""


class Cloner:
    """Clones from files of the snapshot being made and of others."""

    def __init__(
        self, directories: Directories, own: frozenset[UUID], sources: Callable[[UUID], int]
    ) -> None:
        """Be ready to clone.

        Args:
            directories: Those of the snapshot being made.
            own: The identities that it has in the stream.
            sources: Returns the top directory of another snapshot, which is not changed.
        """
        self._own = own
        self._own_files = SourceFiles(directories)
        self._find = sources
        self._others: dict[UUID, tuple[Directories, SourceFiles]] = {}

    def clone(
        self,
        fd: int,
        offset: int,
        *,
        length: int,
        source: UUID,
        source_path: bytes,
        source_offset: int,
    ) -> None:
        """Let a range of the file `fd` have the data of a range of another; all in bytes.

        Raises:
            CorruptStreamError: The source is no regular file, or ends before the range.
            ButterSinkError: There is no such snapshot.
            OSError: As the kernel has it.
        """
        source_fd = self._files(source).open(source_path)
        if length == 0:  # to the kernel, that is all there is
            return
        try:
            clone_range(source_fd, fd, source_offset=source_offset, length=length, offset=offset)
        except OSError as error:
            if error.errno not in _COPYABLE:
                raise
            size = os.fstat(source_fd).st_size
            if source_offset + length > size:
                raise CorruptStreamError(
                    f"a clone of {length} bytes from byte {source_offset} of "
                    f"{os.fsdecode(source_path)!r}, which has only {size}"
                ) from error
            copy_range(source_fd, fd, source_offset=source_offset, length=length, offset=offset)

    def _files(self, source: UUID) -> SourceFiles:
        if source in self._own:
            return self._own_files
        found = self._others.get(source)
        if found is None:
            directories = Directories(self._find(source))
            found = self._others[source] = (directories, SourceFiles(directories))
        return found[1]

    def forget(self, *paths: bytes) -> None:
        """Let go of what is kept of the snapshot being made at these paths, and below."""
        self._own_files.forget(*paths)

    def close(self) -> None:
        """Let go of all that is kept open."""
        self._own_files.close()
        while self._others:
            directories, files = self._others.popitem()[1]
            files.close()
            directories.close()


def copy_range(source_fd: int, fd: int, *, source_offset: int, length: int, offset: int) -> None:
    """Copy bytes from file to file, inside the kernel.

    It shares them still where only the mounts differ (vfs_copy_file_range in fs/read_write.c).

    Raises:
        CorruptStreamError: The ranges overlap, so that the result would depend on the order.
        OSError: As copy_file_range(2).
    """
    if os.path.sameopenfile(source_fd, fd) and abs(source_offset - offset) < length:
        raise CorruptStreamError("a file is cloned onto itself")
    while length:
        count = os.copy_file_range(source_fd, fd, length, source_offset, offset)
        if count == 0:
            raise CorruptStreamError("the source of a clone has become shorter")
        source_offset, offset, length = source_offset + count, offset + count, length - count
