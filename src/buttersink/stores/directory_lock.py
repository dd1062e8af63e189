"""Keeping other runs out of a directory of objects."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from buttersink.errors import BusyError
from buttersink.stores.directory_files import failure
from buttersink.stores.directory_names import HIDDEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buttersink.stores.directory_files import Files

_SECONDS: Final = 3.0
_POLL_SECONDS: Final = 0.1
_NO_LOCKS: Final = frozenset(
    {errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
)
_WAYS: Final = (
    (".", os.O_RDONLY | os.O_DIRECTORY),
    # NFS locks only what is open for writing (fs/nfs/file.c, nfs_flock). This file stays.
    (f"{HIDDEN}lock", os.O_RDWR | os.O_CREAT),
)


@contextmanager
def locked(files: Files) -> Iterator[None]:
    """Hold the lock of a directory, by flock(2); go without where the file system has none.

    Raises:
        BusyError: Another run holds it; after a wait of a few seconds.
    """
    fd = _acquired(files)
    try:
        yield
    finally:
        if fd is not None:
            os.close(fd)


def _acquired(files: Files) -> int | None:
    for path, flags in _WAYS:
        try:
            fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=files.fd)
        except OSError as error:
            raise failure(error, f"locking {files.name}") from error
        try:
            _wait(fd, files.name)
        except OSError as error:
            os.close(fd)
            if error.errno not in _NO_LOCKS:
                raise failure(error, f"locking {files.name}") from error
        except BaseException:
            os.close(fd)
            raise
        else:
            return fd
    return None


def _wait(fd: int, name: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise BusyError(
                    f"another run is writing to {name}", "wait until it has ended, then run again"
                ) from error
            time.sleep(_POLL_SECONDS)
        else:
            return
