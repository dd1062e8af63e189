"""An HTTP proxy in front of an S3 server, which counts requests and spoils some of them.

The header Host is passed on as it is, because the signature covers it: the client has to use the
proxy's address, and a server that checks Host has to be told so. Over plain http only.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from support.faults import Answer, Cut, Flip, LoseAnswer, Side, Slow, Stall
from support.http_wire import ClosedError, DeafError, Wire, read_head, request_body, response_body
from support.s3_requests import operation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from support.faults import Action, Fault
    from support.http_wire import Head

_LOOPBACK = "127.0.0.1"
_JOIN_SECONDS = 10.0


class CutError(Exception):
    """A fault has cut the connection."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that came, also if it was spoiled.

    Attributes:
        operation: Such as "UploadPart".
        method: Such as "PUT".
        target: Path and query, as they came.
    """

    operation: str
    method: str
    target: str


@dataclass(slots=True)
class _Waiting:
    """A fault, and how many of the requests that it concerns have come."""

    fault: Fault
    seen: int = 0
    done: bool = False


class Tally:
    """What has passed, and which faults are due; for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._announced: Counter[tuple[Side, str]] = Counter()
        self._passed: Counter[tuple[Side, str]] = Counter()
        self._waiting: list[_Waiting] = []

    def inject(self, *faults: Fault) -> None:
        with self._lock:
            self._waiting += map(_Waiting, faults)

    def forget_faults(self) -> None:
        with self._lock:
            self._waiting.clear()

    def requests(self) -> list[Request]:
        with self._lock:
            return list(self._requests)

    def passed(self, side: Side, operation: str) -> int:
        with self._lock:
            return self._passed[side, operation]

    def add_passed(self, side: Side, operation: str, nbytes: int) -> None:
        with self._lock:
            self._passed[side, operation] += nbytes

    def began(self, request: Request) -> list[Action]:
        """Note a request; return what is due to it or its answer because of its number."""
        due = []
        with self._lock:
            self._requests.append(request)
            for waiting in self._waiting:
                fault = waiting.fault
                if fault.at_total is None and fault.concerns(request.operation):
                    waiting.seen += 1
                    if fault.first <= waiting.seen < fault.first + fault.times:
                        due.append(fault.action)
        return due

    def announced(self, side: Side, operation: str, nbytes: int) -> list[Action]:
        """Note that a body of this length is to come; return what is due because of the total."""
        due: list[Action] = []
        with self._lock:
            for waiting in self._waiting:
                fault = waiting.fault
                if waiting.done or fault.at_total is None or fault.side is not side:
                    continue
                before = sum(
                    count
                    for (counted, of), count in self._announced.items()
                    if counted is side and fault.concerns(of)
                )
                if fault.concerns(operation) and before + nbytes > fault.at_total:
                    waiting.done = True
                    action, offset = fault.action, max(0, fault.at_total - before)
                    if isinstance(action, Cut | Flip):
                        action = replace(action, offset=offset)
                    due.append(action)
            self._announced[side, operation] += nbytes
        return due


class S3Proxy:
    """The proxy, from entering the block to leaving it.

    Args:
        port: Of the server, on the loopback interface; may be set later, too.
    """

    def __init__(self, port: int = 0) -> None:
        self.server_port = port
        self._tally = Tally()
        self._listener = socket.create_server((_LOOPBACK, 0))
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._wires: set[Wire] = set()
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
        self.cut_all()
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)

    @property
    def port(self) -> int:
        """The port that clients are to use."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """The address that clients are to use."""
        return f"http://{_LOOPBACK}:{self.port}"

    def inject(self, *faults: Fault) -> None:
        """Let things go wrong, counted from now on; those of one request happen all."""
        self._tally.inject(*faults)

    def forget_faults(self) -> None:
        """Let nothing go wrong from now on, but for what is under way."""
        self._tally.forget_faults()

    def cut_all(self) -> None:
        """Cut all connections that there are now."""
        with self._lock:
            wires = list(self._wires)
        for wire in wires:
            wire.close()

    def requests(self) -> list[Request]:
        """Return all requests so far."""
        return self._tally.requests()

    def counts(self) -> Counter[str]:
        """Return how many requests there were of each operation."""
        return Counter(request.operation for request in self._tally.requests())

    def body_bytes(self, operation: str, side: Side = Side.REQUEST) -> int:
        """Return how many bytes of bodies have passed; framing of chunks isn't counted."""
        return self._tally.passed(side, operation)

    def _start(self, work: Callable[..., None], *arguments: Wire) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while not self._closing.is_set():
                connection, _ = self._listener.accept()
                self._start(self._serve, self._known(connection))

    def _known(self, connection: socket.socket) -> Wire:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = Wire(connection)
        with self._lock:
            self._wires.add(wire)
        if self._closing.is_set():
            wire.close()
        return wire

    def _forget(self, wire: Wire) -> None:
        wire.close()
        with self._lock:
            self._wires.discard(wire)

    def _serve(self, client: Wire) -> None:
        server: Wire | None = None
        try:
            while not self._closing.is_set():
                head = read_head(client)
                if server is not None and server.is_closed():
                    self._forget(server)
                    server = None
                if server is None:
                    address = (_LOOPBACK, self.server_port)
                    server = self._known(socket.create_connection(address))
                exchange = _Exchange(self._tally, self._closing, client, server, head)
                if not exchange.carry_out():
                    return
        except (OSError, CutError):
            return
        finally:
            for wire in (client, server):
                if wire is not None:
                    self._forget(wire)


class _Exchange:
    """One request and its answer."""

    def __init__(
        self, tally: Tally, closing: threading.Event, client: Wire, server: Wire, head: Head
    ) -> None:
        self._tally = tally
        self._closing = closing
        self._client = client
        self._server = server
        self._head = head
        method, target, _ = head.start.split(" ")
        kind = operation(method, target, copies=bool(head["x-amz-copy-source"]))
        self._request = Request(kind, method, target)
        self._due: list[Action] = []

    def carry_out(self) -> bool:
        """Do it; return whether the connections can be used again."""
        self._due = self._tally.began(self._request)
        self._due += self._announced(Side.REQUEST, self._head)
        for action in self._due:
            if isinstance(action, Answer):
                self._answer(action)
                return False
        self._stall(Side.REQUEST)
        if Cut(Side.REQUEST, 0) in self._due:
            raise CutError
        whole = self._pass_request()
        answer = self._pass_response()
        return whole and not (self._head.closes or answer.closes)

    def _pass_request(self) -> bool:
        """Pass the request on; return whether the server took all of it."""
        head = self._head
        if head["expect"]:  # answered here: the signature does not cover it
            self._client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = head.without("expect")
        try:
            self._server.send(bytes(head))
            self._pass(Side.REQUEST, request_body(self._client, head), self._server)
        except DeafError:
            return False  # it has answered before the end, or has gone
        return True

    def _pass_response(self) -> Head:
        answer = read_head(self._server)
        while answer.status == 100:
            answer = read_head(self._server)
        self._due += self._announced(Side.RESPONSE, answer)
        body = response_body(self._server, answer, self._request.method)
        if any(isinstance(action, LoseAnswer) for action in self._due):
            for _ in body:
                pass
            raise CutError
        self._stall(Side.RESPONSE)
        self._client.send(bytes(answer))
        self._pass(Side.RESPONSE, body, self._client)
        if answer.length is None and not answer.chunked and self._request.method != "HEAD":
            raise ClosedError("the end of the connection is the end of the body")
        return answer

    def _pass(self, side: Side, body: Iterator[tuple[bytes, bool]], to: Wire) -> None:
        """Pass a body on, but for what is due to it."""
        passed = 0
        cuts = [a.offset for a in self._due if isinstance(a, Cut) and a.side is side]
        flips = [a.offset for a in self._due if isinstance(a, Flip) and a.side is side]
        rates = [a.rate for a in self._due if isinstance(a, Slow) and a.side is side]
        for piece, is_content in body:
            if not is_content:
                to.send(piece)
                continue
            changed = bytearray(piece)
            for offset in flips:
                if passed <= offset < passed + len(piece):
                    changed[offset - passed] ^= 0xFF
            cut = min((offset - passed for offset in cuts), default=len(piece))
            to.send(bytes(changed[:cut]))
            self._tally.add_passed(side, self._request.operation, min(cut, len(piece)))
            if cut < len(piece):
                raise CutError
            passed += len(piece)
            for rate in rates:
                self._closing.wait(len(piece) / rate)

    def _announced(self, side: Side, head: Head) -> list[Action]:
        if head.length is None or (side is Side.RESPONSE and self._request.method == "HEAD"):
            return []
        return self._tally.announced(side, self._request.operation, head.length)

    def _stall(self, side: Side) -> None:
        for action in self._due:
            if isinstance(action, Stall) and action.side is side:
                self._closing.wait(action.seconds)

    def _answer(self, action: Answer) -> None:
        if not self._head["expect"]:  # else the body is not sent before it is asked for
            for _ in request_body(self._client, self._head):
                pass
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            f"<Error><Code>{action.code}</Code><Message>injected</Message></Error>"
        ).encode()
        if self._request.method == "HEAD":
            body = b""
        self._client.send(
            f"HTTP/1.1 {action.status} Injected\r\nContent-Type: application/xml\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        )
        self._client.send(body)
