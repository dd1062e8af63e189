"""Inputs of fuzz targets: two bytes that say how the rest is to be taken, and the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class FuzzInput(NamedTuple):
    """What a fuzz target makes of its bytes.

    Attributes:
        options: A number that the target reads as it likes, 0 to 255.
        part_bytes: The size of the parts in which the data comes, 1 to 256.
        data: The rest.
    """

    options: int
    part_bytes: int
    data: bytes

    @classmethod
    def decode(cls, raw: bytes) -> FuzzInput:
        """Return what any bytes mean."""
        options, part_bytes = raw[:2].ljust(2, b"\0")
        return cls(options, part_bytes + 1, raw[2:])

    def encode(self) -> bytes:
        """Return bytes that mean this."""
        return bytes((self.options, self.part_bytes - 1)) + self.data

    def parts(self) -> Iterator[memoryview]:
        """Yield the data as it comes; each part is overwritten when the next is taken."""
        for start in range(0, len(self.data), self.part_bytes):
            part = bytearray(self.data[start : start + self.part_bytes])
            yield memoryview(part)
            part[:] = b"\xee" * len(part)
