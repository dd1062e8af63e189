"""From a plain send stream to the parts of an object: compressed, hashed, cut in the background.

    plain bytes → frames → (compressed, by several threads) → parts → `send`, by several threads

A stream that is stored as it is goes right into the parts: each copy, and each hash, of all the
data costs as much as a good part of what sending takes.

Reading, compressing, hashing and sending overlap. What is held at any time is bounded: a few
frames, the parts being sent, and the one being filled.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Final, Self

from buttersink.stored.seekable import FRAME_BYTES, SeekTableBuilder, compress_frame
from buttersink.stores.crew import Crew

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

_MOST_PACKERS: Final = 6
"""More would only compress faster than 1.5 GiB/s, and each holds two frames."""
_FRAMES_AHEAD: Final = 2
"""Besides those that are being compressed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of an object, numbered from 1, that begins at `offset`."""

    number: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Sizes and SHA-256 (64 hex digits) of a stream and of the object that holds it."""

    stream_bytes: int
    stream_sha256: str
    object_bytes: int
    object_sha256: str


class Cutter:
    """Turns a plain stream into parts and hands them to `send`; use it as a context manager.

    Args:
        level: zstd's compression level; None to store the stream as it is.
        part_bytes: Tells the size of a part by its number.
        jobs: How many parts are sent at a time.
        send: Sends a part; called from several threads. The parts come in any order.
    """

    def __init__(
        self,
        *,
        level: int | None,
        part_bytes: Callable[[int], int],
        jobs: int,
        send: Callable[[Part], None],
    ) -> None:
        self._level = level
        self._part_bytes = part_bytes
        self._send = send
        self._crews = ExitStack()
        packers = min(_MOST_PACKERS, len(os.sched_getaffinity(0)))
        self._frames_ahead = packers + _FRAMES_AHEAD
        self._packers = self._crews.enter_context(Crew(packers, "pack"))
        self._stream_hasher = self._crews.enter_context(Crew(1, "hash stream"))
        self._object_hasher = self._crews.enter_context(Crew(1, "hash object"))
        self._senders = self._crews.enter_context(Crew(jobs, "send"))
        self._free = threading.Semaphore(jobs)
        """How many more parts may be handed to the senders."""
        self._sending: deque[Future[None]] = deque()
        self._failed = threading.Event()
        self._object_hash = hashlib.sha256()
        self._stream_hash = hashlib.sha256() if level is not None else self._object_hash
        """Of what is stored as it is one hash says all."""
        self._stream_bytes = 0
        self._frame = bytearray()
        self._frames: deque[tuple[Future[bytes], Future[None], int]] = deque()
        self._table = SeekTableBuilder()
        self._number = 1
        self._offset = 0
        self._part = BytesIO()
        """The part being filled, up to where it stands."""
        self._spare: list[BytesIO] = []
        """Those of parts that were sent, to be filled again: large pieces of memory that come and
        go leave gaps, which take the space of a part or two."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._crews.__exit__(*exception)  # type: ignore[arg-type]  # they are passed on

    @property
    def object_bytes(self) -> int:
        """Bytes of the object so far."""
        return self._offset + self._part.tell()

    def write(self, data: memoryview) -> None:
        """Take the next bytes of the stream.

        Raises:
            ButterSinkError: What a `send` has raised.
        """
        self._raise_failure()
        if self._level is None:
            self._stream_bytes += len(data)
            self._append(data)
            return
        while data:
            taken = data[: FRAME_BYTES - len(self._frame)]
            self._frame += taken
            data = data[len(taken) :]
            if len(self._frame) == FRAME_BYTES:
                self._close_frame()

    def finish(self) -> Sums:
        """Send what is left, wait until everything was sent, and return what was made of it.

        Raises:
            ButterSinkError: What a `send` has raised.
        """
        if self._frame:
            self._close_frame()
        while self._frames:
            self._retire_frame()
        if self._level is not None:
            self._append(memoryview(self._table.encode()))
        if self._part.tell():
            self._close_part()
        while self._sending:
            self._sending.popleft().result()
        self._object_hasher.submit(lambda: None).result()
        return Sums(
            stream_bytes=self._stream_bytes,
            stream_sha256=self._stream_hash.hexdigest(),
            object_bytes=self._offset,
            object_sha256=self._object_hash.hexdigest(),
        )

    def _close_frame(self) -> None:
        assert self._level is not None  # noqa: S101 - for the type checker
        frame, self._frame = self._frame, bytearray()
        self._stream_bytes += len(frame)
        hashed = self._stream_hasher.submit(self._stream_hash.update, frame)
        packed = self._packers.submit(compress_frame, frame, self._level)
        self._frames.append((packed, hashed, len(frame)))
        while self._frames and (
            len(self._frames) > self._frames_ahead
            or (self._frames[0][0].done() and self._frames[0][1].done())
        ):
            self._retire_frame()

    def _retire_frame(self) -> None:
        packing, hashing, plain_bytes = self._frames.popleft()
        hashing.result()
        packed = packing.result()
        self._table.add(len(packed), plain_bytes)
        self._append(memoryview(packed))

    def _append(self, rest: memoryview) -> None:
        while rest:
            nbytes = self._part_bytes(self._number)
            written = self._part.write(rest[: nbytes - self._part.tell()])
            rest = rest[written:]
            if self._part.tell() == nbytes:
                self._close_part()

    def _close_part(self) -> None:
        part, number, offset = self._part, self._number, self._offset
        self._number += 1
        self._offset += part.tell()
        part.truncate()
        self._part = BytesIO()
        hashing = self._object_hasher.submit(self._hash_object, part)
        self._free.acquire()
        self._raise_failure()
        while self._sending and self._sending[0].done():
            self._sending.popleft().result()
        self._sending.append(self._senders.submit(self._send_part, number, offset, part, hashing))
        if self._spare:
            self._part = self._spare.pop()

    def _hash_object(self, buffer: BytesIO) -> None:
        self._object_hash.update(buffer.getvalue())

    def _send_part(self, number: int, offset: int, buffer: BytesIO, hashing: Future[None]) -> None:
        try:
            # The value is no copy. If somebody kept it, the buffer would copy it when written to.
            self._send(Part(number=number, offset=offset, data=buffer.getvalue()))
            hashing.result()  # until then it is held
            buffer.seek(0)
            self._spare.append(buffer)
        except BaseException:
            self._failed.set()
            raise
        finally:
            self._free.release()

    def _raise_failure(self) -> None:
        """Raise what made sending fail, the first part's first."""
        if self._failed.is_set():
            for sending in self._sending:
                if sending.done():
                    sending.result()
