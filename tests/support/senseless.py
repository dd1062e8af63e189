"""Bytes that no client sends who means well, but for their number."""

from __future__ import annotations

import struct
from random import Random
from typing import TYPE_CHECKING, Final

from buttersink.wire import messages
from buttersink.wire.frames import MAX_DATA, MAX_MESSAGE, PREAMBLE, Kind, encode_frame
from buttersink.wire.messages import ClientHello, Done, encode
from buttersink.wire.values import MAX_ASKED
from support.raw_client import HELLO, raw_request

if TYPE_CHECKING:
    from collections.abc import Callable

MANY: Final = 100_000
HEADER: Final = struct.Struct("<BI")
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
