"""Ends that receive a stream from a file: the program of btrfs-progs, and stores of ours."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from buttersink.model import Diff, StreamOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random
    from uuid import UUID

    from buttersink.stores.btrfs import BtrfsStore
    from support.receiver_streams import Format

_LARGEST_WRITE_BITS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A stream in a file, and what it is.

    Attributes:
        stream: The file.
        name: Of the snapshot, and of what is to be made of it.
        identity: Of the snapshot.
        parent: Likewise of its parent; None for a stream without one.
    """

    stream: Path
    name: str
    identity: UUID
    parent: UUID | None
    form: Format


class ReceiveError(Exception):
    """A receiver refused a stream, or failed; the message is its own."""


class Receiver(Protocol):
    """What makes snapshots of streams in one directory."""

    def receive(self, arrival: Arrival) -> None:
        """Make the snapshot `arrival.name`.

        Raises:
            ReceiveError: It can't; what is there now is not told.
        """


class PlainBtrfsReceive:
    """`btrfs receive`, as a person would call it."""

    def __init__(self, directory: Path) -> None:
        """Receive in an existing directory."""
        self._directory = directory

    def receive(self, arrival: Arrival) -> None:
        """See `Receiver`."""
        with arrival.stream.open("rb") as stream:
            done = subprocess.run(
                ["btrfs", "--quiet", "receive", self._directory],
                check=False,
                stdin=stream,
                capture_output=True,
            )
        if done.returncode:
            raise ReceiveError(os.fsdecode(done.stderr.strip()))


class StoreReceive:
    """A store of ours, opened anew for each stream, which comes in pieces of any size."""

    def __init__(self, open_store: Callable[[], BtrfsStore], rng: Random) -> None:
        """Open stores by `open_store`; `rng` is where the sizes of the pieces come from."""
        self._open_store = open_store
        self._rng = rng

    def receive(self, arrival: Arrival) -> None:
        """See `Receiver`."""
        diff = Diff(arrival.identity, arrival.parent)
        options = StreamOptions(version=arrival.form.version, compressed=arrival.form.compressed)
        store = self._open_store()
        try:
            store.inventory()
            with (
                arrival.stream.open("rb") as stream,
                store.receive(diff, arrival.name, options) as writer,
            ):
                while data := stream.read(self._piece_bytes()):
                    writer.write(memoryview(data))
        except Exception as error:
            raise ReceiveError(f"{type(error).__name__}: {error}") from error
        finally:
            store.close()

    def _piece_bytes(self) -> int:
        return int(2 ** self._rng.uniform(8, _LARGEST_WRITE_BITS))
