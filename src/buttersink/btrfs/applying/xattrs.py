"""Extended attributes of what is known by a directory and a name.

There is no call for that before Linux 6.13 (setxattrat), and /proc, the usual way round, is out
of reach in a root directory of its own. So the calls that follow no link are made from within
the directory: the working directory of the whole process changes for the moment.
"""

from __future__ import annotations

import os


class Xattrs:
    """Sets and removes extended attributes, also of symbolic links and special files."""

    def __init__(self) -> None:
        self._home = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def set(self, dir_fd: int, name: bytes, attribute: bytes, data: memoryview) -> None:
        """Set an extended attribute of `name` in a directory."""
        os.fchdir(dir_fd)
        try:
            os.setxattr(name, attribute, data, follow_symlinks=False)
        finally:
            os.fchdir(self._home)

    def remove(self, dir_fd: int, name: bytes, attribute: bytes) -> None:
        """Remove an extended attribute of `name` in a directory."""
        os.fchdir(dir_fd)
        try:
            os.removexattr(name, attribute, follow_symlinks=False)
        finally:
            os.fchdir(self._home)

    def close(self) -> None:
        """End; to be called once."""
        os.close(self._home)
