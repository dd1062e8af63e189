"""A client of the server that keeps to no rule: it sends whatever it is told, and hears all.

It knows frames and messages, but nothing of what the real client does with them.
"""

from __future__ import annotations

import os
import resource
import select
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeVar

from buttersink.wire.frames import HEADER, HEADER_SIZE, MAX_DATA, PREAMBLE, Kind, encode_frame
from buttersink.wire.messages import (
    NEWEST_VERSION,
    OLDEST_VERSION,
    ClientHello,
    Ready,
    ServerHello,
    decode,
    encode,
)
from buttersink.wire.values import Failure
from support.command import Run
from support.processes import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    import msgspec

    from buttersink.model import Mode
    from buttersink.wire.messages import Request
    from support.command import Argument

_T = TypeVar("_T")

_PIECE: Final = 1 << 16
_ENDS: Final = frozenset({Kind.REPLY, Kind.ERROR, Kind.END})
_SIGNS_OF_LIFE: Final = frozenset({Kind.ALIVE, Kind.PROGRESS})


def hello(*, stall_seconds: float) -> bytes:
    """Return what a client says first, who gives up on a server that is silent for so long."""
    return encode(
        ClientHello(
            release="raw",
            oldest=OLDEST_VERSION,
            newest=NEWEST_VERSION,
            stall_seconds=stall_seconds,
        )
    )


HELLO: Final = hello(stall_seconds=30.0)


class Said(NamedTuple):
    """A whole frame of the server."""

    kind: Kind
    payload: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said to a request.

    Attributes:
        end: The frame that ends the answer: REPLY, ERROR or END.
        items: What came in frames of ITEMS.
        data: What came in frames of DATA.
    """

    end: Said
    items: tuple[bytes, ...] = ()
    data: bytes = b""

    @property
    def failure(self) -> Failure:
        """The error that it is."""
        assert self.end.kind is Kind.ERROR, self.end
        return decode(self.end.payload, Failure)

    def reply(self, kind: type[_T]) -> _T:
        """Return the reply that it is."""
        assert self.end.kind is Kind.REPLY, self.told
        return decode(self.end.payload, kind)

    def all_of(self, kind: type[_T]) -> list[_T]:
        """Return the items, decoded."""
        assert self.end.kind is Kind.REPLY, self.told
        return [decode(item, kind) for item in self.items]

    @property
    def told(self) -> object:
        """What to show if it is not what it should be."""
        return self.failure if self.end.kind is Kind.ERROR else self.end


@dataclass
class Heard:
    """All that a server has written.

    Attributes:
        stdout: Every byte, the preamble and all frames.
        stderr: Every byte.
    """

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)


class RawClient:
    """A server process, and the other end of its pipes. Leaving the block kills the server.

    Nothing here waits for longer than `PATIENCE_SECONDS`.
    """

    def __init__(
        self,
        *arguments: Argument,
        environment: Mapping[str, str] | None = None,
        memory: int | None = None,
    ) -> None:
        """Start a server; nothing is said to it yet.

        Args:
            arguments: Of the command, `--server` included.
            environment: Variables besides those of the tests.
            memory: Most bytes of address space that it may use.
        """
        self.heard = Heard()
        self._taken = 0
        """How much of standard output was taken apart."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "buttersink", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **(environment or {})},
        )
        if memory is not None:
            resource.prlimit(self._process.pid, resource.RLIMIT_AS, (memory, memory))
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stdin = self._process.stdin
        self._sources = {
            self._process.stdout.fileno(): self.heard.stdout,
            self._process.stderr.fileno(): self.heard.stderr,
        }
        os.set_blocking(self._stdin.fileno(), False)

    @classmethod
    def greeted(
        cls,
        mode: Mode,
        directory: str | os.PathLike[str],
        *,
        environment: Mapping[str, str] | None = None,
        memory: int | None = None,
    ) -> Self:
        """Start a server for a directory, and exchange greetings with it."""
        words = server_arguments(mode, directory)
        client = cls(*words, environment=environment, memory=memory)
        client.greet()
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()

    # Saying

    def write(self, data: bytes) -> bool:
        """Write bytes, and hear what comes meanwhile; return whether the server took all."""
        left = memoryview(data)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while left:
            assert time.monotonic() < deadline, "the server takes nothing, and does not end"
            try:
                left = left[os.write(self._stdin.fileno(), left[:_PIECE]) :]
            except BlockingIOError:
                self._listen(0.05, also_write=True)
            except (BrokenPipeError, ValueError):  # ValueError: closed by ourselves
                return False
        return True

    def send(self, kind: Kind, payload: bytes = b"") -> bool:
        """Send a frame; return whether the server took all of it."""
        return self.write(encode_frame(kind, payload))

    def send_frames(self, frames: Iterable[tuple[Kind, bytes]]) -> bool:
        """Send frames in one go; return whether the server took them all."""
        return self.write(b"".join(encode_frame(kind, payload) for kind, payload in frames))

    def send_data(self, stream: bytes) -> bool:
        """Send a part of a stream, in frames of the longest kind; return whether it was taken."""
        starts = range(0, len(stream), MAX_DATA)
        return self.send_frames((Kind.DATA, stream[start : start + MAX_DATA]) for start in starts)

    def greet(self, hello: bytes = HELLO) -> ServerHello:
        """Say who we are, and return who the server is."""
        self.write(PREAMBLE + encode_frame(Kind.HELLO, hello))
        said = self.next()
        assert said is not None, self.heard
        assert said.kind is Kind.HELLO, said
        return decode(said.payload, ServerHello)

    def limit(self, what: int, most: int) -> None:
        """Limit what the server may use from now on, such as `resource.RLIMIT_NOFILE`."""
        _, highest = resource.prlimit(self._process.pid, what)
        resource.prlimit(self._process.pid, what, (most, highest))

    def hang_up(self) -> None:
        """Close the way to the server."""
        self._stdin.close()

    # Hearing

    def next(self) -> Said | None:
        """Return the next frame that is no sign of life; None if the server has ended."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            said = self._frame()
            if said is not None:
                if said.kind not in _SIGNS_OF_LIFE:
                    return said
            elif not self._sources:
                return None
            else:
                self._listen(deadline - time.monotonic())
                assert time.monotonic() < deadline, "the server says nothing, and does not end"

    def answer(self) -> Answer:
        """Return the rest of the answer to what was asked."""
        items, data = [], bytearray()
        while (said := self.next()) is not None:
            if said.kind is Kind.ITEMS:
                items.append(said.payload)
            elif said.kind is Kind.DATA:
                data += said.payload
            else:
                assert said.kind in _ENDS, said
                return Answer(said, tuple(items), bytes(data))
        raise AssertionError(f"the server has ended: {self.end()}")

    def ask(self, request: Request) -> Answer:
        """Ask for something, and return the answer."""
        self.send(Kind.REQUEST, encode(request))
        return self.answer()

    def upload(self, request: Request, stream: bytes) -> Answer:
        """Ask for something that a stream belongs to, send that whole, return the last answer."""
        ready = self.ask(request)
        if ready.end.kind is Kind.ERROR:
            return ready
        ready.reply(Ready)
        self.send_data(stream)
        self.send(Kind.END)
        return self.answer()

    def end(self) -> Run:
        """Hang up, wait until the server has ended, and return what came of it.

        Raises:
            AssertionError: It does not end.
        """
        self.hang_up()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._sources:
            self._listen(deadline - time.monotonic())
            assert time.monotonic() < deadline, "the server does not end"
        status = self._process.wait(PATIENCE_SECONDS)
        return Run(
            status, os.fsdecode(bytes(self.heard.stdout)), os.fsdecode(bytes(self.heard.stderr))
        )

    def wait_until_gone(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the server has ended, without taking what it says.

        Raises:
            subprocess.TimeoutExpired: It does not end.
        """
        self._process.wait(seconds)

    def kill(self) -> None:
        """Kill the server, and wait until nothing of it is left that could write."""
        self._process.kill()
        self._process.wait()

    def _frame(self) -> Said | None:
        """Take the next frame of what was heard; None if it has not come whole."""
        heard = self.heard.stdout
        begin = self._taken or len(PREAMBLE)
        if len(heard) < begin + HEADER_SIZE:
            return None
        assert heard.startswith(PREAMBLE), heard[:100]
        number, nbytes = HEADER.unpack_from(heard, begin)
        start = begin + HEADER_SIZE
        if len(heard) < start + nbytes:
            return None
        self._taken = start + nbytes
        return Said(Kind(number), bytes(heard[start : self._taken]))

    def _listen(self, seconds: float, *, also_write: bool = False) -> None:
        """Take what the server writes within so many seconds."""
        poll = select.poll()
        for source in self._sources:
            poll.register(source, select.POLLIN)
        if also_write:
            poll.register(self._stdin.fileno(), select.POLLOUT)
        for descriptor, _ in poll.poll(max(0.0, seconds) * 1000):
            if descriptor in self._sources:
                data = os.read(descriptor, _PIECE)
                self._sources[descriptor] += data
                if not data:
                    del self._sources[descriptor]


def server_arguments(mode: Mode, directory: str | os.PathLike[str]) -> list[str]:
    """Return the arguments of a server for a directory."""
    return ["--server", "--mode", mode.letter, os.path.join(os.fspath(directory), "")]


def raw_request(request: msgspec.Struct) -> bytes:
    """Return a frame that asks for something."""
    return encode_frame(Kind.REQUEST, encode(request))
