"""Where in what two sides say to each other a link may be cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from buttersink.errors import ProtocolError
from buttersink.wire.frames import HEADER, HEADER_SIZE, PREAMBLE, Kind
from buttersink.wire.messages import Received, decode
from support.link_faults import Way
from support.ssh_ends import Tap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

    from support.far_arrivals import FarArrivals
    from support.ssh_ends import Traffic


def conversation(far: FarArrivals, tmp_path: Path) -> Traffic:
    """Return what is said in a run from the beginning."""
    (tmp_path / "tap").mkdir()
    tap = Tap(far.shell, tmp_path / "tap")
    far.by(tap.shell).converge()
    far.arrivals.reset()
    (traffic,) = tap.taken()
    return traffic


class Spot(NamedTuple):
    """A place in a conversation."""

    way: Way
    after: int


def frames(said: bytes) -> Iterator[tuple[int, Kind, bytes]]:
    """Yield where each frame starts, its kind and its payload."""
    start = len(PREAMBLE)
    while start < len(said):
        number, nbytes = HEADER.unpack_from(said, start)
        yield start, Kind(number), said[start + HEADER_SIZE : start + HEADER_SIZE + nbytes]
        start += HEADER_SIZE + nbytes


def spots(way: Way, said: bytes, rng: Random) -> dict[str, Spot]:
    """Return places in what one side says: in and behind frames of each kind, and anywhere."""
    found = {"in the preamble": len(PREAMBLE) // 2}
    for start, kind, payload in frames(said):
        found.setdefault(f"in the header of {kind.name}", start + 2)
        found.setdefault(f"in {kind.name}", start + HEADER_SIZE + (len(payload) + 1) // 2)
        found["in the last header"] = start + 2
        if kind is Kind.END:
            found["before the last END"] = start
            found["behind the last END"] = start + HEADER_SIZE
    found |= {f"anywhere ({n})": rng.randrange(len(said)) for n in range(2)}
    return {name: Spot(way, after) for name, after in found.items()}


def is_confirmation(kind: Kind, said: bytes) -> bool:
    """Tell whether a frame says that a snapshot is in place."""
    try:
        return kind is Kind.REPLY and decode(said, Received) is not None
    except ProtocolError:
        return False


def first_end(traffic: Traffic, way: Way) -> int:
    """Return from how many bytes on, that way, a run has surely opened its end."""
    if way is Way.THERE:
        return next(start for start, kind, _ in frames(traffic.there) if kind is Kind.REQUEST) + 1
    (start, _, hello), *_ = frames(traffic.back)
    return start + HEADER_SIZE + len(hello)
