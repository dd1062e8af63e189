"""What can be read of a directory that is served on another host, as `store.Source`."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from buttersink.errors import ButterSinkError, MissingError, ProtocolError, RefusedError
from buttersink.model import Certainty, Diff, Inventory, Measurement, Size, StreamOptions
from buttersink.stores.estimates import estimate_size
from buttersink.stores.ssh.streams import RemoteReader
from buttersink.stores.subvolume_end import SubvolumeEnd
from buttersink.text import escape
from buttersink.wire import messages
from buttersink.wire.facts import (
    as_options,
    as_partial,
    as_path,
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
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

    import msgspec

    from buttersink.model import Partial, Position, Snapshot
    from buttersink.store import Reader
    from buttersink.stores.ssh.conversation import Conversation

_Reply = TypeVar("_Reply", bound="msgspec.Struct")

_UUID_BYTES: Final = 16


class SshSource(SubvolumeEnd):
    """The snapshots below one directory on another host; implements `store.Source`."""

    def __init__(
        self,
        conversation: Conversation,
        hello: messages.ServerHello,
        *,
        name: str,
        dial: Callable[[], tuple[Conversation, messages.ServerHello]],
    ) -> None:
        """Use a server that has greeted.

        Args:
            conversation: With it.
            hello: What it said first.
            name: The end as the user wrote it, for messages.
            dial: Starts another one, for the same, and greets it.
        """
        self.name = name
        self.missing = hello.missing
        """Whether the directory does not exist; see `create`."""
        self._conversation = conversation
        self._hello = hello
        self._dial = dial
        self._known: dict[UUID, Snapshot] = {}
        self._has_partials = False
        self._has_outside = True
        self._free_bytes: int | None = None
        self._free_known = False

    def place(self) -> tuple[object, str]:
        """See `store.Source`; equal to the place of the same directory as a local end."""
        return tuple(self._hello.realm.split(" ")), as_path(self._hello.place)

    def close(self) -> None:
        """Let go of the server, which then ends."""
        self._conversation.close()

    @property
    def lost(self) -> bool:
        """See `store.Source`."""
        return self._conversation.lost

    def reconnect(self) -> None:
        """See `store.Source`; the host may have been rebooted meanwhile.

        Raises:
            UnavailableError: It can't be reached.
            RefusedError: The directory is another one, or not there any more.
            ButterSinkError: The host lets nobody in, or can't serve the directory.
        """
        self._conversation.close()
        conversation, hello = self._dial()
        try:
            self._check_same(conversation, hello)
        except BaseException:
            conversation.close()
            raise
        # What was told of snapshots is what the run's plan stands on, and is kept.
        self._conversation, self._hello = conversation, hello
        self._free_bytes, self._free_known = None, False

    def _check_same(self, conversation: Conversation, hello: messages.ServerHello) -> None:
        """Check that a server serves the same as the one before it."""
        if hello.missing != self.missing or _location(hello) != _location(self._hello):
            raise RefusedError(
                f"{conversation.host}: {escape(as_path(hello.directory))} is not what it was "
                f"before the connection was lost",
                "see what is mounted there, then run again",
            )

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


def _location(hello: messages.ServerHello) -> tuple[str, str, bytes]:
    """Return which directory of which file system is served, whatever kernel runs there now."""
    *_, fsid = hello.realm.split(" ")
    return as_path(hello.directory), fsid, hello.place


def _uuid_bytes(_: UUID) -> int:
    return _UUID_BYTES
