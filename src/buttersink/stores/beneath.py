"""Opening directories below a directory, one component at a time, never through a link."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from buttersink.errors import PathTakenError, UsageError
from buttersink.stores.mounts import open_in_mount

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_MAX_PATH: Final = 4095
"""Bytes of a path that system calls take at once (PATH_MAX, linux/limits.h)."""


def split(path: str) -> tuple[list[str], str]:
    """Split a relative path into the directories that lead to it, and its own name.

    Raises:
        UsageError: It is absolute, empty, or has a component that leads elsewhere.
    """
    parts = path.split("/")
    if any(part in {"", ".", ".."} or "\0" in part for part in parts):
        raise UsageError(f"{path!r} is no path below a directory")
    return parts[:-1], parts[-1]


@contextmanager
def opened(directory_fd: int, parts: list[str], *, same_mount: bool = False) -> Iterator[int]:
    """Open the directory that `parts` lead to from `directory_fd`.

    Args:
        directory_fd: Where to begin.
        parts: Names of directories, each in the one before.
        same_mount: What is mounted on one of them is not entered.

    Raises:
        OSError: FileNotFoundError, or NotADirectoryError where a component is something else
            (also a link); with EXDEV where something is mounted.
    """
    open_part = open_in_mount if same_mount else os.open
    fd = os.dup(directory_fd)
    try:
        for part in parts:
            inner = open_part(os.fsencode(part), _DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def make_directories(directory_fd: int, parts: list[str], *, same_mount: bool = False) -> list[str]:
    """Create the directories that `parts` lead to; return the paths of those that are new.

    After an error none of the new ones is left. The arguments are those of `opened`.

    Raises:
        PathTakenError: Something else stands in the way.
        OSError: For example with ENAMETOOLONG, if hardly any program could get at them.
    """
    if len(os.fsencode("/".join(parts))) > _MAX_PATH:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    made: list[str] = []
    try:
        for depth, part in enumerate(parts):
            with opened(directory_fd, parts[:depth], same_mount=same_mount) as fd:
                try:
                    os.mkdir(os.fsencode(part), dir_fd=fd)
                except FileExistsError:
                    continue
            made.append("/".join(parts[: depth + 1]))
        with opened(directory_fd, parts, same_mount=same_mount):
            return made
    except NotADirectoryError as error:
        remove_directories(directory_fd, made)
        raise PathTakenError(
            f"{'/'.join(parts)} is needed as a directory, but something else is in its place",
            "move it away, or exclude the snapshots below it",
        ) from error
    except BaseException:
        remove_directories(directory_fd, made)
        raise


def remove_directories(directory_fd: int, paths: list[str]) -> None:
    """Remove those of the directories, given outermost first, that are empty."""
    for path in reversed(paths):
        parents, name = split(path)
        try:
            with opened(directory_fd, parents) as fd:
                os.rmdir(os.fsencode(name), dir_fd=fd)
        except OSError:  # in use by now: then it has to stay
            return


def exists(directory_fd: int, path: str, *, same_mount: bool = False) -> bool:
    """Return whether anything is at the relative `path`, or stands where it needs a directory.

    What is in another mount is not there, if it must be in the `same_mount`.
    """
    parents, name = split(path)
    try:
        with opened(directory_fd, parents, same_mount=same_mount) as fd:
            os.stat(os.fsencode(name), dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        return True
    except OSError as error:
        if error.errno not in {errno.ENAMETOOLONG, errno.EXDEV}:
            raise
        return False
    return True
