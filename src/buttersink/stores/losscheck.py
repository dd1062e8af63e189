"""Looking whether an incremental stream would leave a file different from the snapshot's."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from buttersink.stream.losses import LossFinder

if TYPE_CHECKING:
    from buttersink.stream.losses import Tail

_CLEARED_BY_CHOWN: Final = stat.S_ISUID | stat.S_ISGID
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class LossCheck:
    """Follows a metadata-only stream, and compares what it leaves out with the files.

    See `stream.losses` for the faults of the kernel that this is about. Paths are those of
    snapshots of this machine, which nobody changes.
    """

    def __init__(self, *, parent_fd: int, to_fd: int, version: int) -> None:
        """Prepare for the stream that turns the snapshot `parent_fd` into `to_fd`."""
        self._parent_fd = parent_fd
        self._to_fd = to_fd
        block_bytes = os.fstatvfs(to_fd).f_bsize
        self._finder = LossFinder(version, self._parent_size, block_bytes=block_bytes)

    def observe(self, command: int, body: memoryview) -> None:
        """Take the next command of the stream."""
        self._finder.observe(command, body)

    def first_loss(self) -> str | None:
        """Return what would be lost first, in words, once all was observed; None if nothing."""
        for tail in self._finder.tails():
            if self._has_data(tail):
                return f"the last bytes of {os.fsdecode(tail.path)}"
        for path in self._finder.chowned():
            found = self._in_parent(path)
            if found and stat.S_ISREG(found.st_mode) and found.st_mode & _CLEARED_BY_CHOWN:
                return f"the set-user-id or set-group-id bit of {os.fsdecode(path)}"
        return None

    def _has_data(self, tail: Tail) -> bool:
        try:
            fd = os.open(tail.path, _READ, dir_fd=self._to_fd)
        except FileNotFoundError:
            return True  # lost sight of it: what can't be checked isn't trusted
        try:
            return any(os.pread(fd, tail.end - tail.start, tail.start))
        finally:
            os.close(fd)

    def _in_parent(self, path: bytes) -> os.stat_result | None:
        try:
            return os.stat(path, dir_fd=self._parent_fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _parent_size(self, path: bytes) -> int | None:
        found = self._in_parent(path)
        return found.st_size if found and stat.S_ISREG(found.st_mode) else None
