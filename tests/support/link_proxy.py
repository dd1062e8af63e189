"""A TCP proxy in front of a server such as sshd: a link that is slow, stalls or is cut."""

from __future__ import annotations

import fcntl
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from support.link import Link
from support.link_faults import Trouble, WaitingFaults

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from support.link_faults import LinkFault, Way

_LOOPBACK: Final = "127.0.0.1"
_SIOCOUTQNSD: Final = 0x894B
"""Asks for the number of bytes that were not sent yet (linux/sockios.h)."""
_PATIENCE_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.001


class _SocketEnd:
    """An end that is a TCP connection."""

    tells_when_gone = False

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        self.socket = connection
        self.incoming = self.outgoing = connection.fileno()

    def finish(self) -> None:
        with suppress(OSError):  # it may not be connected any more
            self.socket.shutdown(socket.SHUT_WR)

    def refuse(self) -> None:
        """Do nothing: TCP has no word for it. Whoever writes will hear of it by the other way."""

    def close(self) -> None:
        self.socket.close()

    def drain(self) -> None:
        """Throw away what comes, to its end: closed before that, the kernel would reset."""
        self.socket.settimeout(_PATIENCE_SECONDS)
        with suppress(OSError):
            while self.socket.recv(1 << 18):
                pass

    def reset(self) -> None:
        """Break the connection, once the other side's kernel has all that was written."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self._unsent() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def _unsent(self) -> int:
        count: int = struct.unpack("i", fcntl.ioctl(self.socket, _SIOCOUTQNSD, bytes(4)))[0]
        return count


class LinkProxy:
    """The proxy, from entering the block to leaving it.

    Args:
        port: Of the server, on the loopback interface.
        delay: How many seconds each byte takes, either way (and up to 1 ms more); any number may
            be on their way at once. A new connection takes a round trip before its first byte.
    """

    def __init__(self, port: int, *, delay: float = 0.0) -> None:
        self._server_port = port
        self._delay = delay
        self._faults = WaitingFaults()
        self._listener = socket.create_server((_LOOPBACK, 0))
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._links: list[Link] = []
        self._open: set[Link] = set()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._sockets:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join(_PATIENCE_SECONDS)

    @property
    def port(self) -> int:
        """The port that clients are to use."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def delay(self) -> float:
        """How many seconds each byte takes, either way."""
        return self._delay

    @delay.setter
    def delay(self, seconds: float) -> None:
        self._delay = seconds
        self._tell(lambda link: setattr(link, "delay", seconds))

    @property
    def connections(self) -> int:
        """How many connections there have been."""
        return len(self._links)

    @property
    def open_connections(self) -> int:
        """How many connections there are."""
        return len(self._open)

    @property
    def waiting_faults(self) -> int:
        """How many faults have not happened yet."""
        return len(self._faults)

    def passed(self, way: Way) -> int:
        """Return how many bytes were passed on that way, by all connections together."""
        with self._lock:
            return sum(link.passed(way) for link in self._links)

    def inject(self, *faults: LinkFault) -> None:
        """Let things go wrong: each fault once, in the first connection that comes so far."""
        self._faults.add(*faults)
        self._tell(Link.wake)

    def stall(self) -> None:
        """Let the connections that there are now pass on nothing from now on."""
        self._tell(Link.stall)

    def cut(self, trouble: Trouble = Trouble.RESET) -> None:
        """End the connections that there are now, in order (CLOSE) or not (RESET)."""
        self._tell(lambda link: link.end(trouble))

    def heal(self) -> None:
        """Forget the faults that have not happened yet, and let what stalls go on."""
        self._faults.clear()
        self._tell(Link.heal)

    def _tell(self, what: Callable[[Link], None]) -> None:
        with self._lock:
            for link in self._open:
                what(link)

    def _start(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while not self._closing.is_set():
                connection, _ = self._listener.accept()
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        self._closing.wait(2 * self._delay)  # the client has not waited for it yet
        with connection:
            try:
                onwards = socket.create_connection((_LOOPBACK, self._server_port))
            except OSError:
                return  # the client finds the connection closed
            with onwards:
                self._connect(_SocketEnd(connection), _SocketEnd(onwards))

    def _connect(self, near: _SocketEnd, far: _SocketEnd) -> None:
        link = Link(near, far, faults=self._faults, delay=self._delay)
        with self._lock:
            self._links.append(link)
            self._open.add(link)
            self._sockets |= {near.socket, far.socket}
        if self._closing.is_set():
            link.end(Trouble.RESET)
        try:
            trouble = link.run()
            if trouble is Trouble.RESET:
                near.reset()
                far.reset()
            elif trouble is Trouble.CLOSE:
                near.finish()
                far.finish()
                near.drain()
                far.drain()
        finally:
            with self._lock:
                self._open.discard(link)
                self._sockets -= {near.socket, far.socket}
            link.close()
