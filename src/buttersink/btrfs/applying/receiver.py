"""Applying one stream as it comes, and answering to the other side: see `btrfs.receive`."""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING, Final
from uuid import UUID

from buttersink import errors
from buttersink.btrfs.applying.applier import Applier, Pending
from buttersink.btrfs.control import ControlEndedError
from buttersink.stream.decoding import After, Decoder
from buttersink.stream.digest import SpanDigest
from buttersink.stream.format import COMMAND_HEADER_SIZE, MAX_COMMAND
from buttersink.stream.head import Expectation
from buttersink.text import escape

if TYPE_CHECKING:
    from buttersink.btrfs.control import Control, Message

_READ_BYTES: Final = 1 << 20
_BUFFER_BYTES: Final = _READ_BYTES + MAX_COMMAND + COMMAND_HEADER_SIZE
_PROGRESS_SECONDS: Final = 0.1
_SHOWN_BYTES: Final = 300
"""How much of a path a message shows."""


class CommandFailedError(OSError):
    """The kernel would not do what a command says."""


class Receiver:
    """Applies the stream, and answers to the other side."""

    def __init__(self, control: Control, stream_fd: int, root_fd: int, job: Message) -> None:
        """Be ready to apply a stream.

        Args:
            control: The other side.
            stream_fd: Where the stream comes from.
            root_fd: Top directory of the subvolume that is being made.
            job: What `btrfs.receive` says to begin.
        """
        self._control = control
        self._stream_fd = stream_fd
        own = frozenset(map(UUID, job["to"]))
        parents = None if job["parents"] is None else frozenset(map(UUID, job["parents"]))
        after = None if job["after"] is None else After(**job["after"])
        self._sources: dict[UUID, int | str] = {}
        """Top directories of snapshots to clone from, or why there is none."""
        self._applier = Applier(
            root_fd,
            own=own,
            sources=self._source,
            pending=None if job["pending"] is None else Pending.from_json(job["pending"]),
            incremental=parents is not None,
        )
        self._decoder = Decoder(
            Expectation(to=own, parents=parents, max_version=job["max_version"]),
            self._applier,
            after=after,
            clone_sources=self._may_clone,
        )
        self._start = after.nbytes if after else 0
        self._digest = SpanDigest()
        self._taken = 0
        """Bytes of the stream that were applied here."""
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._filled = 0
        self._told_at = time.monotonic()
        self._mark_asked = False

    def run(self) -> None:
        """Apply all that comes, until nothing more does."""
        poll = select.poll()
        poll.register(self._stream_fd, select.POLLIN)
        poll.register(self._control.fileno(), select.POLLIN)
        while True:
            # Not before what has come is applied. It may have been asked for while we asked for
            # something, and nothing more may come then: so it doesn't wait for that.
            if self._mark_asked:
                self._mark()
            ready = dict(poll.poll())
            if self._control.fileno() in ready:
                self._hear_mark(self._control.hear()[0])
            if self._stream_fd in ready:
                count = os.readv(self._stream_fd, [self._buffer[self._filled :][:_READ_BYTES]])
                if count == 0:
                    break
                self._filled += count
                self._apply()
                self._tell()
        if not self._decoder.ended:
            self._control.say("cut", **self._where())
            self._control.hear()  # until the other side has looked
            return
        self._applier.finish()
        self._control.say(
            "done", plain_bytes=self._decoder.plain_bytes, ctransid=self._decoder.ctransid
        )

    def _apply(self) -> None:
        """Apply the whole commands that have come, and keep the rest."""
        data = self._buffer[: self._filled]
        try:
            count = self._decoder.take(data)
        except (OSError, errors.ButterSinkError) as error:
            if self._decoder.failed is None:
                raise
            name, offset, path = self._decoder.failed
            what = f"{name} of {_shown(path)}"
            where = f"{what}, at byte {offset} of the stream"
            if isinstance(error, OSError):
                said = os.strerror(error.errno) if error.errno else str(error)
                raise CommandFailedError(error.errno or 0, f"{where}: {said}") from error
            raise type(error)(f"{where}: {error.message}", error.hint) from error
        # What follows the END command is no part of the stream.
        part = data[: min(count, self._decoder.nbytes - self._start - self._taken)]
        self._digest.update(part)
        self._taken += len(part)
        left = self._filled - count
        self._buffer[:left] = bytes(data[count:])
        self._filled = left

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told_at >= _PROGRESS_SECONDS:
            self._told_at = now
            self._control.say("at", plain_bytes=self._decoder.plain_bytes)

    def _hear_mark(self, message: Message) -> None:
        if message["kind"] == "mark":
            self._mark_asked = True
        elif message["kind"] != "go":  # that of a mark which was never asked for
            raise ControlEndedError

    def _mark(self) -> None:
        """Stop here until the other side has looked."""
        self._mark_asked = False
        self._applier.flush()
        self._control.say("marked", **self._where())
        self._control.hear()

    def _where(self) -> Message:
        """Return where the stream stands, and what is needed to go on from there."""
        return {
            # Before the head has come there is nothing that could be gone on with.
            "nbytes": self._start + self._taken if self._decoder.ctransid else 0,
            "plain_bytes": self._decoder.plain_bytes,
            "digest": self._digest.digest().hex(),
            "version": self._decoder.version,
            "ctransid": self._decoder.ctransid,
            "ended": self._decoder.ended,
            "pending": self._applier.pending().as_json(),
        }

    def _may_clone(self, uuid: UUID) -> bool:
        """Return whether a snapshot that is neither the new one nor its parent may be used."""
        return isinstance(self._found(uuid), int)

    def _source(self, uuid: UUID) -> int:
        found = self._found(uuid)
        if isinstance(found, str):
            raise errors.MissingError(found)
        return found

    def _found(self, uuid: UUID) -> int | str:
        """Ask for a snapshot to clone from, once."""
        if uuid not in self._sources:
            self._control.say("source", uuid=str(uuid))
            answer, fds = self._control.hear()
            while answer["kind"] != "source":  # it was said before our question came
                self._hear_mark(answer)
                answer, fds = self._control.hear()
            self._sources[uuid] = fds[0] if fds else str(answer["refused"])
        return self._sources[uuid]


def _shown(path: bytes) -> str:
    if not path:
        return "the top directory"
    more = "…" if len(path) > _SHOWN_BYTES else ""
    return escape(os.fsdecode(path[:_SHOWN_BYTES])) + more
