"""What receivers and the process that uses them say to each other, beside the stream.

Messages are JSON objects, each behind its length, over a pair of connected sockets; descriptors
travel with them. The other program is ours, and on the same machine: what it says is
believed, but for how long it is.

To the program that makes receivers, see `hosting`:

    make      a receiver; with its stream, and its end of another such pair
    made      the answer; with a descriptor of its process

To a receiver, see `receive`:

    begin     where to work, and what to expect; with the top directory of the subvolume
    mark      stop at the end of a command, and say where
    go        go on after a mark
    source    a snapshot to clone from, with its top directory; or why there is none

From a receiver:

    at        progress
    source    what snapshot is needed to clone from
    marked    the answer to mark
    cut       the stream has ended without its END command; as marked
    done      the stream was whole, and everything is in place
    failed    what went wrong; the receiver has ended
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

_LENGTH: Final = struct.Struct("<I")
_LONGEST: Final = 64 << 20
_MOST_FDS: Final = 2
_SECONDS: Final = 60.0
"""How long the other side may take in the middle of a message."""

Message = dict[str, Any]


class ControlEndedError(Exception):
    """The other side has gone."""


class Control:
    """One end of the pair."""

    def __init__(self, connection: socket.socket) -> None:
        """Take over a socket."""
        self._socket = connection

    def fileno(self) -> int:
        """Return the descriptor, to wait for it."""
        return self._socket.fileno()

    def close(self) -> None:
        """Let the other side know that nothing more is said."""
        self._socket.close()

    def say(self, kind: str, *, fds: Sequence[int] = (), **fields: Any) -> None:
        """Send a message, with descriptors if there are any.

        Raises:
            ControlEndedError: Nobody listens.
        """
        body = msgspec.json.encode({"kind": kind, **fields})
        try:
            # The descriptors travel with the first byte. All goes in one call, as far as there
            # is room, so that an interrupt hardly ever leaves half a message.
            message = _LENGTH.pack(len(body)) + body
            self._socket.sendall(message[socket.send_fds(self._socket, [message], fds) :])
        except OSError as error:
            raise ControlEndedError from error

    def hear(self) -> tuple[Message, Sequence[int]]:
        """Wait for the next message, and return it with its descriptors.

        Raises:
            ControlEndedError: There will be none.
        """
        try:
            header, fds, _, _ = socket.recv_fds(self._socket, _LENGTH.size, _MOST_FDS)
            while header and len(header) < _LENGTH.size:
                header += self._more(_LENGTH.size - len(header))
            if not header:
                raise ControlEndedError
            (length,) = _LENGTH.unpack(header)
            if length > _LONGEST:
                raise ControlEndedError
            body = bytearray()
            while len(body) < length:
                body += self._more(length - len(body))
        except OSError as error:
            raise ControlEndedError from error
        message: Message = msgspec.json.decode(body)
        return message, fds

    def _more(self, nbytes: int) -> bytes:
        self._socket.settimeout(_SECONDS)
        try:
            data = self._socket.recv(min(nbytes, 1 << 20))
        finally:
            self._socket.settimeout(None)
        if not data:
            raise ControlEndedError
        return data
