"""What every store of streams promises of uploads that were interrupted; see docs/store-contract.md.

Parts are as small as S3 allows, as large as it takes to have several.
"""

from __future__ import annotations

import fcntl
import os
import threading
from random import Random
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import BusyError, CorruptStreamError, RestartError, TransferError
from buttersink.model import Diff
from buttersink.storing import Storing
from contract.arriving import assert_nothing_arrived, paths
from contract.carrying import OPTIONS, carry, read_stream, store_stream, write_stream
from contract.memory_disk import MemoryDisk
from contract.memory_store import MemoryStore
from support.watched_shelf import WatchedShelf

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.stream_worlds import StreamEnd

PART = 5 << 20
ONE_BY_ONE = Storing(level=None, part_mib=5, jobs=1)
SEVERAL = Storing(level=None, part_mib=5, jobs=3)
CONTENT = Random(1).randbytes(3 * PART + 1000)
"""It makes four parts."""

_stream: Callable[..., tuple[Diff, bytes]]


def made(content: bytes = CONTENT) -> tuple[Diff, bytes]:
    """Return the stream of a snapshot with this content; the snapshot is the same for all."""
    disk = MemoryDisk("source")
    diff = Diff(disk.take_snapshot("snaps/1", {b"file": content}))
    return diff, read_stream(MemoryStore(disk, "snaps"), diff)


def failing_at(number: int) -> Callable[[int], None]:
    """Return what lets the part of this number fail."""

    def check(found: int) -> None:
        if found == number:
            raise TransferError(f"part {number} got lost")

    return check


def receive(end: StreamEnd, stream: bytes, storing: Storing = ONE_BY_ONE) -> tuple[int, list[int]]:
    """Receive a stream; return how many bytes had been sent before, and the parts sent now."""
    watched: list[WatchedShelf] = []
    sink = end.open(storing, lambda shelf: _watch(watched, shelf))
    diff, _ = made(b"")
    with sink.receive(diff, "1", OPTIONS) as writer:
        write_stream(writer, stream)
    return writer.resumed_bytes, sorted(watched[0].parts)
