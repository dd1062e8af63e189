"""A directory of a btrfs file system on another host, served there, as `store.Sink`."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from buttersink.errors import ButterSinkError, MissingError, ProtocolError
from buttersink.model import Certainty, Diff, Inventory, Measurement, Mode, Size, StreamOptions
from buttersink.stores.estimates import estimate_size
from buttersink.stores.own_names import link_name
from buttersink.stores.ssh.streams import RemoteReader, RemoteWriter
from buttersink.stores.subvolume_end import SubvolumeEnd
from buttersink.wire import messages
from buttersink.wire.facts import (
    as_bytes,
    as_options,
    as_partial,
    as_path,
    as_position,
    as_problem,
    as_size,
    as_snapshots,
    asked,
    options_message,
    place_message,
)
from buttersink.wire.frames import Kind
from buttersink.wire.messages import Done, encode
from buttersink.wire.portions import portions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

    import msgspec

    from buttersink.model import Partial, Position, Snapshot
    from buttersink.store import Reader, Writer
    from buttersink.stores.ssh.conversation import Conversation

_Reply = TypeVar("_Reply", bound="msgspec.Struct")

_UUID_BYTES: Final = 16


class SshStore(SubvolumeEnd):
    """The snapshots below one directory on another host; implements `store.Sink`."""

    def __init__(
        self, conversation: Conversation, hello: messages.ServerHello, *, name: str, mode: Mode
    ) -> None:
        """Use a server that has greeted.

        Args:
            conversation: With it.
            hello: What it said first.
            name: The end as the user wrote it, for messages.
            mode: What the server was started for.
        """
        self.name = name
        self.missing = hello.missing
        """Whether the directory does not exist; see `create`."""
        self._conversation = conversation
        self._hello = hello
        self._mode = mode
        self._known: dict[UUID, Snapshot] = {}
        self._has_partials = False
        self._has_outside = True
        self._free_bytes: int | None = None
        self._free_known = False

    @property
    def mode(self) -> Mode:
        """See `store.Sink`."""
        return self._mode

    def place(self) -> tuple[object, str]:
        """See `store.Source`; equal to the place of the same directory as a local end."""
        return tuple(self._hello.realm.split(" ")), as_path(self._hello.place)

    def close(self) -> None:
        """Let go of the server, which then ends."""
        self._conversation.close()

    def create(self) -> None:
        """Make the directory, which is `missing`, on the other host.

        Raises:
            ButterSinkError: It can't be made, or not be used.
        """
        self._ask(messages.Create(), Done, "making the directory")
        self.missing = False

    # Facts

    def inventory(self) -> Inventory:
        """See `store.Source`."""
        doing = "listing the snapshots"
        found: list[messages.Found] = []
        request = messages.ListSnapshots()
        for part in self._conversation.ask_for_many(
            request, messages.Found, messages.Listed, doing=doing
        ):
            if isinstance(part, messages.Listed):
                listed = part
            else:
                found.append(part)
        self._note(listed)
        with self._conversation.over_link(doing):
            snapshots = as_snapshots(s for part in found for s in part.snapshots)
            partials = tuple(as_partial(p) for part in found for p in part.partials)
        self._known = {s.uuid: s for s in snapshots}
        self._has_partials, self._has_outside = bool(partials), listed.outside
        return Inventory(
            snapshots=self._with_links(snapshots, partials),
            partials=partials,
            problems=tuple(as_problem(p) for part in found for p in part.problems),
            writable=listed.writable,
        )

    def parents(self, uuids: Collection[UUID]) -> tuple[Snapshot, ...]:
        """See `store.Source`."""
        wanted = tuple(uuid for uuid in uuids if uuid not in self._known)
        if not wanted or not self._has_outside:
            return ()
        doing = "looking for parents"
        told = [
            snapshot
            for some in portions(wanted, _uuid_bytes)
            for part in self._conversation.ask_for_many(
                messages.FindParents(uuids=some), messages.Found, Done, doing=doing
            )
            if isinstance(part, messages.Found)
            for snapshot in part.snapshots
        ]
        with self._conversation.over_link(doing):
            found = as_snapshots(told)
            unasked = {s.uuid for s in found} - set(wanted)
            if unasked or any(s.paths for s in found):
                raise ProtocolError("it tells of snapshots that nobody asked for")
        self._known |= {s.uuid: s for s in found}
        return tuple(found)

    def stream_options(self) -> StreamOptions:
        """See `store.Source`."""
        return as_options(self._hello.makes)

    def accepts(self) -> StreamOptions:
        """See `store.Sink`."""
        if self._hello.accepts is None:
            raise MissingError(
                f"{self.name}: the program btrfs was not found there",
                "install btrfs-progs there, which receiving needs",
            )
        return as_options(self._hello.accepts)

    def measure(self, diff: Diff, options: StreamOptions, limit: int | None = None) -> Size:
        """See `store.Source`."""
        (size,) = self.measure_each([Measurement(diff=diff, limit=limit)], options)
        if isinstance(size, ButterSinkError):
            raise size
        return size

    def measure_each(
        self, measurements: Sequence[Measurement], options: StreamOptions
    ) -> Iterator[Size | ButterSinkError]:
        """See `store.Source`."""
        for some in portions(measurements, lambda _: 3 * _UUID_BYTES):
            yield from self._measure_some(some, options)

    def _measure_some(
        self, measurements: Sequence[Measurement], options: StreamOptions
    ) -> Iterator[Size | ButterSinkError]:
        request = messages.Measure(
            diffs=tuple(asked(m.diff, m.limit) for m in measurements),
            options=options_message(options),
        )
        doing = "measuring"
        missing = len(measurements)
        for part in self._conversation.ask_for_many(request, messages.Measured, Done, doing=doing):
            if isinstance(part, Done):
                break
            missing -= len(part.sizes)
            with self._conversation.over_link(doing):
                if missing < 0:
                    raise ProtocolError("it tells of more sizes than were asked for")
                sizes = list(map(as_size, part.sizes))
            yield from sizes
        if missing:
            with self._conversation.over_link(doing):
                raise ProtocolError("it tells of fewer sizes than were asked for")

    def estimate(self, diff: Diff) -> Size:
        """See `store.Source`."""
        for uuid in (diff.to, diff.parent):
            if uuid is not None and uuid not in self._known:
                raise MissingError(f"{self.name} has no snapshot {uuid} (any more)")
        return estimate_size(
            self._known[diff.to], self._known[diff.parent] if diff.parent else None
        )

    def recorded_sizes(self, snapshots: Iterable[Snapshot]) -> Mapping[Diff, Size]:
        """See `store.Source`."""
        uuids = (s.uuid for s in snapshots if s.uuid in self._known)
        doing = "reading old sizes"
        return {
            Diff(size.to, size.parent): Size(size.nbytes, Certainty.ESTIMATE)
            for some in portions(uuids, _uuid_bytes)
            for part in self._conversation.ask_for_many(
                messages.RecallSizes(uuids=some), messages.Recalled, Done, doing=doing
            )
            if isinstance(part, messages.Recalled)
            for size in part.sizes
        }

    def taken(self, paths: Iterable[str]) -> frozenset[str]:
        """See `store.Sink`."""
        doing = "looking what is in the way"
        found: list[bytes] = []
        for some in portions(map(as_bytes, paths), len):
            taken = self._ask(messages.FindTaken(paths=some), messages.Taken, doing)
            if any(index >= len(some) for index in taken.indices):
                with self._conversation.over_link(doing):
                    raise ProtocolError("it tells of paths that nobody asked for")
            found += (some[index] for index in taken.indices)
        return frozenset(map(as_path, found))

    def free_bytes(self) -> int | None:
        """See `store.Sink`; the latest number that the server told.

        Unknown where a leftover may be replaced, which frees its space, and can't be removed.
        """
        if self._mode < Mode.WRITE and self._has_partials:
            return None
        if not self._free_known:
            self._ask(messages.AskSpace(), Done, "asking for free space")
        return self._free_bytes

    # Streams

    @contextmanager
    def send(
        self, diff: Diff, options: StreamOptions, *, resume: Position | None = None
    ) -> Iterator[Reader]:
        """See `store.Source`; the beginning that is left out does not travel."""
        request = messages.Send(
            diff=asked(diff), options=options_message(options), resume=place_message(resume)
        )
        with self._coming(request, f"sending {self._describe(diff.to)}") as reader:
            yield reader

    @contextmanager
    def outline(self, diff: Diff, version: int) -> Iterator[Reader]:
        """See `store.Source`."""
        request = messages.Outline(diff=asked(diff), version=version)
        with self._coming(request, f"comparing {self._describe(diff.to)}") as reader:
            yield reader

    @contextmanager
    def _coming(self, request: messages.Request, doing: str) -> Iterator[Reader]:
        """Ask for a stream, and read it."""
        with self._conversation.over_link(doing):
            self._conversation.send(Kind.REQUEST, encode(request))
        reader = RemoteReader(self._conversation, doing)
        try:
            yield reader
        except Exception:
            if not reader.ended:
                self._conversation.cancel()
            raise
        except BaseException:
            self._conversation.abandon()
            raise
        if not reader.ended:
            self._conversation.cancel()

    @contextmanager
    def receive(
        self,
        diff: Diff,
        path: str,
        options: StreamOptions,
        *,
        expected: Size | None = None,
        link: bool = False,
        snapshot: Snapshot | None = None,
        fresh: bool = False,
    ) -> Iterator[Writer]:
        """See `store.Sink`."""
        del snapshot  # nothing there is recorded
        doing = f"receiving {path}"
        ready = self._ask(
            messages.Receive(
                diff=asked(diff),
                path=as_bytes(path),
                options=options_message(options),
                link=link,
                expected=expected.nbytes if expected else None,
                fresh=fresh,
            ),
            messages.Ready,
            doing,
        )
        writer = RemoteWriter(self._conversation, doing, as_position(ready.resume))
        try:
            yield writer
        except Exception:
            with suppress(ButterSinkError):
                writer.give_up()
            raise
        except BaseException:
            self._conversation.abandon()
            raise
        self._note(writer.finish())

    # What changes the directory

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `store.Sink`."""
        self._ask(messages.Lock(), Done, "locking the directory")
        try:
            yield
        finally:
            # With the link the lock is gone as well.
            with suppress(ButterSinkError):
                self._ask(messages.Unlock(), Done, "unlocking the directory")

    def release(self, uuid: UUID) -> None:
        """See `store.Sink`."""
        self._ask(messages.Release(uuid=uuid), Done, f"removing {link_name(uuid)}")

    def adopt(self, snapshot: Snapshot, path: str) -> None:
        """See `store.Sink`."""
        request = messages.Adopt(uuid=snapshot.uuid, path=as_bytes(path))
        self._ask(request, Done, f"putting {path} in place")

    def delete(self, uuid: UUID, path: str) -> None:
        """See `store.Sink`."""
        request = messages.Delete(uuid=uuid, path=as_bytes(path))
        self._ask(request, Done, f"deleting {path}")

    def clean(self, partial: Partial) -> None:
        """See `store.Sink`."""
        request = messages.Clean(path=as_bytes(partial.path), uuid=partial.uuid)
        self._ask(request, Done, f"removing {partial.path}")

    def flush(self) -> None:
        """See `store.Sink`."""
        self._ask(messages.Flush(), Done, "writing to the disk")

    # Helpers

    def _with_links(
        self, snapshots: Sequence[Snapshot], partials: Sequence[Partial]
    ) -> tuple[Snapshot, ...]:
        """Return the snapshots, with the places of links: they are snapshots and leftovers."""
        top = as_path(self._hello.place)
        places = {p.uuid: f"{top}/{p.path}" if top else p.path for p in partials if p.link}
        whole = (
            replace(s, elsewhere=(places[s.uuid],)) if s.uuid in places else s for s in snapshots
        )
        return tuple(sorted(whole, key=lambda s: (os.fsencode(s.path), s.uuid)))

    def _ask(self, request: messages.Request, reply: type[_Reply], doing: str) -> _Reply:
        answer = self._conversation.ask(request, reply, doing=doing)
        self._note(answer)
        return answer

    def _note(self, answer: object) -> None:
        """Remember what an answer tells by the way."""
        if isinstance(answer, Done):
            self._free_bytes, self._free_known = answer.free_bytes, True

    def _describe(self, uuid: UUID) -> str:
        known = self._known.get(uuid)
        return str(uuid) if known is None else known.path


def _uuid_bytes(_: UUID) -> int:
    return _UUID_BYTES
