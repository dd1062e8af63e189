"""Sizes of diffs that ButterSink 0.6.9 wrote down beside snapshots. They are only read."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from buttersink.model import Certainty, Diff, Size
from buttersink.stored.sizes import parse_sizes
from buttersink.stores import beneath

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_BYTES: Final = 1 << 20
"""More than that no list of sizes has: a line takes some 90 bytes."""

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def as_sizes(data: bytes) -> Mapping[Diff, Size]:
    """Return what a list says; as estimates, for it is old."""
    found = parse_sizes(data).sizes
    return {diff: Size(nbytes, Certainty.ESTIMATE) for diff, nbytes in found.items()}


def read_recorded_sizes(directory_fd: int, paths: Iterable[str]) -> Mapping[Diff, Size]:
    """Return the sizes in files `<path>.bs` below a directory; what can't be read is left out."""
    found: dict[Diff, Size] = {}
    for path in paths:
        parents, name = beneath.split(path)
        try:
            with beneath.opened(directory_fd, parents, same_mount=True) as fd:
                file_fd = _open_untouched(f"{name}.bs", fd)
            try:
                if stat.S_ISREG(os.fstat(file_fd).st_mode):
                    found.update(as_sizes(_read(file_fd)))
            finally:
                os.close(file_fd)
        except OSError:
            continue
    return found


def _read(file_fd: int) -> bytes:
    with open(file_fd, "rb", closefd=False) as file:
        return file.read(MAX_BYTES)


def _open_untouched(name: str, directory_fd: int) -> int:
    """Open a file without a trace of that in its times, where we may (open(2), O_NOATIME)."""
    try:
        return os.open(name, _FLAGS | os.O_NOATIME, dir_fd=directory_fd)
    except PermissionError:
        return os.open(name, _FLAGS, dir_fd=directory_fd)
