"""Files that are kept open, because the commands of a stream come file by file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from buttersink.btrfs.applying.paths import NO_FOLLOW, open_file

if TYPE_CHECKING:
    from buttersink.btrfs.applying.paths import Directories

_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW
_NEW_MODE: Final = 0o600

_KEPT_SOURCES: Final = 8


class WrittenFile:
    """The file that was made or written to last.

    Attributes:
        path: Its path; None if there is none.
        fd: A descriptor to write to it; meaningless without a path.
        fresh: Whether it was made here and has still the mode, and not the capabilities, that it
            was made with.
    """

    __slots__ = ("_directories", "fd", "fresh", "path")

    def __init__(self, directories: Directories) -> None:
        self._directories = directories
        self.path: bytes | None = None
        self.fd = -1
        self.fresh = False

    def make(self, path: bytes) -> None:
        """Make a new file, empty, for its owner alone."""
        dir_fd, name = self._directories.parent(path)
        fd = os.open(name, _NEW_FILE, _NEW_MODE, dir_fd=dir_fd)
        if self.path is not None:
            os.close(self.fd)
        self.path, self.fd, self.fresh = path, fd, True

    def open(self, path: bytes) -> int:
        """Return a descriptor to write to the file `path`.

        Raises:
            CorruptStreamError: It is no regular file.
            OSError: As `os.open`.
        """
        if path != self.path:
            self.close()
            self.fd = open_file(self._directories, path, os.O_WRONLY)
            self.path, self.fresh = path, False
        return self.fd

    def renamed(self, path: bytes, to: bytes) -> None:
        """Follow a rename of anything in the snapshot."""
        if self.path is None:
            return
        if path == self.path:
            self.path = to
        elif to == self.path or self.path.startswith((path + b"/", to + b"/")):
            self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self.path is not None:
            self.path = None
            os.close(self.fd)


class SourceFiles:
    """Files that were read from last, in one snapshot."""

    def __init__(self, directories: Directories) -> None:
        self._directories = directories
        self._kept: dict[bytes, int] = {}

    def open(self, path: bytes) -> int:
        """Return a descriptor to read the file `path`; it stays open until the next call.

        Raises:
            CorruptStreamError: It is no regular file.
            OSError: As `os.open`.
        """
        fd = self._kept.get(path)
        if fd is None:
            fd = open_file(self._directories, path, os.O_RDONLY)
            if len(self._kept) >= _KEPT_SOURCES:
                os.close(self._kept.pop(next(iter(self._kept))))
            self._kept[path] = fd
        return fd

    def forget(self, *paths: bytes) -> None:
        """Let go of what is kept at any of these paths, and below."""
        if not self._kept:
            return
        below = tuple(path + b"/" for path in paths)
        for known in [each for each in self._kept if each in paths or each.startswith(below)]:
            os.close(self._kept.pop(known))

    def close(self) -> None:
        """Let go of all that is kept."""
        while self._kept:
            os.close(self._kept.popitem()[1])
