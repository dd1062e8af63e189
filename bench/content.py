"""What the file systems hold: the same in each run, made from a seed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from pathlib import Path

MIB = 1 << 20
_STOCK = 32 * MIB
_TEXT_STOCK = 4 * MIB
_FILES_PER_DIRECTORY = 200


class Stock:
    """A stock of bytes to fill files from: slices of it at random, so that making them is quick.

    btrfs does not look for equal data, and zstd not further back than 128 KiB, so repeating
    the stock makes nothing smaller.
    """

    def __init__(self, data: bytes, rng: random.Random) -> None:
        self._data = memoryview(data)
        self._rng = rng

    @classmethod
    def noise(cls, seed: int) -> Stock:
        """Return data that can't be compressed."""
        rng = random.Random(seed)
        return cls(rng.randbytes(_STOCK), rng)

    @classmethod
    def text(cls, seed: int) -> Stock:
        """Return words and numbers, like a log; zstd makes about a third of it."""
        rng = random.Random(seed)
        letters = "etaoinshrdlucmfw"
        vocabulary = ["".join(rng.choices(letters, k=rng.randint(2, 10))) for _ in range(4000)]
        lines: list[str] = []
        size = 0
        while size < _TEXT_STOCK:
            count = rng.randint(4, 14)
            line = f"{rng.randrange(10**9)} {' '.join(rng.choices(vocabulary, k=count))}\n"
            lines.append(line)
            size += len(line)
        return cls("".join(lines).encode(), rng)

    def write(self, path: str | os.PathLike[str], nbytes: int) -> None:
        """Make or replace a file of `nbytes` bytes."""
        with open(path, "wb") as file:
            left = nbytes
            while left:
                start = self._rng.randrange(len(self._data) // 2)
                left -= file.write(self._data[start : start + min(left, MIB)])

    def overwrite(self, path: str | os.PathLike[str], *, offset: int, nbytes: int) -> None:
        """Replace a part of a file."""
        start = self._rng.randrange(len(self._data) // 2)
        with open(path, "r+b") as file:
            file.seek(offset)
            file.write(self._data[start : start + nbytes])


def fill(top: Path, stock: Stock, *, large: int, files: int, small: int) -> None:
    """Fill a directory with one large file and many small ones.

    Args:
        top: An existing directory.
        stock: Where the data comes from.
        large: Size of the large file in bytes.
        files: Number of small files.
        small: Their mean size in bytes; they have from nothing to about seven times that.
    """
    rng = random.Random(files)
    stock.write(top / "large", large)
    for number in range(files):
        directory = top / f"{number // _FILES_PER_DIRECTORY:03}"
        if number % _FILES_PER_DIRECTORY == 0:
            directory.mkdir()
        stock.write(directory / f"{number:05}.dat", min(int(rng.expovariate(1 / small)), 7 * small))


def change(top: Path, stock: Stock, *, rng: random.Random, nbytes: int, small: int) -> None:
    """Change about `nbytes` of a tree that `fill` made.

    A half of it lies in pieces of the large file, a quarter in files that are written anew, a
    quarter in new files; as many files as that are renamed or deleted.
    """
    large = top / "large"
    room = large.stat().st_size
    piece = max(4096, min(MIB, nbytes // 8))
    for _ in range(nbytes // 2 // piece):
        offset = rng.randrange(max(1, (room - piece) // 4096)) * 4096
        stock.overwrite(large, offset=offset, nbytes=piece)
    files = sorted(top.glob("*/*.dat"))
    count = max(1, nbytes // 4 // small)
    chosen = rng.sample(files, min(len(files), 2 * count))
    for path in chosen[:count]:
        stock.write(path, small)
    for number, path in enumerate(chosen[count:]):
        if number % 2:
            path.unlink()
        else:
            path.rename(path.with_suffix(".old"))
    mark = rng.randrange(10**9)
    new = top / f"new-{mark}"
    new.mkdir()
    for number in range(count):
        stock.write(new / f"{number:05}.dat", small)
