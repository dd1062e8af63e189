"""Snapshots whose streams leave much to be done later, so that it has to survive an interruption.

The kernel makes everything under a name for the time being, such as o257-7-0, and renames it;
moves what is in the way aside; lets files share extents; and tells of some attributes long before
they can be set.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from support.kernel_calls import clone, clone_range, create_subvolume, exchange, snapshot_read_only
from support.receiver_flags import PINS, Flags, get_flags, set_flags
from support.tree import describe, differences

if TYPE_CHECKING:
    from pathlib import Path

    from support.loopfs import LoopFs
    from support.tree import Entry

_MIB: Final = 1 << 20
_BLOCK: Final = 128 << 10
_NO_ID: Final = (1 << 32) - 1
_DEFAULT_ACL: Final = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, permissions, identity)
    for tag, permissions, identity in (
        (1, 7, _NO_ID),
        (2, 5, 1000),
        (4, 5, _NO_ID),
        (16, 7, _NO_ID),
        (32, 0, _NO_ID),
    )
)
"""user::rwx, user:1000:r-x, group::r-x, mask::rwx, other::---; see linux/posix_acl_xattr.h."""

NAMES: Final = ("1", "2", "3")
"""Of the snapshots; each builds on the one before it."""

_PINNED: Final = {
    "pinned": Flags.IMMUTABLE,
    "pinned/file": Flags.IMMUTABLE,
    "also large": Flags.IMMUTABLE | Flags.NODUMP,
    "appended": Flags.APPEND,
}
"""Flags of the second and third snapshot that the first has not: only of such streams tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """How much there is.

    Attributes:
        large: Bytes of the large files of each snapshot that no other has.
        small: Number of small files.
    """

    large: int = 12 * _MIB
    small: int = 600


def demanding_snapshots(fs: LoopFs, amount: Amount, *, compressible: bool = False) -> Path:
    """Make three snapshots, each of which builds on the one before it.

    Args:
        fs: A file system without `live` and `snaps`.
        amount: How much there is.
        compressible: Whether it pays to compress what is in the files.

    Returns:
        The directory that they are in.
    """
    maker = _Maker(fs, amount, compressible=compressible)
    for name, make in zip(NAMES, (maker.first, maker.second, maker.third), strict=True):
        make()
        snapshot_read_only(maker.live, maker.snaps / name)
        maker.unpin()
    return maker.snaps


class _Maker:
    def __init__(self, fs: LoopFs, amount: Amount, *, compressible: bool) -> None:
        self.live = fs.path / "live"
        self.snaps = fs.path / "snaps"
        self._amount = amount
        self._rng = Random(f"{amount} {compressible}")
        self._compressible = compressible
        create_subvolume(self.live)
        self.snaps.mkdir()

    def first(self) -> None:
        live = self.live
        (live / "pinned").mkdir()
        (live / "pinned" / "file").write_bytes(self._data(5000))
        (live / "appended").write_bytes(b"a line\n")
        for name in ("large", "also large"):
            (live / name).write_bytes(self._data(self._amount.large // 2))
        for directory in ("one", "two", "three", "three/deeper"):
            (live / directory).mkdir()
        for number in range(self._amount.small):
            directory = ("one", "two", "three", "three/deeper")[number % 4]
            path = live / directory / f"{number}"
            path.write_bytes(self._data(self._rng.randrange(6000)))
            if number % 7 == 0:
                os.link(path, live / "two" / f"link {number}")
            if number % 11 == 0:
                os.setxattr(path, "user.number", b"%d" % number)
                path.chmod(0o4755)
        self._reflink("large", "reflinked")
        os.symlink("large", live / "symlink")
        os.mkfifo(live / "fifo")
        # What is new in the top directory inherits this, but must not do so where it is received.
        os.setxattr(live, "system.posix_acl_default", _DEFAULT_ACL)
        os.setxattr(live, "btrfs.compression", b"zstd")
        os.setxattr(live, "user.top", b"first")

    def second(self) -> None:
        live = self.live
        exchange(os.fsencode(live / "one"), os.fsencode(live / "two"))
        (live / "three" / "deeper").rename(live / "risen")
        (live / "three").rename(live / "risen" / "sunk")
        for number in range(0, self._amount.small, 5):
            for found in live.rglob(f"{number}"):
                found.unlink()
                found.mkdir()
                (found / "in the place of a file").write_bytes(self._data(3000))
        for number in range(self._amount.small):
            (live / "one" / f"new {number}").write_bytes(self._data(self._rng.randrange(6000)))
        (live / "large").rename(live / "risen" / "renamed")
        (live / "large").write_bytes(self._data(self._amount.large))
        self._reflink("risen/renamed", "of the first")
        self._interleave("large", "also large", "woven")
        with (live / "reflinked").open("r+b") as file:
            file.seek(_MIB)
            file.write(self._data(_MIB))
            file.truncate(self._amount.large // 2 - 12345)
        os.setxattr(live, "btrfs.compression", b"lzo")
        os.setxattr(live, "user.top", b"second")
        os.chmod(live, 0o750)
        self._pin()

    def third(self) -> None:
        live = self.live
        # What is immutable in the copy of the parent has to be changed, and be immutable again.
        with (live / "also large").open("r+b") as file:
            file.seek(self._amount.large // 8)
            file.write(self._data(self._amount.large // 4))
        (live / "pinned" / "file").write_bytes(self._data(300_000))
        (live / "pinned" / "another").write_bytes(self._data(5000))
        with (live / "appended").open("ab") as file:
            file.write(b"another line\n")
        (live / "new").write_bytes(self._data(self._amount.large // 4))
        self._pin()

    def unpin(self) -> None:
        """Let everything be changed again."""
        for name in _PINNED:
            path = os.fsencode(self.live / name)
            set_flags(path, get_flags(path) & ~PINS)

    def _pin(self) -> None:
        for name, flags in reversed(_PINNED.items()):
            path = os.fsencode(self.live / name)
            set_flags(path, get_flags(path) | flags)

    def _reflink(self, name: str, to: str) -> None:
        with (self.live / name).open("rb") as source, (self.live / to).open("xb") as file:
            clone(source.fileno(), file.fileno())

    def _interleave(self, one: str, two: str, name: str) -> None:
        """Make a file of blocks of two others in turn: many clones in one file."""
        with (
            (self.live / one).open("rb") as first,
            (self.live / two).open("rb") as second,
            (self.live / name).open("xb") as file,
        ):
            for offset in range(0, self._amount.large // 2, _BLOCK):
                source = (first, second)[offset // _BLOCK % 2]
                clone_range(
                    source.fileno(),
                    file.fileno(),
                    source_offset=offset,
                    length=_BLOCK,
                    offset=offset,
                )

    def _data(self, count: int) -> bytes:
        if not self._compressible:
            return self._rng.randbytes(count)
        words = [self._rng.randbytes(40).hex().encode() for _ in range(64)]
        return b"".join(self._rng.choices(words, k=count // 80 + 1))[:count]


class Whole:
    """All that is to be found again of the snapshots."""

    def __init__(self, snaps: Path) -> None:
        self._trees: dict[str, dict[bytes, Entry]] = {n: describe(snaps / n) for n in NAMES}

    def check(self, name: str, path: Path, *, flags: bool = False) -> None:
        """Fail unless what is at `path` is the snapshot `name`.

        With `flags` also those of files, which streams of version 1 don't have.
        """
        lines = differences(self._trees[name], describe(path))
        assert not lines, "\n".join([f"{path} is not {name}:", *lines[:20]])
        if flags and name != NAMES[0]:
            found = {pinned: get_flags(os.fsencode(path / pinned)) for pinned in _PINNED}
            assert {pinned: each & PINS for pinned, each in found.items()} == {
                pinned: each & PINS for pinned, each in _PINNED.items()
            }
