"""The `.bs` objects of ButterSink 0.6.9: sizes of diffs that it had measured.

Text, one diff a line: uuid, uuid of the parent, and the bytes of the plain stream in decimal.
They only ever were a cache, and nothing writes them any more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from buttersink.model import Diff
from buttersink.stored.keys import parse_uuid

if TYPE_CHECKING:
    from collections.abc import Mapping

_SIZE: Final = re.compile(r"[0-9]{1,19}")
"""More digits than this no 64-bit file size has."""

_FIELDS: Final = 3


@dataclass(frozen=True, slots=True)
class KnownSizes:
    """What a `.bs` object says.

    Attributes:
        sizes: Bytes of plain streams.
        problem: Why it was not read to its end; empty if it was.
    """

    sizes: Mapping[Diff, int]
    problem: str = ""


def parse_sizes(data: bytes) -> KnownSizes:
    """Read a `.bs` object as 0.6.9 did.

    Fields are separated by any white space. A line whose size is no number is passed over. Any
    other malformed line ends the reading. Of several lines for a diff the last one counts.
    """
    sizes: dict[Diff, int] = {}
    lines = data.decode("ascii", "replace").removesuffix("\n").split("\n")
    for number, line in enumerate(lines if data else (), start=1):
        fields = line.split()
        if len(fields) != _FIELDS:
            return KnownSizes(sizes, f"line {number} has {len(fields)} fields instead of {_FIELDS}")
        if not _SIZE.fullmatch(fields[2]):
            continue
        to, parent = (parse_uuid(field) for field in fields[:2])
        if to is None or (parent is None and fields[1] != "None"):
            return KnownSizes(sizes, f"line {number} has no uuids")
        sizes[Diff(to, parent)] = int(fields[2])
    return KnownSizes(sizes)
