"""Names, sizes and contents that have broken programs before."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

MIB = 1 << 20

NAMES = (
    b"-rf",
    b"--",
    b" ",
    b" lead and trail ",
    b"a\nb",
    b"tab\there",
    b"'\"`$(x)\\",
    b"*?[a]",
    b"...",
    b".hidden",
    b"\xff\xfe\x80",
    b"caf\xe9",
    b"\x01\x7f\x1b[31m",
    "Ångström".encode(),
    "A\u030angstro\u0308m".encode(),
    "雪 🧈".encode(),
    "\u202egnp.exe".encode(),
    b"%2F%00",
    b"o257-7-0",  # what the kernel's send calls an inode that has no place yet
    b"o260-12-1",
    b"x" * 255,
    "é".encode() * 127,
    b"\xfe" * 255,
)
"""Any of these can be a file's name."""
_LETTERS = b"abcdefghij"

_SIZES = (0, 1, 13, 1000, 2047, 2048, 2049, 4095, 4096, 4097, 12_288, 49_152, 49_153)
_BIG_SIZES = (130 << 10, (128 << 10) + 1, 333_333, MIB)


def awkward_name(rng: Random) -> bytes:
    """Return a file name: often a letter, so that names come back, sometimes one to stumble on."""
    kind = rng.random()
    if kind < 0.3:
        return bytes([rng.choice(_LETTERS)])
    if kind < 0.8:
        return b"%c%d" % (rng.choice(_LETTERS), rng.randrange(10_000))
    name = rng.choice(NAMES)
    if kind < 0.9:
        return name
    return (b"%d" % rng.randrange(10_000) + name)[:255]


def awkward_size(rng: Random) -> int:
    """Return a number of bytes: mostly near a limit of btrfs, rarely up to a MiB."""
    kind = rng.random()
    if kind < 0.03:
        return rng.choice(_BIG_SIZES)
    if kind < 0.7:
        return rng.choice(_SIZES)
    return rng.randrange(20_000)


class Data:
    """Contents of files: slices of chance, text that compresses well, and zeros."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._chance = rng.randbytes(2 * MIB)

    def draw(self, size: int) -> bytes:
        """Return `size` bytes, at most a MiB."""
        kind = self._rng.random()
        if kind < 0.55:
            start = self._rng.randrange(MIB)
            return self._chance[start : start + size]
        if kind < 0.9:
            line = b"%d buttered toast\n" % self._rng.randrange(1 << 30)
            return (line * (size // len(line) + 1))[:size]
        return bytes(size)
