"""A directory of a btrfs file system on another host, served there, as `store.Sink`."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from buttersink.errors import ButterSinkError, MissingError, ProtocolError
from buttersink.model import Diff, Mode, Size, StreamOptions
from buttersink.stores.own_names import link_name
from buttersink.stores.ssh.source import SshSource
from buttersink.stores.ssh.streams import RemoteWriter
from buttersink.wire import messages
from buttersink.wire.facts import (
    as_bytes,
    as_options,
    as_path,
    as_position,
    asked,
    options_message,
)
from buttersink.wire.messages import Done
from buttersink.wire.portions import portions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from uuid import UUID

    from buttersink.model import Partial, Snapshot
    from buttersink.store import Writer
    from buttersink.stores.ssh.conversation import Conversation

_LOCKING: Final = "locking the directory"


class SshStore(SshSource):
    """The snapshots below one directory on another host; implements `store.Sink`."""

    def __init__(
        self,
        conversation: Conversation,
        hello: messages.ServerHello,
        *,
        name: str,
        mode: Mode,
        dial: Callable[[], tuple[Conversation, messages.ServerHello]],
    ) -> None:
        """Use a server that has greeted; see `SshSource`.

        Args:
            conversation: With it.
            hello: What it said first.
            name: The end as the user wrote it, for messages.
            mode: What the server was started for.
            dial: Starts another one, for the same, and greets it.
        """
        super().__init__(conversation, hello, name=name, dial=dial)
        self._mode = mode
        self._locked = False

    def reconnect(self) -> None:
        """See `store.Source`; with the lock, if that was held.

        Raises:
            BusyError: It is still held, perhaps by the server on the other end of the link that
                was lost.
            ButterSinkError: As of `SshSource`.
        """
        super().reconnect()
        if not self._locked:
            return
        try:
            self._ask(messages.Lock(), Done, _LOCKING)
        except BaseException:
            self.close()
            raise

    @property
    def mode(self) -> Mode:
        """See `store.Sink`."""
        return self._mode

    def create(self) -> None:
        """Make the directory, which is `missing`, on the other host.

        Raises:
            ButterSinkError: It can't be made, or not be used.
        """
        self._ask(messages.Create(), Done, "making the directory")
        self.missing = False

    def accepts(self) -> StreamOptions:
        """See `store.Sink`."""
        if self._hello.accepts is None:
            raise MissingError(
                f"{self.name}: the program btrfs was not found there",
                "install btrfs-progs there, or let ButterSink receive: leave out --receiver",
            )
        return as_options(self._hello.accepts)

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
                expected=expected.nbytes if expected and expected.exact else None,
                fresh=fresh,
            ),
            messages.Ready,
            doing,
        )
        with self._conversation.over_link(doing):
            resume = as_position(ready.resume)
        writer = RemoteWriter(self._conversation, doing, resume)
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
        self._ask(messages.Lock(), Done, _LOCKING)
        self._locked = True
        try:
            yield
        finally:
            self._locked = False
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
