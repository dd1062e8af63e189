"""Reading a stored stream: ranges fetched and unpacked ahead, checked as they pass."""

from __future__ import annotations

import hashlib
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from buttersink.errors import CorruptStreamError
from buttersink.stored.decompressor import decompress_stream
from buttersink.stored.seekable import (
    NeedMore,
    decompress_frame,
    read_seek_table,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from buttersink.stored.receipt import Receipt
    from buttersink.stored.seekable import Frame, SeekTable
    from buttersink.stores.crew import Crew
    from buttersink.stores.shelf import Shelf, ShelfObject
    from buttersink.stream.guard import StreamGuard

    Piece = tuple[int, bytes]
    """Bytes of the object, and what they hold of the plain stream."""

_T = TypeVar("_T")
_RANGE_BYTES: Final = 8 << 20
_TAIL_BYTES: Final = 64 << 10
_DAMAGED: Final = "restore another copy of it, or send the snapshot again from where it still is"


class StoredStream:
    """The plain stream of a stored object; implements `store.StoredReader`.

    What it yields ends with the END command: some old objects have stale bytes after it.

    Args:
        shelf: Where the object is.
        thing: The object.
        compressed: Whether it holds zstd frames.
        guard: Vets every command; must be new.
        receipt: What was written about it when it was stored, if anything was.
        crew: Fetches ahead, with as many threads as there shall be requests at a time.
        ahead: How many ranges to fetch ahead.
    """

    def __init__(
        self,
        shelf: Shelf,
        thing: ShelfObject,
        *,
        compressed: bool,
        guard: StreamGuard,
        receipt: Receipt | None,
        crew: Crew,
        ahead: int,
    ) -> None:
        self._thing = thing
        self._name = f"{shelf.name}{thing.key}"
        self._guard = guard
        self._receipt = receipt
        self._pieces = (_unpacked if compressed else _plain)(shelf, thing, crew, ahead)
        self._ready: deque[memoryview] = deque()
        self._crew = crew
        self._hash = hashlib.sha256()
        self._hashing: Future[None] | None = None
        """The hashing of what is ready, while it is on its way to the writer."""
        self._stored_bytes = 0

    @property
    def stored_bytes(self) -> int:
        """See `store.StoredReader`."""
        return self._stored_bytes

    def readinto(self, buffer: memoryview) -> int:
        """See `store.Reader`.

        Raises:
            CorruptStreamError: The object is damaged, or not the stream that it should be.
            TransferError: It can't be read.
        """
        with self._named():
            while not self._ready:
                if self._guard.ended:
                    self._compare_receipt()
                    self._stored_bytes = self._thing.nbytes  # with its table, or stale bytes
                    return 0
                self._push_next()
        part = self._ready.popleft()
        size = min(len(buffer), len(part))
        buffer[:size] = part[:size]
        if size < len(part):
            self._ready.appendleft(part[size:])
        return size

    def _push_next(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            self._guard.finish()  # raises, as END has not come
            raise AssertionError(self._name)
        stored_bytes, plain = piece
        self._stored_bytes += stored_bytes
        self._wait_for_hash()  # what the guard let pass is only good until it is called again
        parts = self._guard.push(memoryview(plain))
        self._ready.extend(parts)
        if self._receipt is not None:
            self._hashing = self._crew.submit(self._add_to_hash, parts)

    def _add_to_hash(self, parts: Iterable[memoryview]) -> None:
        for part in parts:
            self._hash.update(part)

    def _wait_for_hash(self) -> None:
        if self._hashing is not None:
            self._hashing.result()

    def _compare_receipt(self) -> None:
        if self._receipt is None:
            return
        self._wait_for_hash()
        expected = self._receipt.stream
        if expected.nbytes != self._guard.passed_bytes or expected.sha256 != self._hash.hexdigest():
            raise CorruptStreamError("not the stream that its receipt describes", _DAMAGED)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except CorruptStreamError as error:
            raise CorruptStreamError(
                f"{self._name}: {error.message}", error.hint or _DAMAGED
            ) from error


def find_seek_table(shelf: Shelf, thing: ShelfObject) -> SeekTable | None:
    """Return the seek table at the end of an object, or None if it has none.

    Raises:
        CorruptStreamError: It has one that can't be true.
    """
    nbytes = min(_TAIL_BYTES, thing.nbytes)
    while True:
        tail = shelf.read(thing, thing.nbytes - nbytes, nbytes)
        found = read_seek_table(tail, thing.nbytes)
        if not isinstance(found, NeedMore):
            return found
        nbytes = found.nbytes


def _plain(shelf: Shelf, thing: ShelfObject, crew: Crew, ahead: int) -> Iterator[Piece]:
    """Yield the object as it is."""
    for data in _in_order(
        crew,
        ahead,
        (_reading(shelf, thing, start, end) for start, end in _ranges(thing.nbytes)),
    ):
        yield len(data), data


def _unpacked(shelf: Shelf, thing: ShelfObject, crew: Crew, ahead: int) -> Iterator[Piece]:
    """Yield what the object's frames hold."""
    table = find_seek_table(shelf, thing)
    if table is not None:
        groups = (_unpacking(shelf, thing, group) for group in _groups(table))
        for pieces in _in_order(crew, ahead, groups):
            yield from pieces
        return
    fetched = 0

    def chunks() -> Iterator[bytes]:
        nonlocal fetched
        for stored_bytes, data in _plain(shelf, thing, crew, ahead):
            fetched += stored_bytes
            yield data

    told = 0
    for plain in decompress_stream(chunks()):
        yield fetched - told, plain
        told = fetched


def _ranges(nbytes: int) -> Iterator[tuple[int, int]]:
    for start in range(0, nbytes, _RANGE_BYTES):
        yield start, min(start + _RANGE_BYTES, nbytes)


def _groups(table: SeekTable) -> Iterator[tuple[Frame, ...]]:
    """Yield frames that are fetched together: neither what is stored nor what it holds is much."""
    stored = plain = 0
    group: list[Frame] = []
    for frame in table.frames:
        stored += frame.nbytes
        plain += frame.plain_bytes
        if group and max(stored, plain) > _RANGE_BYTES:
            yield tuple(group)
            stored, plain, group = frame.nbytes, frame.plain_bytes, []
        group.append(frame)
    if group:
        yield tuple(group)


def _reading(shelf: Shelf, thing: ShelfObject, start: int, end: int) -> Callable[[], bytes]:
    return lambda: shelf.read(thing, start, end - start)


def _unpacking(
    shelf: Shelf, thing: ShelfObject, frames: tuple[Frame, ...]
) -> Callable[[], list[Piece]]:
    def unpack() -> list[Piece]:
        start = frames[0].start
        data = memoryview(shelf.read(thing, start, sum(frame.nbytes for frame in frames)))
        return [
            (
                frame.nbytes,
                decompress_frame(data[frame.start - start :][: frame.nbytes], frame.plain_bytes),
            )
            for frame in frames
        ]

    return unpack


def _in_order(crew: Crew, ahead: int, jobs: Iterable[Callable[[], _T]]) -> Iterator[_T]:
    """Yield the results of jobs in order, while the crew is at work on the next ones."""
    waiting: deque[Future[_T]] = deque()
    for job in jobs:
        waiting.append(crew.submit(job))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
