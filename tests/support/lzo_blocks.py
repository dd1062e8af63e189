"""LZO1X blocks put together from instructions, and extents of btrfs from blocks.

No compressor: what each instruction stands for is worked out byte by byte, so that a
decompressor can be judged by it. The format is that of the kernel's Documentation/staging/lzo.rst.
"""

from __future__ import annotations

from dataclasses import dataclass, field

END = b"\x11\0\0"
_MANY = 4


@dataclass(slots=True)
class Block:
    """A block that grows by instructions, and what it unpacks to."""

    packed: bytearray = field(default_factory=bytearray)
    unpacked: bytearray = field(default_factory=bytearray)
    literals: int = 0

    def begin(self, literals: bytes) -> None:
        """Begin with 1 to 238 literals."""
        self.packed.append(17 + len(literals))
        self._literal(literals)

    def long_literals(self, literals: bytes) -> None:
        """Add 4 or more; only where none precede."""
        assert self.literals == 0
        self.packed += _length(0, 15, len(literals) - 3)
        self._literal(literals)

    def copy_two(self, distance: int, literals: bytes) -> None:
        """Copy 2 bytes from within 1 KiB; only where 1 to 3 literals precede."""
        assert 0 < self.literals < _MANY
        self._low(distance - 1, literals)
        self._copied(distance, 2, literals)

    def copy_three(self, distance: int, literals: bytes) -> None:
        """Copy 3 bytes from beyond 2 KiB, within 3; only where 4 or more literals precede."""
        assert self.literals == _MANY
        self._low(distance - 2049, literals)
        self._copied(distance, 3, literals)

    def copy_near(self, distance: int, length: int, literals: bytes) -> None:
        """Copy 3 to 8 bytes from within 2 KiB."""
        high, low = divmod(distance - 1, 8)
        self.packed += bytes((length - 1 << 5 | low << 2 | len(literals), high))
        self._copied(distance, length, literals)

    def copy_middle(self, distance: int, length: int, literals: bytes) -> None:
        """Copy 3 or more bytes from within 16 KiB."""
        self.packed += _length(32, 31, length - 2)
        self.packed += (distance - 1 << 2 | len(literals)).to_bytes(2, "little")
        self._copied(distance, length, literals)

    def copy_far(self, distance: int, length: int, literals: bytes) -> None:
        """Copy 3 or more bytes from beyond 16 KiB, within 48."""
        high, low = divmod(distance - 16384, 16384)
        self.packed += _length(16 | high << 3, 7, length - 2)
        self.packed += (low << 2 | len(literals)).to_bytes(2, "little")
        self._copied(distance, length, literals)

    def ended(self) -> bytes:
        """Return the block with its end."""
        return bytes(self.packed) + END

    def _low(self, distance: int, literals: bytes) -> None:
        high, low = divmod(distance, 4)
        self.packed += bytes((low << 2 | len(literals), high))

    def _copied(self, distance: int, length: int, literals: bytes) -> None:
        for _ in range(length):
            self.unpacked.append(self.unpacked[-distance])
        self._literal(literals)

    def _literal(self, literals: bytes) -> None:
        self.packed += literals
        self.unpacked += literals
        self.literals = min(len(literals), _MANY)


def _length(code: int, most: int, length: int) -> bytes:
    """Return the first byte of an instruction with a length, and what there is more of that."""
    if length <= most:
        return bytes((code | length,))
    zeros, last = divmod(length - most - 1, 255)
    return bytes((code,)) + bytes(zeros) + bytes((last + 1,))


def stored(data: bytes) -> bytes:
    """Return a block of nothing but literals."""
    block = Block()
    if len(data) < _MANY:
        if data:
            block.begin(data)
    else:
        block.long_literals(data)
    return block.ended()


def extent(blocks: list[bytes], sector: int) -> bytes:
    """Return the extent of a file of which each block has a sector, without padding at its end."""
    data = bytearray(4)
    for block in blocks:
        left = -len(data) % sector
        if left < 4:
            data += bytes(left)
        data += len(block).to_bytes(4, "little") + block
    data[:4] = len(data).to_bytes(4, "little")
    return bytes(data)
