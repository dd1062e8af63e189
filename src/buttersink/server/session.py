"""What a server does for a client: one request after the other, each within the granted mode."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeVar

from buttersink.errors import ButterSinkError, MissingError, ProtocolError, RefusedError
from buttersink.link import LinkEndedError, LinkStalledError
from buttersink.model import Measurement, Mode, Size
from buttersink.server.complaints import complain, described
from buttersink.wire import messages, values
from buttersink.wire.facts import (
    as_diff,
    as_options,
    as_path,
    as_position,
    failure_message,
    partial_message,
    place_message,
    problem_message,
    size_message,
    snapshot_messages,
)
from buttersink.wire.frames import Kind
from buttersink.wire.messages import Done, encode
from buttersink.wire.modes import LEAST_MODE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from uuid import UUID

    import msgspec

    from buttersink.link import Link
    from buttersink.model import Snapshot
    from buttersink.server.served import ServedStore
    from buttersink.store import Reader, Writer

_DATA_BYTES: Final = 256 << 10
"""Of a frame of DATA: enough that headers don't matter, and little enough to be interrupted."""
_BATCH: Final = 500
"""How many snapshots or sizes go into a message; a snapshot with one path takes 150 bytes."""
_BATCH_BYTES: Final = 1 << 20
"""After how many bytes of them it goes out; the last one may come on top."""
_LOOKED_AT_ONCE: Final = 1000
"""How many paths are looked for before the client is heard."""
_BATCH_SECONDS: Final = 0.2
_PROGRESS_SECONDS: Final = 0.25

_Item = TypeVar("_Item", bound="msgspec.Struct")


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
        self._lock = ExitStack()
        self._locked = False
        """Whether the client has asked for the lock, and has it."""
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
            with self._lock:
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
            least = LEAST_MODE[type(request)]
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
            complain(f"a request failed with {described(error)}")
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
                self._send_snapshots(store.parents(uuids))
                self._done()
            case messages.Measure():
                self._measure(request)
            case messages.RecallSizes(uuids=uuids):
                self._recall(uuids)
            case messages.FindTaken(paths=paths):
                self._find_taken(paths)
            case messages.AskSpace():
                self._done()
            case messages.Send(diff=diff, options=options, resume=resume):
                self._pass(
                    store.send(as_diff(diff), as_options(options), resume=as_position(resume))
                )
            case messages.Outline(diff=diff, version=version):
                self._pass(store.outline(as_diff(diff), version))
            case messages.Lock():
                self._take_lock()
                self._done()
            case messages.Unlock():
                self._unlock()
                self._done()
            case messages.Create():
                self._make_directory()
                self._done()
            case messages.Receive():
                self._receive(request)
            case messages.Adopt(uuid=uuid, path=path):
                with self._changing():
                    store.adopt(store.snapshot(uuid), as_path(path))
                self._done()
            case messages.Release(uuid=uuid):
                self._release(uuid)
                self._done()
            case messages.Flush():
                self._require_directory()
                store.flush()
                self._done()
            case messages.Delete(uuid=uuid, path=path):
                with self._changing():
                    store.delete(uuid, as_path(path))
                self._done()
            case messages.Clean(path=path, uuid=uuid):
                with self._changing():
                    store.clean(store.partial(as_path(path), uuid))
                self._done()

    # Facts

    def _list(self) -> None:
        inventory = self._store.inventory()
        self._send_snapshots(inventory.snapshots)
        self._send_items(
            map(partial_message, inventory.partials),
            lambda batch: messages.Found(partials=batch),
        )
        self._send_items(
            map(problem_message, inventory.problems),
            lambda batch: messages.Found(problems=batch),
        )
        self._reply(
            messages.Listed(
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
            values.RecordedSize(to=diff.to, parent=diff.parent, nbytes=size.nbytes)
            for diff, size in self._store.recorded_by_uuid(uuids).items()
        )
        self._send_items(sizes, lambda batch: messages.Recalled(sizes=batch))
        self._done()

    def _find_taken(self, paths: Sequence[bytes]) -> None:
        indices: list[int] = []
        for start in range(0, len(paths), _LOOKED_AT_ONCE):
            if start:
                self._stop_if_cancelled()
            some = list(map(as_path, paths[start : start + _LOOKED_AT_ONCE]))
            taken = self._store.taken(some)
            indices += (index for index, path in enumerate(some, start) if path in taken)
        self._reply(messages.Taken(indices=tuple(indices), free_bytes=self._store.free_bytes()))

    def _send_snapshots(self, snapshots: Iterable[Snapshot]) -> None:
        self._send_items(
            chain.from_iterable(map(snapshot_messages, snapshots)),
            lambda batch: messages.Found(snapshots=batch),
        )

    # Streams

    def _pass(self, stream: AbstractContextManager[Reader]) -> None:
        buffer = memoryview(bytearray(_DATA_BYTES))
        with stream as reader:
            while count := reader.readinto(buffer):
                self._link.send(Kind.DATA, buffer[:count])
                self._stop_if_cancelled()
        self._link.send(Kind.END)

    def _receive(self, request: messages.Receive) -> None:
        diff = as_diff(request.diff)
        with (
            self._changing(),
            # Should the client go, we shall hear that from the link, and keep what has come.
            self._link.undisturbed(),
            self._store.receive(
                diff,
                as_path(request.path),
                as_options(request.options),
                expected=None if request.expected is None else Size(request.expected),
                link=request.link,
                fresh=request.fresh,
            ) as writer,
        ):
            self._stream_comes = True
            self._reply(messages.Ready(resume=place_message(writer.resume)))
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
        self, items: Iterable[_Item], message: Callable[[tuple[_Item, ...]], msgspec.Struct]
    ) -> None:
        """Send items in batches that a frame can hold, and none much later than it is known."""
        batch: list[_Item] = []
        nbytes = 0
        due = time.monotonic() + _BATCH_SECONDS
        for item in items:
            batch.append(item)
            nbytes += len(encode(item))
            full = len(batch) >= _BATCH or nbytes >= _BATCH_BYTES
            if full or time.monotonic() >= due:
                self._link.send(Kind.ITEMS, encode(message(tuple(batch))))
                self._stop_if_cancelled()
                batch.clear()
                nbytes = 0
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

    def _release(self, uuid: UUID) -> None:
        if self._mode < Mode.WRITE and uuid not in self._links:
            raise RefusedError(
                f"in mode {self._mode.letter} only links that came over this very connection can "
                f"be removed",
                "a run in mode w with --delete removes it",
            )
        with self._changing():
            self._store.release(uuid)
        self._links.discard(uuid)  # another run may make one of the same name

    def _require_directory(self) -> None:
        if self._create is not None:
            raise MissingError(f"{self._store.name} does not exist")

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Keep other runs out of the directory while a request changes it.

        A client should have asked for the lock for its whole run, and need not be one of ours.

        Raises:
            MissingError: There is no directory.
            BusyError: Another run holds the lock.
        """
        self._require_directory()
        with nullcontext() if self._locked else self._store.lock():
            yield

    def _take_lock(self) -> None:
        self._require_directory()
        self._unlock()
        self._lock.enter_context(self._store.lock())
        self._locked = True

    def _unlock(self) -> None:
        self._locked = False
        self._lock.close()

    def _make_directory(self) -> None:
        if self._create is None:
            return
        store = self._create()
        self._create = None
        self._unlock()
        self._store.close()
        self._store = store
