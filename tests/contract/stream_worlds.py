"""The worlds whose destinations hold stored streams: directories of files, and buckets."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Self
from uuid import uuid4

import pytest
import zstandard

from buttersink.model import Diff
from buttersink.stored.keys import MarkerEntry, ReceiptEntry, StreamEntry, parse_key
from buttersink.stores.directory import DirectoryShelf
from buttersink.stores.s3 import S3Settings, open_shelf
from buttersink.stores.streams import StreamStore
from buttersink.storing import Storing
from contract.memory_streams import apply_stream
from contract.worlds import SNAPSHOT_BYTES, MemoryWorld
from support.shelves import leave_upload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

    from buttersink.stores.shelf import Shelf
    from contract.worlds import End
    from support.s3_servers import S3Server


def name(diff: Diff, path: str, suffix: str = ".zst") -> str:
    """Return the key of a stream, below the prefix."""
    return f"{path}/{diff.to}_{diff.parent}{suffix}"


class StreamEnd(ABC):
    """What is below one prefix of a shelf.

    Attributes:
        shelf: A handle of it, to look at and meddle with what is there.
        prefix: Empty, or ending in a slash.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.shelf = self.open_shelf()

    @abstractmethod
    def open_shelf(self) -> Shelf:
        """Return a handle of the shelf, as another run would have it, if there can be several."""

    @abstractmethod
    def beside(self) -> StreamEnd: ...

    @abstractmethod
    def occupy(self, path: str) -> None: ...

    @abstractmethod
    def is_occupied(self, path: str) -> bool: ...

    def open(self, storing: Storing | None = None, shelf: Shelf | None = None) -> StreamStore:
        """Return another store, on another handle of the shelf or on what wraps one."""
        shelf = shelf or self.open_shelf()
        return StreamStore(shelf, self.prefix, name="the end", storing=storing or Storing())

    def content(self, path: str) -> object:
        """Restore what is shown at a path, and nothing of that with the code under test."""
        entries = self._entries()
        hidden = {e.stream.key for e in entries if isinstance(e, MarkerEntry)}
        streams = {e.diff: e for e in entries if isinstance(e, StreamEntry)}
        (to,) = {e.diff.to for e in streams.values() if e.path == path and e.key not in hidden}
        return self._restored(to, streams)

    def remove(self, path: str) -> None:
        for entry in self._entries():
            match entry:
                case StreamEntry():
                    stream = entry
                    key = entry.key
                case ReceiptEntry():
                    stream, key = entry.stream, f"{entry.stream.key}.json"
                case MarkerEntry():
                    stream, key = entry.stream, f"{entry.stream.key}.hidden"
            if stream.path == path:
                self.shelf.remove(key)

    def leave_partial(self, uuid: UUID) -> None:
        leave_upload(self.shelf, f"{self.prefix}1/{uuid}_None.zst", Diff(uuid))

    def listed(self) -> list[str]:
        """Return the keys below the prefix, without it."""
        return [thing.key.removeprefix(self.prefix) for thing in self.shelf.objects(self.prefix)]

    def trashed(self) -> list[str]:
        """Return the keys of what was removed below the prefix, without prefix and `trash/`."""
        start = f"trash/{self.prefix}"
        return [thing.key.removeprefix(start) for thing in self.shelf.objects(start)]

    def data(self, key: str) -> bytes:
        """Return an object, by its key below the prefix."""
        thing = self.shelf.stat(self.prefix + key)
        assert thing is not None
        return self.shelf.read(thing, 0, thing.nbytes)

    def put(self, key: str, data: bytes) -> None:
        """Store or replace an object, by its key below the prefix."""
        self.shelf.put(self.prefix + key, data)

    def _entries(self) -> list[StreamEntry | ReceiptEntry | MarkerEntry]:
        parsed = (parse_key(t.key, self.prefix) for t in self.shelf.objects(self.prefix))
        return [e for e in parsed if isinstance(e, StreamEntry | ReceiptEntry | MarkerEntry)]

    def _restored(self, to: UUID, streams: dict[Diff, StreamEntry]) -> dict[bytes, bytes]:
        entry = next(entry for diff, entry in streams.items() if diff.to == to)
        base = self._restored(entry.diff.parent, streams) if entry.diff.parent else {}
        data = self.data(entry.key.removeprefix(self.prefix))
        if entry.compressed:
            with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as file:
                data = file.read()
        return apply_stream(data, base)


class DirectoryEnd(StreamEnd):
    """A directory of files."""

    def __init__(self, stores: ExitStack, path: Path) -> None:
        path.mkdir(exist_ok=True)
        self.path = path
        self._stores = stores
        super().__init__("")

    def open_shelf(self) -> Shelf:
        shelf = DirectoryShelf(str(self.path))
        self._stores.callback(shelf.close)
        return shelf

    def beside(self) -> DirectoryEnd:
        return DirectoryEnd(self._stores, self.path.with_name(f"{self.path.name} beside"))

    def occupy(self, path: str) -> None:
        there = self.path / path
        there.parent.mkdir(parents=True, exist_ok=True)
        there.symlink_to("nowhere")

    def is_occupied(self, path: str) -> bool:
        return (self.path / path).is_symlink()


class BucketEnd(StreamEnd):
    """A prefix of a bucket."""

    def __init__(self, bucket: Shelf, prefix: str) -> None:
        self._bucket = bucket
        super().__init__(prefix)

    def open_shelf(self) -> Shelf:
        return self._bucket

    def beside(self) -> BucketEnd:
        return BucketEnd(self._bucket, f"{self.prefix[:-1]}2/")

    def occupy(self, path: str) -> None:
        self.put(path, b"something else")

    def is_occupied(self, path: str) -> bool:
        return self.shelf.stat(self.prefix + path) is not None


class StreamWorld(ABC):
    """Sources in memory, and destinations that store streams."""

    holds_streams = True
    lists_outside = False
    outlives_interrupts = True

    def __init__(self) -> None:
        self._stores = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stores.close()

    def source(self, count: int, *, nbytes: int = SNAPSHOT_BYTES) -> End:
        return MemoryWorld().source(count, nbytes=nbytes)

    @abstractmethod
    def destination(self) -> StreamEnd: ...

    def cramped_destination(self) -> End:
        raise NotImplementedError


class DirectoryWorld(StreamWorld):
    """Directories of files below `scratch`."""

    def __init__(self, scratch: Path) -> None:
        super().__init__()
        self._scratch = scratch
        self._numbers = count(1)

    def destination(self) -> DirectoryEnd:
        return DirectoryEnd(self._stores, self._scratch / f"backup {next(self._numbers)}")


class BucketWorld(StreamWorld):
    """A prefix of its own for each destination in one bucket, which is opened only once.

    Making a client of boto3 takes longer than most tests.
    """

    def __init__(self, bucket: Shelf) -> None:
        super().__init__()
        self._bucket = bucket

    def destination(self) -> BucketEnd:
        return BucketEnd(self._bucket, f"{uuid4()}/laptop/")


@contextmanager
def opened_bucket(server: S3Server) -> Iterator[Shelf]:
    """Open a new bucket of a server, with nothing of the environment that tests run in."""
    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            environment.delenv(name)
        for name, value in server.environment().items():
            environment.setenv(name, value)
        environment.setenv("HOME", directory)
        settings = S3Settings(
            bucket=server.fresh_bucket(),
            endpoint_url=server.endpoint_url,
            state_directory=os.path.join(directory, "state"),
        )
        with closing(open_shelf(settings)) as shelf:
            yield shelf
