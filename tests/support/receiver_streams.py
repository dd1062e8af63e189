"""Which streams a history is sent as, and the streams, made by the kernel itself."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from support.loopfs import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from random import Random

_SEND = 0x40489426  # _IOW(0x94, 38, 72 bytes), linux/btrfs.h
_SEND_ARGS = struct.Struct("=qQQQQI28x")
"""send_fd, clone_sources_count, clone_sources, parent_root, flags, version."""
_FLAG_VERSION, _FLAG_COMPRESSED = 8, 16


@dataclass(frozen=True, slots=True)
class Format:
    """How a stream is written down."""

    version: int
    compressed: bool = False

    def __str__(self) -> str:
        return f"v{self.version}{' compressed' if self.compressed else ''}"


PLAIN = Format(1)
FORMATS = (PLAIN, Format(2), Format(2, compressed=True))


class Route(Enum):
    """On what the snapshots of a history are sent."""

    FULL = "each in full"
    FORWARD = "each on the one before"
    BACKWARD = "each on the one after"
    CLONES = "each without a parent, but with clone sources"
    SHUFFLED = "in any order, on any, with clone sources"


@dataclass(frozen=True, slots=True)
class Step:
    """One stream: numbers of snapshots."""

    to: int
    parent: int | None = None
    clones: tuple[int, ...] = ()

    def __str__(self) -> str:
        on = "" if self.parent is None else f" on {self.parent}"
        clones = f" with clones of {', '.join(map(str, self.clones))}" if self.clones else ""
        return f"{self.to}{on}{clones}"


def steps(route: Route, count: int, rng: Random) -> Iterator[Step]:
    """Yield streams for `count` snapshots, each building on those before."""
    order = list(range(count))
    if route is Route.BACKWARD:
        order.reverse()
    elif route is Route.SHUFFLED:
        rng.shuffle(order)
    for place, to in enumerate(order):
        there = order[:place]
        clones = tuple(rng.sample(there, rng.randint(min(1, place), place)))
        match route:
            case Route.FULL:
                yield Step(to)
            case Route.FORWARD | Route.BACKWARD:
                yield Step(to, there[-1] if there else None)
            case Route.CLONES:
                yield Step(to, clones=clones)
            case Route.SHUFFLED:
                yield Step(to, rng.choice(there) if there else None, clones)


def write_stream(path: Path, snapshots: Sequence[Path], step: Step, form: Format) -> None:
    """Let the kernel write a stream to a file, as `btrfs send` would ask it to.

    The program itself can't send with clone sources but without a parent.
    """
    parent = 0 if step.parent is None else _tree_id(snapshots[step.parent])
    # The kernel insists that the parent is among the clone sources.
    sources = {_tree_id(snapshots[number]) for number in step.clones} | ({parent} - {0})
    array = (ctypes.c_uint64 * len(sources))(*sorted(sources))
    flags = _FLAG_VERSION | (_FLAG_COMPRESSED if form.compressed else 0)
    snapshot_fd = os.open(snapshots[step.to], os.O_RDONLY | os.O_DIRECTORY)
    try:
        with path.open("wb") as stream:
            arguments = _SEND_ARGS.pack(
                stream.fileno(),
                len(sources),
                ctypes.addressof(array) if sources else 0,
                parent,
                flags,
                form.version,
            )
            fcntl.ioctl(snapshot_fd, _SEND, arguments)
    finally:
        os.close(snapshot_fd)


def _tree_id(snapshot: Path) -> int:
    return int(run("btrfs", "inspect-internal", "rootid", snapshot))
