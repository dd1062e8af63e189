"""Looking whether an incremental stream would forget the last bytes of a file."""

from __future__ import annotations

import os
import stat
from typing import Final

from buttersink.stream.tails import TailFinder

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class TailCheck:
    """Follows a metadata-only stream, and compares what it leaves to be zeros with the files.

    See `stream.tails` for the fault of the kernel that this is about. Paths are those of
    snapshots of this machine, which nobody changes.
    """

    def __init__(self, *, parent_fd: int, to_fd: int, version: int) -> None:
        """Prepare for the stream that turns the snapshot `parent_fd` into `to_fd`."""
        self._parent_fd = parent_fd
        self._to_fd = to_fd
        block_bytes = os.fstatvfs(to_fd).f_bsize
        self._finder = TailFinder(version, self._parent_size, block_bytes=block_bytes)

    def observe(self, command: int, body: memoryview) -> None:
        """Take the next command of the stream."""
        self._finder.observe(command, body)

    def first_lost(self) -> bytes | None:
        """Return the path of a file whose last bytes would be lost, once all was observed."""
        for tail in self._finder.tails():
            try:
                fd = os.open(tail.path, _READ, dir_fd=self._to_fd)
            except FileNotFoundError:
                return tail.path  # lost sight of it: what can't be checked isn't trusted
            try:
                if any(os.pread(fd, tail.end - tail.start, tail.start)):
                    return tail.path
            finally:
                os.close(fd)
        return None

    def _parent_size(self, path: bytes) -> int | None:
        try:
            found = os.stat(path, dir_fd=self._parent_fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None
