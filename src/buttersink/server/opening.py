"""Opening the directory to serve: once, and from then on everything is beneath its descriptor."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buttersink.errors import NotBtrfsError, RefusedError, UsageError
from buttersink.server.served import ServedStore
from buttersink.stores import beneath
from buttersink.stores.mapping import mapped_error
from buttersink.stores.opening import open_directory

if TYPE_CHECKING:
    from collections.abc import Callable

    from buttersink.receiving import Receiving
    from buttersink.server.arguments import Grant


@dataclass(frozen=True, slots=True)
class Served:
    """What is served.

    Attributes:
        store: It; if the directory does not exist, as it would be.
        create: Makes the directory and returns a store for it; None if it exists.
    """

    store: ServedStore
    create: Callable[[], ServedStore] | None = None


def open_served(grant: Grant, receiving: Receiving) -> Served:
    """Open the directory of a grant.

    Whoever started the server named `grant.directory`, so links in that are followed. What the
    client chose beneath it is walked component by component; links and mounts are refused.

    Args:
        grant: What may be served.
        receiving: How streams are received.

    Raises:
        ButterSinkError: It can't be served.
    """
    # Of a directory that is missing, the nearest that exists.
    root, missing = grant.directory, []
    while not os.path.lexists(root):
        root, _, name = root.rstrip("/").rpartition("/")
        root += "/"
        missing.append(name)
    wanted = [*reversed(missing), *filter(None, grant.beneath.split("/"))]
    root_fd = open_directory(root)
    try:
        depth = _existing_depth(root_fd, root, wanted, named=len(missing))
        return _served(grant, root, root_fd, wanted, depth, receiving=receiving)
    finally:
        os.close(root_fd)


def _existing_depth(root_fd: int, root: str, wanted: list[str], *, named: int) -> int:
    """Return how many of the directories that lead from `root` to the wanted one exist.

    Args:
        root_fd: The directory `root`, open.
        root: Its path, with a slash at the end.
        wanted: What leads to the wanted one.
        named: How many of these whoever started the server has named.

    Raises:
        UsageError: What was named is no directory.
        RefusedError: What the client chose is none, or a link, or leads into another mount.
    """
    depth = 0
    try:
        while depth < len(wanted):
            with beneath.opened(root_fd, wanted[: depth + 1], same_mount=True):
                depth += 1
    except FileNotFoundError:
        return depth
    except NotADirectoryError as error:
        if depth < named:
            path = root + "".join(f"{part}/" for part in wanted[:named])
            raise UsageError(f"{path} is not a directory") from error
        path = root + "/".join(wanted[: depth + 1])
        raise RefusedError(f"{path} is no directory, or a link, which is not followed") from error
    except OSError as error:
        if error.errno == errno.EXDEV:
            path = root + "/".join(wanted[: depth + 1])
            raise RefusedError(
                f"something is mounted on {path}, which is not entered",
                "only the command line of the server can name what is in another mount",
            ) from error
        raise mapped_error(error, f"opening {root}{'/'.join(wanted)}") from error
    return depth


def _served(
    grant: Grant, root: str, root_fd: int, wanted: list[str], depth: int, *, receiving: Receiving
) -> Served:
    def opened(count: int) -> ServedStore:
        with ExitStack() as stack:
            inner_fd = beneath.opened(root_fd, wanted[:count], same_mount=True)
            fd = os.dup(stack.enter_context(inner_fd))
        return ServedStore(
            root + "".join(f"{part}/" for part in wanted[:count]),
            name=grant.served,
            missing="/".join(wanted[count:]),
            directory_fd=fd,
            receiving=receiving,
        )

    if depth == len(wanted):
        return Served(opened(depth))
    kept_fd = os.dup(root_fd)

    def create() -> ServedStore:
        try:
            beneath.make_directories(kept_fd, wanted, same_mount=True)
        except OSError as error:
            raise mapped_error(error, f"making {grant.served}") from error
        with beneath.opened(kept_fd, wanted, same_mount=True) as fd:
            return ServedStore(
                grant.served, name=grant.served, directory_fd=os.dup(fd), receiving=receiving
            )

    try:
        return Served(opened(depth), create)
    except NotBtrfsError as error:
        message = f"{grant.served} does not exist, and {error.message}"
        raise NotBtrfsError(message, error.hint) from error
