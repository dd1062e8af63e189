"""Runs between snapshots in memory and stored streams, within this process.

Nothing here needs the kernel, and what the command has no option for can be chosen: how long
requests are repeated, how large a copy may be, and which machine's state counts.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from buttersink.errors import ButterSinkError
from buttersink.events import Failed, Finished, Skipped, TransferDone, Warned
from buttersink.settings import Settings
from buttersink.stores.directory import DirectoryShelf
from buttersink.stores.s3 import S3Settings, open_shelf
from buttersink.stores.streams import StreamStore
from buttersink.storing import Storing
from buttersink.sync import sync
from contract.memory_disk import MemoryDisk
from contract.memory_store import MemoryStore
from support.stored_ends import BucketEnd, DirectoryEnd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from buttersink.events import Event
    from buttersink.store import Sink, Source
    from buttersink.stores.shelf import Shelf
    from support.s3_servers import S3Server

MIB = 1 << 20
PART_MIB = 5
"""The least that S3 takes."""
JOBS = 2
STORING = Storing(part_mib=PART_MIB, jobs=JOBS)

Contents = dict[str, dict[bytes, bytes]]
"""Files by the paths of the snapshots that they are in."""


@dataclass(slots=True)
class Ran:
    """What came of a run.

    Attributes:
        events: What it told, in order.
        error: What ended it before anything was done.
    """

    events: list[Event] = field(default_factory=list)
    error: ButterSinkError | None = None

    @property
    def status(self) -> int:
        """The exit status that the command would have."""
        if self.error is not None:
            return self.error.exit_code
        (finished,) = (event for event in self.events if isinstance(event, Finished))
        return 3 if finished.failed or finished.undeleted else 0

    @property
    def errors(self) -> dict[str, ButterSinkError]:
        """What went wrong, by the path of the snapshot."""
        return {
            getattr(event.step, "path", ""): event.error
            for event in self.events
            if isinstance(event, Failed)
        }

    @property
    def warnings(self) -> list[str]:
        """What was warned of."""
        return [event.message for event in self.events if isinstance(event, Warned)]

    @property
    def skipped(self) -> list[str]:
        """Paths of what was passed over."""
        return sorted(event.skip.path for event in self.events if isinstance(event, Skipped))

    @property
    def done(self) -> dict[str, TransferDone]:
        """The transfers that succeeded, by path."""
        return {e.transfer.path: e for e in self.events if isinstance(e, TransferDone)}

    def told(self) -> str:
        """Return all that a user would read of what went wrong."""
        lines = [*self.warnings, *map(str, self.errors.values())]
        return "\n".join([*lines, str(self.error)] if self.error else lines)


def run(source: Source, destination: Sink, settings: Settings | None = None) -> Ran:
    """Sync; an error that ends it becomes part of what came of it."""
    ran = Ran()
    try:
        sync(source, destination, settings or Settings(storing=STORING), ran.events.append)
    except ButterSinkError as error:
        ran.error = error
    return ran


def random_contents(*, seed: int = 0, large: int = 12 * MIB) -> Contents:
    """Return snapshots "home/1" to "home/3", each on the one before, and "other" without relation.

    The streams of "home/1" and "home/3" take several parts; those of the others less than one.
    """
    rng = Random(seed)
    first = {b"large": rng.randbytes(large), b"name": b"one"}
    second = {**first, b"name": b"two", b"more": rng.randbytes(20_000)}
    third = {**second, b"name": b"three", b"much more": rng.randbytes(6 * MIB)}
    return {
        "home/1": first,
        "home/2": second,
        "home/3": third,
        "other": {b"small": rng.randbytes(50_000)},
    }


def memory_source(contents: Mapping[str, Mapping[bytes, bytes]]) -> MemoryStore:
    """Return an end in memory with these snapshots; always the same identities."""
    disk = MemoryDisk("source")
    for path, content in contents.items():
        disk.take_snapshot(f"snaps/{path}", content, lineage=path.partition("/")[0])
    return MemoryStore(disk, "snaps")


class Goal:
    """An end in memory, to restore to."""

    def __init__(self) -> None:
        self._disk = MemoryDisk("restored")
        self.store = MemoryStore(self._disk, "goal", version=2)

    def contents(self) -> Contents:
        """Return what is there."""
        assert not self._disk.links
        return {
            path.removeprefix("goal/"): dict(kept.image.content)
            for path, kept in self._disk.snapshots.items()
        }


class Bucket(BucketEnd):
    """A prefix of a bucket, with what machines know of it.

    Args:
        server: Which one.
        state: An empty directory for the state of machines.
        endpoint_url: Another way to the server.
        bucket: Its name; a new one if it is empty.
    """

    def __init__(
        self, server: S3Server, state: Path, *, endpoint_url: str = "", bucket: str = ""
    ) -> None:
        super().__init__(server, bucket=bucket)
        self._state = state
        self._endpoint_url = endpoint_url or server.endpoint_url

    @contextmanager
    def shelf(
        self, *, machine: str = "this", seconds: float = 60.0, sse: str = "AES256"
    ) -> Iterator[Shelf]:
        """Open the bucket.

        Args:
            machine: Whose state counts.
            seconds: How long requests are repeated.
            sse: Encryption that is asked for.
        """
        shelf = open_shelf(
            S3Settings(
                bucket=self.bucket,
                endpoint_url=self._endpoint_url,
                state_directory=str(self._state / machine),
                jobs=JOBS,
                copy_limit=PART_MIB * MIB,
                retry_seconds=seconds,
                sse=sse,
            )
        )
        try:
            yield shelf
        finally:
            shelf.close()

    @contextmanager
    def store(
        self, storing: Storing = STORING, *, machine: str = "this", seconds: float = 60.0
    ) -> Iterator[StreamStore]:
        """Open the prefix; see `shelf`."""
        with self.shelf(machine=machine, seconds=seconds, sse=storing.sse) as shelf:
            yield StreamStore(shelf, self.prefix, name=self.url, storing=storing)

    def uploads(self) -> list[str]:
        """Return the keys of open uploads."""
        answer = self.client.list_multipart_uploads(Bucket=self.bucket)
        return sorted(upload["Key"] for upload in answer.get("Uploads", ()))

    def journals(self) -> list[str]:
        """Return the names of the records of uploads, of all machines."""
        return sorted(path.name for path in self._state.rglob("*.upload"))


class Directory(DirectoryEnd):
    """A directory of streams, as `Bucket`."""

    __slots__ = ()

    @contextmanager
    def shelf(self) -> Iterator[Shelf]:
        """Open the directory."""
        shelf = DirectoryShelf(str(self.path))
        try:
            yield shelf
        finally:
            shelf.close()

    @contextmanager
    def store(self, storing: Storing = STORING) -> Iterator[StreamStore]:
        """Open it as an end."""
        with self.shelf() as shelf:
            yield StreamStore(shelf, "", name=self.url, storing=storing)

    def unfinished(self) -> list[str]:
        """Return the names of the files of uploads and of their records."""
        return sorted(
            path.name
            for path in self.path.rglob(".buttersink-*")
            if path.name != ".buttersink-lock"
        )


def endpoint_port(server: S3Server) -> int:
    """Return the port of a server, for a proxy in front of it."""
    port = urlsplit(server.endpoint_url).port
    assert port is not None
    return port
