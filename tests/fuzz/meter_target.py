"""Metadata-only streams of the kernel: measured, and searched for what they would lose.

They come from our own kernel; but one that is not as they were should be an error, not a crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from buttersink.errors import CorruptStreamError
from buttersink.stream.losses import LossFinder
from buttersink.stream.size import StubMeter
from fuzz.parts import FuzzInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buttersink.stream.losses import Tail

_VERSIONS: Final = 3
_BLOCK_BYTES: Final = 4096


def take(raw: bytes) -> None:
    """Take a stream; its version is in the input's options, less 1."""
    given = FuzzInput.decode(raw)
    version = given.options % _VERSIONS + 1
    at_once = [memoryview(given.data)]
    measured = _measure(given.parts(), StubMeter(version))
    assert measured == _measure(at_once, StubMeter(version))
    searched = _search(given.parts(), version)
    assert searched == _search(at_once, version)
    assert searched.measured == measured or searched.measured.refusal


@dataclass(frozen=True, slots=True)
class _Measured:
    """What a meter told; of a stream that was refused, only why."""

    nbytes: int = 0
    complete: bool = False
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class _Searched:
    """What is in question in a stream that was not refused."""

    measured: _Measured
    tails: tuple[Tail, ...] = ()
    chowned: tuple[bytes, ...] = ()


def _measure(parts: Iterable[memoryview], meter: StubMeter) -> _Measured:
    nbytes = 0
    try:
        for part in parts:
            meter.feed(part)
            assert meter.nbytes >= nbytes
            nbytes = meter.nbytes
    except CorruptStreamError as error:
        return _Measured(refusal=str(error))
    return _Measured(nbytes, meter.complete)


def _search(parts: Iterable[memoryview], version: int) -> _Searched:
    finder = LossFinder(version, _size_in_parent, block_bytes=_BLOCK_BYTES)
    measured = _measure(parts, StubMeter(version, observe=finder.observe))
    if measured.refusal:
        return _Searched(measured)
    tails = tuple(finder.tails())
    for tail in tails:
        assert 0 < tail.start < tail.end
        assert tail.end - tail.start < _BLOCK_BYTES
    return _Searched(measured, tails, tuple(finder.chowned()))


def _size_in_parent(path: bytes) -> int | None:
    """Return the size of a file in a world where names say it."""
    return None if path.startswith(b"d") else len(path) * 1000 + 1
