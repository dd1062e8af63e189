"""What a server does for a client: one request after the other, each within the granted mode."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final, TypeVar

from buttersink.errors import ButterSinkError, MissingError, ProtocolError, RefusedError
from buttersink.link import LinkEndedError, LinkStalledError
from buttersink.model import Measurement, Mode
from buttersink.wire import messages
from buttersink.wire.facts import (
    as_diff,
    as_options,
    as_path,
    failure_message,
    partial_message,
    problem_message,
    size_message,
    snapshot_message,
)
from buttersink.wire.frames import Kind
from buttersink.wire.messages import Done, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from uuid import UUID

    import msgspec

    from buttersink.link import Link
    from buttersink.server.served import ServedStore
    from buttersink.store import Writer

_DATA_BYTES: Final = 256 << 10
"""Of a frame of DATA: enough that headers don't matter, and little enough to be interrupted."""
_BATCH: Final = 500
"""How many snapshots or sizes go into a message; a snapshot with one path takes 150 bytes."""
_BATCH_SECONDS: Final = 0.2
_PROGRESS_SECONDS: Final = 0.25

_T = TypeVar("_T")


class _CancelledError(Exception):
    """The client does not want any more what it asked for."""


class Session:
    """One client, on one link, with one directory."""

    def __init__(
        self, link: Link, store: ServedStore, mode: Mode, create: Callable[[], ServedStore] | None
    ) -> None:
        """Serve a client that was greeted.

        Args:
            link: The way to it.
            store: What is served; closed at the end.
            mode: What the client may do at most.
            create: Makes the directory, if it is missing, and returns a store for it.
        """
        self._link = link
        self._store = store
        self._mode = mode
        self._create = create
        self._locked = ExitStack()
        self._links: set[UUID] = set()
        """Links that came over this very link."""
        self._stream_comes = False
        """Whether a stream is to come, or on its way, whose end we have not seen."""

    def run(self) -> None:
        """Answer until the client ends the link.

        Raises:
            ProtocolError: The client does not speak as it should.
            LinkStalledError: Nothing has come from it for too long.
        """
        try:
            with self._locked:
                while True:
                    frame = self._link.next()
                    if frame.kind is Kind.CANCEL:
                        continue  # it came too late
                    if frame.kind is not Kind.REQUEST:
                        raise ProtocolError(f"{frame.kind.name} came where a request should")
                    self._answer(messages.decode_request(frame.payload))
        except LinkEndedError:
            return
        finally:
            self._store.close()

    def _answer(self, request: messages.AnyRequest) -> None:
        try:
            least = messages.LEAST_MODE[type(request)]
            if least > self._mode:
                raise RefusedError(
                    f"this server runs in mode {self._mode.letter}, and "
                    f"{type(request).__struct_config__.tag} needs mode {least.letter}"
                )
            self._do(request)
        except _CancelledError:
            self._fail(ButterSinkError("cancelled"))
        except (LinkEndedError, LinkStalledError, ProtocolError):
            raise
        except ButterSinkError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it has no business over there
            self._fail(ButterSinkError(f"the server failed: {type(error).__name__}"))

    def _fail(self, error: ButterSinkError) -> None:
        self._link.send(Kind.ERROR, encode(failure_message(error)))
        with suppress(_CancelledError):
            while self._stream_comes:  # what is on its way to us does not matter any more
                self._link_data()

    def _do(self, request: messages.AnyRequest) -> None:  # noqa: C901, PLR0912 - one table
        store = self._store
        match request:
            case messages.ListSnapshots():
                self._list()
            case messages.FindParents(uuids=uuids):
                found = map(snapshot_message, store.parents(uuids))
                self._send_items(found, lambda batch: messages.Found(snapshots=batch))
                self._done()
            case messages.Measure():
                self._measure(request)
            case messages.RecallSizes(uuids=uuids):
                self._recall(uuids)
            case messages.FindTaken(paths=paths):
                self._find_taken([as_path(path) for path in paths])
            case messages.AskSpace():
                self._done()
            case messages.Send():
                self._send(request)
            case messages.Lock():
                self._require_directory()
                self._locked.close()
                self._locked.enter_context(store.lock())
                self._done()
            case messages.Unlock():
                self._locked.close()
                self._done()
            case messages.Create():
                self._make_directory()
                self._done()
            case messages.Receive():
                self._receive(request)
            case messages.Adopt(uuid=uuid, path=path):
                self._require_directory()
                store.adopt(store.snapshot(uuid), as_path(path))
                self._done()
            case messages.Release(uuid=uuid):
                if self._mode < Mode.WRITE and uuid not in self._links:
                    raise RefusedError(
                        f"in mode {self._mode.letter} only links of this run can be removed"
                    )
                store.release(uuid)
                self._links.discard(uuid)  # another run may make one of the same name
                self._done()
            case messages.Flush():
                store.flush()
                self._done()
            case messages.Delete(uuid=uuid, path=path):
                store.delete(uuid, as_path(path))
                self._done()
            case messages.Clean(path=path, uuid=uuid):
                store.clean(store.partial(as_path(path), uuid))
                self._done()

    # Facts

    def _list(self) -> None:
        inventory = self._store.inventory()
        self._send_items(
            map(snapshot_message, inventory.snapshots),
            lambda batch: messages.Found(snapshots=batch),
        )
        self._reply(
            messages.Listed(
                partials=tuple(map(partial_message, inventory.partials)),
                problems=tuple(map(problem_message, inventory.problems)),
                writable=inventory.writable,
                outside=self._store.has_outside(),
                free_bytes=self._store.free_bytes(),
            )
        )

    def _measure(self, request: messages.Measure) -> None:
        measurements = [Measurement(diff=as_diff(d), limit=d.limit) for d in request.diffs]
        sizes = self._store.measure_each(measurements, as_options(request.options))
        self._send_items(map(size_message, sizes), lambda batch: messages.Measured(sizes=batch))
        self._done()

    def _recall(self, uuids: Sequence[UUID]) -> None:
        sizes = (
            messages.RecordedSize(to=diff.to, parent=diff.parent, nbytes=size.nbytes)
            for diff, size in self._store.recorded_by_uuid(uuids).items()
        )
        self._send_items(sizes, lambda batch: messages.Recalled(sizes=batch))
        self._done()

    def _find_taken(self, paths: Sequence[str]) -> None:
        taken = self._store.taken(paths)
        self._reply(
            messages.Taken(
                indices=tuple(i for i, path in enumerate(paths) if path in taken),
                free_bytes=self._store.free_bytes(),
            )
        )

    # Streams

    def _send(self, request: messages.Send) -> None:
        buffer = memoryview(bytearray(_DATA_BYTES))
        with self._store.send(as_diff(request.diff), as_options(request.options)) as reader:
            while count := reader.readinto(buffer):
                self._link.send(Kind.DATA, buffer[:count])
                self._stop_if_cancelled()
        self._link.send(Kind.END)

    def _receive(self, request: messages.Receive) -> None:
        self._require_directory()
        diff = as_diff(request.diff)
        with self._store.receive(
            diff, as_path(request.path), as_options(request.options), link=request.link
        ) as writer:
            self._stream_comes = True
            self._reply(messages.Ready())
            for data in self._stream(writer):
                writer.write(data)
        if request.link:
            self._links.add(diff.to)
        self._reply(
            messages.Received(plain_bytes=writer.plain_bytes, free_bytes=self._store.free_bytes())
        )

    def _stream(self, writer: Writer) -> Iterator[memoryview]:
        """Yield the stream of the client, and tell it from time to time how much was taken."""
        due = time.monotonic() + _PROGRESS_SECONDS
        while True:
            data = self._link_data()
            if data is None:
                return
            yield data
            if time.monotonic() >= due:
                progress = messages.Progress(plain_bytes=writer.plain_bytes)
                self._link.send(Kind.PROGRESS, encode(progress))
                due = time.monotonic() + _PROGRESS_SECONDS

    def _link_data(self) -> memoryview | None:
        """Return the next part of the client's stream, None at its end.

        Raises:
            _CancelledError: The client has given it up.
        """
        frame = self._link.next()
        match frame.kind:
            case Kind.DATA:
                return memoryview(frame.payload)
            case Kind.END:
                self._stream_comes = False
                return None
            case Kind.CANCEL:
                self._stream_comes = False
                raise _CancelledError
        raise ProtocolError(f"{frame.kind.name} came in the middle of a stream")

    # Answers

    def _done(self) -> None:
        self._reply(Done(free_bytes=self._store.free_bytes()))

    def _reply(self, message: msgspec.Struct) -> None:
        self._link.send(Kind.REPLY, encode(message))

    def _send_items(
        self, items: Iterable[_T], message: Callable[[tuple[_T, ...]], msgspec.Struct]
    ) -> None:
        """Send items in batches, and none of them much later than it is known."""
        batch: list[_T] = []
        due = time.monotonic() + _BATCH_SECONDS
        for item in items:
            batch.append(item)
            if len(batch) >= _BATCH or time.monotonic() >= due:
                self._link.send(Kind.ITEMS, encode(message(tuple(batch))))
                self._stop_if_cancelled()
                batch.clear()
                due = time.monotonic() + _BATCH_SECONDS
        if batch:
            self._link.send(Kind.ITEMS, encode(message(tuple(batch))))

    def _stop_if_cancelled(self) -> None:
        frame = self._link.pending()
        if frame is None:
            return
        if frame.kind is Kind.CANCEL:
            raise _CancelledError
        raise ProtocolError(f"{frame.kind.name} came before the answer was complete")

    # The directory

    def _require_directory(self) -> None:
        if self._create is not None:
            raise MissingError(f"{self._store.name} does not exist")

    def _make_directory(self) -> None:
        if self._create is None:
            return
        store = self._create()
        self._create = None
        self._locked.close()
        self._store.close()
        self._store = store
