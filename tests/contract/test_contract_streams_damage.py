"""What every store of streams promises of objects that are not what was stored.

See docs/store-contract.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import CorruptStreamError, MissingError
from buttersink.storing import Storing
from contract.carrying import carry, read_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from buttersink.model import Diff
    from contract.stream_worlds import StreamEnd
    from contract.worlds import Offer

RAW = Storing(level=None)
PACKED = Storing()

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "no start": lambda data: data[1:],
    "one byte less": lambda data: data[:-1],
    "half": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "twice the start": lambda data: data[:100] + data,
}


@dataclass(frozen=True, slots=True)
class Stored:
    """A stream that was stored, and can be meddled with."""

    end: StreamEnd
    diff: Diff
    stream: bytes
    key: str

    @classmethod
    def of(cls, source: Offer, end: StreamEnd, storing: Storing) -> Stored:
        diff = source.diff("1")
        carry(source.store, end.open(storing), diff, "1")
        suffix = "" if storing.level is None else ".zst"
        return cls(end, diff, read_stream(source.store, diff), f"1/{diff.to}_None{suffix}")

    @property
    def data(self) -> bytes:
        return self.end.data(self.key)

    def read(self) -> bytes:
        return read_stream(self.end.open(), self.diff)

    def assert_refused(self) -> None:
        with pytest.raises(CorruptStreamError) as raised:
            self.read()
        assert f"{self.end.shelf.name}{self.end.prefix}{self.key}: " in raised.value.message
        assert raised.value.hint


@pytest.fixture(params=[RAW, PACKED], ids=["raw", "packed"])
def stored(request: pytest.FixtureRequest, source: Offer, end: StreamEnd) -> Stored:
    """Store a stream."""
    return Stored.of(source, end, request.param)


# The object


@pytest.mark.parametrize("place", [0.0, 0.0001, 0.001, 0.01, 0.2, 0.5, 0.9, 0.99, -30, -9, -1])
@pytest.mark.parametrize("receipt", [True, False], ids=["with receipt", "without"])
def test_an_altered_byte_never_makes_another_stream(
    stored: Stored, place: float, *, receipt: bool
) -> None:
    data = bytearray(stored.data)
    index = int(len(data) * place) if place >= 0 else int(place)
    data[index] ^= 0x10
    stored.end.put(stored.key, bytes(data))
    if not receipt:
        stored.end.shelf.remove(f"{stored.end.prefix}{stored.key}.json")
    try:
        found = stored.read()
    except CorruptStreamError:
        stored.assert_refused()
    else:  # nothing of the table of frames is needed
        assert found == stored.stream
        assert place < 0
        assert stored.key.endswith(".zst")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_mutilated_object_is_refused_by_its_name(stored: Stored, damage: str) -> None:
    data = DAMAGES[damage](stored.data)
    stored.end.put(stored.key, data)
    if stored.key.endswith(".zst") and damage == "one byte less":
        assert stored.read() == stored.stream  # it only was of the table of frames
    else:
        stored.assert_refused()


def test_the_stream_of_another_snapshot_is_refused(stored: Stored, source: Offer) -> None:
    other = source.diff("2")
    storing = PACKED if stored.key.endswith(".zst") else RAW
    carry(source.store, stored.end.open(storing), other, "2")
    there = stored.key.replace("1/", "2/", 1).replace(str(stored.diff.to), str(other.to))
    stored.end.put(stored.key, stored.end.data(there))
    stored.assert_refused()


def test_an_object_that_was_replaced_since_the_inventory_is_missing(stored: Stored) -> None:
    sink = stored.end.open()
    sink.inventory()
    stored.end.put(stored.key, stored.data + b"more")
    with pytest.raises((MissingError, CorruptStreamError)):
        read_stream(sink, stored.diff)


# The receipt


@pytest.mark.parametrize(
    "receipt", [b"", b"garbage", b"{}", b"[" * 100_000, b"\xff", b'{"format": 2}']
)
def test_garbage_for_a_receipt_does_no_harm(stored: Stored, receipt: bytes) -> None:
    stored.end.put(f"{stored.key}.json", receipt)
    assert stored.read() == stored.stream
    assert 0 < stored.end.open().stored_fraction() <= 1


def test_a_missing_receipt_does_no_harm(stored: Stored) -> None:
    stored.end.shelf.remove(f"{stored.end.prefix}{stored.key}.json")
    assert stored.read() == stored.stream


def test_a_receipt_that_went_since_the_inventory_does_no_harm(stored: Stored) -> None:
    sink = stored.end.open()
    sink.inventory()
    stored.end.shelf.remove(f"{stored.end.prefix}{stored.key}.json")
    assert read_stream(sink, stored.diff) == stored.stream


def test_the_receipt_of_another_object_does_no_harm(
    stored: Stored, source: Offer, caplog: pytest.LogCaptureFixture
) -> None:
    other = source.diff("2")
    carry(source.store, stored.end.open(), other, "2")
    stored.end.put(f"{stored.key}.json", stored.end.data(f"2/{other.to}_None.zst.json"))
    assert stored.read() == stored.stream
    assert "it is that of another object" in caplog.text


@pytest.mark.parametrize("field", ["sha256", "bytes"])
def test_what_is_not_the_stream_of_its_receipt_is_refused(
    source: Offer, end: StreamEnd, field: str
) -> None:
    stored = Stored.of(source, end, PACKED)
    receipt = json.loads(end.data(f"{stored.key}.json"))
    receipt["stream"][field] = "0" * 64 if field == "sha256" else len(stored.stream) + 1
    end.put(f"{stored.key}.json", json.dumps(receipt).encode())
    stored.assert_refused()
