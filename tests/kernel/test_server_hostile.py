"""Whatever bytes a server gets: it ends by itself, needs little memory, and harms nothing."""

from __future__ import annotations

import os
import struct
from itertools import cycle, repeat
from random import Random
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

import pytest

from buttersink.model import Mode
from buttersink.wire import messages
from buttersink.wire.frames import MAX_DATA, MAX_MESSAGE, PREAMBLE, Kind, encode_frame
from buttersink.wire.messages import (
    MAX_ASKED,
    ClientHello,
    DiffAsked,
    Done,
    Ready,
    encode,
)
from support.picture import assert_unchanged, assert_untouched
from support.raw_client import HELLO, RawClient, raw_request, server_arguments
from support.served_worlds import (
    OPTIONS,
    ServedWorld,
    lasting_served_world,
    made_stream,
    receive,
)
from support.stream_samples import utimes, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.command import Run
    from support.picture import Picture

MEMORY: Final = 640 << 20
"""Of address space, of which an idle server has 170 MiB: less than the input might cause."""

MANY: Final = 100_000
NEW: Final = UUID("12345678-1234-4234-8234-123456789abc")
LANDING: Final = rf"served/(deep/)?\.buttersink-{NEW}\.part(/new|/parent)?"
"""Subvolumes of one interrupted transfer."""

HEADER: Final = struct.Struct("<BI")
SOON_SECONDS: Final = 20.0
"""Less than waiting for freed space takes where it is in vain."""

LIST: Final = raw_request(messages.ListSnapshots())
SPACE: Final = raw_request(messages.AskSpace())


def text(value: str) -> bytes:
    """Return a short string of msgpack."""
    return bytes([0xA0 + len(value)]) + value.encode()


def array(count: int) -> bytes:
    """Return the head of an array of msgpack, without what is in it."""
    return b"\xdd" + struct.pack(">I", count)


def asking(verb: str, field: str, value: bytes) -> bytes:
    """Return a frame with a request that has one field, of raw msgpack."""
    named = b"\x82" + text("verb") + text(verb) + text(field) + value
    return encode_frame(Kind.REQUEST, named)


def filled(piece: bytes) -> bytes:
    """Return an array that takes all the room there is in a message."""
    count = (MAX_MESSAGE - 100) // len(piece)
    return array(count) + piece * count


def short_names(count: int) -> bytes:
    """Return an array of short names, all of them different."""
    return array(count) + b"".join(b"\xc4\x06%06x" % number for number in range(count))


NO_TEXT: Final = b"\x81" + text("release") + b"\xa2\xff\xfe"
UUID_BYTES: Final = b"\xc4\x10" + bytes(16)

SENSELESS: Final = {
    **{f"random {seed}": Random(seed).randbytes(1 << (4 + 4 * seed)) for seed in range(5)},
    "zeros": bytes(1 << 20),
    "all ones": b"\xff" * (1 << 20),
    "half a header": b"\x02\x10",
    "a header and nothing": HEADER.pack(Kind.REQUEST, 1000),
    "half a request": LIST[:-3],
    "the longest request, cut": HEADER.pack(Kind.REQUEST, MAX_MESSAGE) + bytes(1000),
    "a huge request": HEADER.pack(Kind.REQUEST, 2**32 - 1) + bytes(1 << 20),
    "huge data": HEADER.pack(Kind.DATA, 2**32 - 1) + bytes(1 << 20),
    "a request too long by one": HEADER.pack(Kind.REQUEST, MAX_MESSAGE + 1) + bytes(1 << 20),
    "data too long by one": HEADER.pack(Kind.DATA, MAX_DATA + 1) + bytes(1 << 20),
    "a sign of life with a payload": HEADER.pack(Kind.ALIVE, 1) + b"x",
    "a cancel with a payload": HEADER.pack(Kind.CANCEL, 1) + b"x",
    **{f"unknown kind {kind}": HEADER.pack(kind, 0) for kind in (0, 11, 128, 255)},
    "hello again": encode_frame(Kind.HELLO, HELLO),
    "preamble again": PREAMBLE,
    "data out of the blue": encode_frame(Kind.DATA, b"btrfs-stream\0"),
    "end out of the blue": encode_frame(Kind.END) * 2,
    "answers": encode_frame(Kind.REPLY, encode(Done())),
    "items": encode_frame(Kind.ITEMS, encode(messages.Found(snapshots=()))),
    "an error": encode_frame(Kind.ERROR, b"\x93\xa1x\xc4\x00\xc4\x00"),
    "progress": encode_frame(Kind.PROGRESS, encode(messages.Progress(plain_bytes=1))),
    "an empty request": encode_frame(Kind.REQUEST),
    "a number": encode_frame(Kind.REQUEST, b"\x05"),
    "no verb": encode_frame(Kind.REQUEST, b"\x80"),
    "unknown verb": encode_frame(Kind.REQUEST, b"\x81" + text("verb") + text("shell")),
    "verb of another type": encode_frame(Kind.REQUEST, b"\x81" + text("verb") + b"\x91\xc0"),
    "a field that is no text": encode_frame(
        Kind.REQUEST, b"\x82" + text("verb") + text("flush") + b"\xa2\xff\xfe\xc0"
    ),
    "a verb that is no text": encode_frame(Kind.REQUEST, b"\x81" + text("verb") + b"\xa2\xff\xfe"),
    "unknown field": asking("inventory", "shell", b"\xc3"),
    "two requests in one": encode_frame(Kind.REQUEST, (b"\x81" + text("verb") + text("flush")) * 2),
    "deep nesting": encode_frame(Kind.REQUEST, b"\x91" * MAX_MESSAGE),
    "deep nesting in a field": asking("parents", "uuids", b"\x91" * (MAX_MESSAGE - 100)),
    "deep maps": asking("parents", "uuids", b"\x81\xc0" * (MAX_MESSAGE // 2 - 100)),
    "an array of billions": asking("parents", "uuids", array(2**32 - 1)),
    "an array of millions": asking("parents", "uuids", array(2**28) + UUID_BYTES * 1000),
    "an array of nothing": asking("parents", "uuids", filled(b"\xc0")),
    "all the uuids there is room for": asking("parents", "uuids", filled(UUID_BYTES)),
    "all the empty paths there is room for": asking("taken", "paths", filled(b"\xc4\x00")),
    "a path too many": asking("taken", "paths", short_names(MAX_ASKED + 1)),
    "a map of billions": encode_frame(Kind.REQUEST, b"\xdf\xff\xff\xff\xff"),
    "bytes of billions": asking("taken", "paths", b"\x91\xc6\xff\xff\xff\xff"),
    "a path of 64 KiB and one": asking(
        "taken", "paths", b"\x91\xc6\x00\x01\x00\x01" + b"x" * 65537
    ),
}
"""What makes no sense, and so ends the conversation."""

HEAVY: Final[dict[str, Callable[[], bytes]]] = {
    "the most uuids": lambda: asking("parents", "uuids", array(MAX_ASKED) + UUID_BYTES * MAX_ASKED),
    "a path of many parts": lambda: asking(
        "taken", "paths", b"\x91\xc5\xff\xff" + b"a/" * 32767 + b"b"
    ),
    "cancels": lambda: encode_frame(Kind.CANCEL) * MANY,
    "signs of life": lambda: encode_frame(Kind.ALIVE) * MANY,
    "tiny requests": lambda: SPACE * MANY,
    "cancelled requests": lambda: (LIST + encode_frame(Kind.CANCEL)) * 20,
}
"""What makes sense, but more than any client needs; the server is as good as before."""

GREETINGS: Final = {
    "nothing": b"",
    "half a preamble": PREAMBLE[:7],
    "only a preamble": PREAMBLE,
    "another protocol": b"GET / HTTP/1.1\r\nHost: nas\r\n\r\n",
    "an old ButterSink": b"version\n",
    "random": Random(7).randbytes(1 << 16),
    "a request first": PREAMBLE + LIST,
    "an empty hello": PREAMBLE + encode_frame(Kind.HELLO),
    "a hello of nothing": PREAMBLE + encode_frame(Kind.HELLO, b"\x80"),
    "a deep hello": PREAMBLE + encode_frame(Kind.HELLO, b"\x81\xa1x" + b"\x91" * (1 << 20)),
    "a hello that is no text": PREAMBLE + encode_frame(Kind.HELLO, NO_TEXT),
    **{
        f"a stall of {name}": PREAMBLE
        + encode_frame(Kind.HELLO, HELLO[:-8] + struct.pack(">d", seconds))
        for name, seconds in {
            "nothing": 0.0,
            "less": -1.0,
            "a moment": 1e-300,
            "ever": float("inf"),
            "no number": float("nan"),
        }.items()
    },
    **{
        f"versions {oldest} to {newest}": PREAMBLE
        + encode_frame(
            Kind.HELLO,
            encode(ClientHello(release="x", oldest=oldest, newest=newest, stall_seconds=30.0)),
        )
        for oldest, newest in ((0, 0), (1000, 2000), (2, 1), (2**63 - 1, 2**63 - 1))
    },
}


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[ServedWorld, Picture]]:
    """Return a world that nothing may change, and its picture."""
    with lasting_served_world() as made:
        yield made


@pytest.fixture(scope="module")
def shared_by_writers() -> Iterator[tuple[ServedWorld, Picture]]:
    """Return a world in which no snapshot may change, and its first picture."""
    with lasting_served_world() as made:
        yield made


def ended(client: RawClient) -> Run:
    """Check that a server has ended well, or given up with one line."""
    run = client.end()
    assert run.status in {0, 1, 2}, run.stderr
    assert len(run.stderr.splitlines()) == (run.status != 0), run.stderr
    assert "Traceback" not in run.stderr
    assert b"the server failed" not in client.heard.stdout
    return run


@pytest.mark.parametrize("name", SENSELESS)
def test_what_makes_no_sense_ends_a_reading_server(
    shared: tuple[ServedWorld, Picture], name: str
) -> None:
    world, before = shared
    with world.server(Mode.READ, memory=MEMORY) as client:
        client.write(SENSELESS[name])
        ended(client)
    assert_unchanged(before, world.fs)


@pytest.mark.parametrize("name", HEAVY)
def test_what_is_too_much_is_borne(shared: tuple[ServedWorld, Picture], name: str) -> None:
    world, before = shared
    with world.server(Mode.READ, memory=MEMORY) as client:
        assert client.write(HEAVY[name]())
        assert client.write(raw_request(messages.FindTaken(paths=(b"one",))))
        while (said := client.next()) and b"indices\x91\x00" not in said.payload:
            pass
        assert said, "the last question was not answered"
        assert ended(client).status == 0
    assert_unchanged(before, world.fs)


def test_as_many_paths_are_looked_for_as_may_be_asked_for(
    shared: tuple[ServedWorld, Picture],
) -> None:
    world, _ = shared
    with world.server(Mode.READ, memory=MEMORY) as client:
        client.write(asking("taken", "paths", short_names(MAX_ASKED)))
        assert client.answer().reply(messages.Taken).indices == ()
        last = (b"free",) * (MAX_ASKED - 1) + (b"one",)
        taken = client.ask(messages.FindTaken(paths=last)).reply(messages.Taken)
        assert taken.indices == (MAX_ASKED - 1,)
        client.write(asking("taken", "paths", short_names(MAX_ASKED)))
        client.send(Kind.CANCEL)
        client.answer()
        client.ask(messages.AskSpace()).reply(Done)
        assert ended(client).status == 0


@pytest.mark.parametrize("name", GREETINGS)
def test_a_strange_greeting_ends_a_server(shared: tuple[ServedWorld, Picture], name: str) -> None:
    world, before = shared
    with RawClient(*server_arguments(Mode.APPEND, world.directory), memory=MEMORY) as client:
        client.write(GREETINGS[name])
        ended(client)
    assert_unchanged(before, world.fs)


@pytest.mark.parametrize("seed", range(8))
def test_a_conversation_cut_anywhere_ends_a_server(
    shared: tuple[ServedWorld, Picture], seed: int
) -> None:
    world, before = shared
    conversation = LIST + SPACE + sending(world) + LIST
    rng = Random(seed)
    with world.server(Mode.READ, memory=MEMORY) as client:
        client.write(conversation[: rng.randrange(len(conversation))])
        ended(client)
    assert_unchanged(before, world.fs)


@pytest.mark.parametrize("seed", range(8))
def test_a_conversation_with_wrong_bytes_harms_nothing(
    shared: tuple[ServedWorld, Picture], seed: int
) -> None:
    world, before = shared
    conversation = bytearray((LIST + SPACE + sending(world)) * 3)
    rng = Random(seed)
    for _ in range(5):
        conversation[rng.randrange(len(conversation))] = rng.randrange(256)
    with world.server(Mode.READ, memory=MEMORY) as client:
        client.write(bytes(conversation))
        ended(client)
    assert_unchanged(before, world.fs)


@pytest.mark.parametrize(
    "next_frame", [LIST, encode_frame(Kind.DATA, b"x"), encode_frame(Kind.END)], ids="LDE"
)
def test_nothing_but_a_cancel_may_come_while_a_stream_is_sent(
    shared: tuple[ServedWorld, Picture], next_frame: bytes
) -> None:
    world, before = shared
    with world.server(Mode.READ) as client:
        client.write(sending(world) + next_frame)
        run = ended(client)
    assert run.status == 1
    assert "before the answer was complete" in run.stderr
    assert_unchanged(before, world.fs)


def test_a_stream_can_be_cancelled(shared: tuple[ServedWorld, Picture]) -> None:
    world, _ = shared
    with world.server(Mode.READ) as client:
        client.write(sending(world) + encode_frame(Kind.CANCEL) * 3)
        assert client.answer().end.kind in {Kind.ERROR, Kind.END}
        client.ask(messages.AskSpace()).reply(Done)
        assert ended(client).status == 0


def test_a_client_that_takes_nothing_is_given_up(shared: tuple[ServedWorld, Picture]) -> None:
    world, before = shared
    hello = ClientHello(release="x", oldest=1, newest=1, stall_seconds=1.0)
    with RawClient(*server_arguments(Mode.READ, world.directory)) as client:
        client.greet(encode(hello))
        client.write(sending(world))
        client.wait_until_gone()
    assert_unchanged(before, world.fs)


def test_a_client_that_says_nothing_is_given_up(shared: tuple[ServedWorld, Picture]) -> None:
    world, _ = shared
    hello = ClientHello(release="x", oldest=1, newest=1, stall_seconds=1.0)
    with RawClient(*server_arguments(Mode.APPEND, world.directory)) as client:
        client.greet(encode(hello))
        client.ask(receive(NEW, "new")).reply(Ready)
        client.wait_until_gone()
        assert "the client has gone" in ended(client).stderr


def sending(world: ServedWorld) -> bytes:
    """Return a request for a stream of 256 KB."""
    return raw_request(messages.Send(diff=DiffAsked(to=world.two, parent=None), options=OPTIONS))


def long_stream() -> bytes:
    """Return a stream of some MB."""
    name = f"file of {NEW}".encode()
    data = Random(1).randbytes(40_000)
    return made_stream(
        NEW, None, *(write(name, data, offset=n * len(data)) for n in range(60)), utimes(name)
    )


@pytest.mark.parametrize(
    ("name", "share"), list(zip(SENSELESS, cycle([0.0, 0.5, 0.99]), strict=False))
)
def test_what_makes_no_sense_within_a_stream_leaves_a_partial_at_most(
    shared_by_writers: tuple[ServedWorld, Picture], name: str, share: float
) -> None:
    world, before = shared_by_writers
    stream = long_stream()
    with world.server(Mode.APPEND, memory=MEMORY) as client:
        client.ask(receive(NEW, "deep/new")).reply(Ready)
        client.send_data(stream[: int(share * len(stream))])
        client.write(SENSELESS[name])
        ended(client)
    assert_untouched(before, world.fs, besides=LANDING)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_server_killed_within_a_stream_leaves_a_partial_at_most(
    shared_by_writers: tuple[ServedWorld, Picture], share: float
) -> None:
    world, before = shared_by_writers
    stream = long_stream()
    with world.server(Mode.APPEND) as client:
        client.ask(receive(NEW, "new")).reply(Ready)
        client.send_data(stream[: int(share * len(stream))])
        client.kill()
    assert_untouched(before, world.fs, besides=LANDING)


def test_tiny_pieces_of_a_stream_are_borne(
    shared_by_writers: tuple[ServedWorld, Picture],
) -> None:
    world, before = shared_by_writers
    stream = made_stream(NEW)
    with world.server(Mode.APPEND, memory=MEMORY) as client:
        client.ask(receive(NEW, "new")).reply(Ready)
        tiny = repeat(b"", MANY)
        client.send_frames((Kind.DATA, piece) for piece in tiny)
        client.send_frames((Kind.DATA, stream[n : n + 1]) for n in range(len(stream)))
        client.send(Kind.CANCEL)
        assert client.answer().failure.message == b"cancelled"
        assert ended(client).status == 0
    assert_untouched(before, world.fs)


def test_nothing_is_waited_for_when_the_client_has_gone(
    shared_by_writers: tuple[ServedWorld, Picture],
) -> None:
    world, _ = shared_by_writers
    uuid = uuid4()
    landing = world.directory / f".buttersink-{uuid}.part"
    with world.server(Mode.APPEND) as client:
        client.ask(receive(uuid, "new")).reply(Ready)
        client.send_data(made_stream(uuid)[:-40])
        held = os.open(landing, os.O_RDONLY)  # what is open is not freed
        try:
            client.hang_up()
            client.wait_until_gone(SOON_SECONDS)
        finally:
            os.close(held)
    assert not landing.exists()
