"""The inputs that fuzzing of the applier starts from."""

from __future__ import annotations

import stat
import zlib
from random import Random
from typing import TYPE_CHECKING, Final

from buttersink.stream.format import Attribute, Command, encode_command, encode_stream_header
from fuzz import applier_target
from fuzz.parts import FuzzInput
from support.command_samples import examples
from support.stream_samples import (
    PARENT,
    REAL_FULL,
    REAL_INCREMENT,
    TO,
    A,
    C,
    clone,
    end,
    full,
    head,
    sample,
    stream,
    u64,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_WHOLE: Final = 256
_VERSION: Final = 3
_FULL: Final = 3 << applier_target.VERSION_SHIFT
_INCREMENTAL: Final = _FULL | applier_target.INCREMENTAL
_RESUMED: Final = applier_target.RESUMED
_COMPOSED: Final = 20
"""Streams composed of random bytes."""
_EXTENT: Final = bytes(range(256)) * 16


def applier_seeds() -> Iterator[tuple[str, FuzzInput]]:
    """Yield names and inputs."""
    for version in (1, 2, 3):
        yield f"sample-{version}", FuzzInput(_INCREMENTAL, _WHOLE, sample(version))
    yield "kernel-full", FuzzInput(_FULL, _WHOLE, REAL_FULL)
    yield "kernel-increment", FuzzInput(_INCREMENTAL | _RESUMED, 100, REAL_INCREMENT)
    for number, example in enumerate(examples(_VERSION)):
        name = f"example-{number:02}-{example.command.name.lower()}"
        made = _incremental(example.encoded(_VERSION))
        yield name, FuzzInput(_INCREMENTAL, 50, made)
    yield "tree", FuzzInput(_FULL, _WHOLE, full(*_tree(), version=_VERSION))
    yield "tree-resumed", FuzzInput(_FULL | _RESUMED, 200, full(*_tree(), version=_VERSION))
    late = ((A.XATTR_NAME, b"btrfs.compression"), (A.XATTR_DATA, b"zstd"))
    yield (
        "late",
        FuzzInput(_FULL | _RESUMED, 30, full(_at(C.SET_XATTR, b"", *late), version=_VERSION)),
    )
    yield "changes", FuzzInput(_INCREMENTAL | _RESUMED, 200, _incremental(*_changes()))
    for number, extent in enumerate(_extents()):
        yield f"extent-{number}", FuzzInput(_INCREMENTAL, _WHOLE, _incremental(extent))
    for name, commands in _hostile():
        yield f"hostile-{name}", FuzzInput(_INCREMENTAL, _WHOLE, _incremental(*commands))
    for seed in range(_COMPOSED):
        bits = _INCREMENTAL | applier_target.COMPOSED | applier_target.LENIENT
        if seed % 2:
            bits |= _RESUMED
        yield f"composed-{seed:02}", FuzzInput(bits, 20, Random(seed).randbytes(40))
    yield "truncated", FuzzInput(_FULL, 30, full(*_tree(), version=_VERSION)[:-30])
    headless = encode_stream_header(_VERSION) + _at(C.UNLINK, b"file") + end(_VERSION)
    yield "headless", FuzzInput(_INCREMENTAL, _WHOLE, headless)


def _incremental(*commands: bytes) -> bytes:
    return stream(head(parent=PARENT, version=_VERSION), *commands, version=_VERSION)


def _at(command: Command, path: bytes, *attributes: tuple[Attribute, bytes]) -> bytes:
    return encode_command(command, [(A.PATH, path), *attributes], _VERSION)


def _symlink(path: bytes, target: bytes) -> bytes:
    return _at(C.SYMLINK, path, (A.INO, u64(999)), (A.PATH_LINK, target))


def _tree() -> Iterator[bytes]:
    """Yield what makes some of everything."""
    yield _at(C.MKDIR, b"d", (A.INO, u64(257)))
    yield _at(C.MKFILE, b"o258", (A.INO, u64(258)))
    yield _at(C.RENAME, b"o258", (A.PATH_TO, b"d/f"))
    yield write(b"d/f", b"data", version=_VERSION)
    yield _at(C.TRUNCATE, b"d/f", (A.SIZE, u64(4096)))
    yield _at(C.LINK, b"g", (A.PATH_LINK, b"d/f"))
    yield _at(C.MKFILE, b"h", (A.INO, u64(260)))
    yield clone(TO, path=b"h", source_path=b"d/f", version=_VERSION)
    yield _at(C.CHMOD, b"g", (A.MODE, u64(0o4755)))
    yield _at(C.CHOWN, b"d/f", (A.UID, u64(1)), (A.GID, u64(2)))
    yield _at(C.SET_XATTR, b"g", (A.XATTR_NAME, b"user.x"), (A.XATTR_DATA, b"y"))
    yield _at(C.MKFIFO, b"p", (A.INO, u64(259)))
    yield _symlink(b"d/l", b"/")
    yield _at(C.CHMOD, b"", (A.MODE, u64(0o700)))


def _changes() -> Iterator[bytes]:
    """Yield what changes the copy of the parent, its directories above all."""
    yield write(b"dir/file", b"x", version=_VERSION)
    yield _at(C.RENAME, b"dir", (A.PATH_TO, b"moved"))
    yield write(b"moved/file", b"y", version=_VERSION)
    yield _at(C.RENAME, b"moved", (A.PATH_TO, b"empty"))
    yield _at(C.UNLINK, b"empty/up")
    yield clone(PARENT, path=b"empty/file", source_path=b"file", version=_VERSION)
    yield _at(C.UNLINK, b"old")
    yield _at(C.MKDIR, b"old", (A.INO, u64(300)))
    yield _at(C.RMDIR, b"old")


def _extents() -> Iterator[bytes]:
    """Yield compressed extents, which have to be unpacked here."""
    for compression, data in ((0, _EXTENT), (1, zlib.compress(_EXTENT)), (3, b"\0" * 12)):
        yield _at(
            C.ENCODED_WRITE,
            b"file",
            (A.FILE_OFFSET, u64(0)),
            (A.UNENCODED_FILE_LEN, u64(4096)),
            (A.UNENCODED_LEN, u64(4096)),
            (A.UNENCODED_OFFSET, u64(0)),
            (A.COMPRESSION, compression.to_bytes(4, "little")),
            (A.ENCRYPTION, bytes(4)),
            (A.DATA, data[:3000]),
        )


def _hostile() -> Iterator[tuple[str, list[bytes]]]:
    """Yield commands that reach outside, if anything can."""
    made = [_symlink(b"m", b"../outside"), _symlink(b"up", b".."), _symlink(b"c", b"../canary")]
    yield "through-made", [*made, write(b"m/file", b"x", version=_VERSION)]
    yield "through-up", [*made, _at(C.UNLINK, b"up/canary")]
    yield "onto-made", [*made, write(b"c", b"x", version=_VERSION)]
    yield "mode-of-made", [*made, _at(C.CHMOD, b"c", (A.MODE, u64(0)))]
    yield "through-old", [_at(C.RENAME, b"out/file", (A.PATH_TO, b"stolen"))]
    yield "onto-old", [_at(C.TRUNCATE, b"dir/up", (A.SIZE, u64(0)))]
    yield "link-to-old", [_at(C.LINK, b"x", (A.PATH_LINK, b"out/file"))]
    yield "clone-by-link", [clone(PARENT, path=b"file", source_path=b"out/file", version=_VERSION)]
    swapped = [
        write(b"dir/file", b"x", version=_VERSION),
        _at(C.RENAME, b"dir", (A.PATH_TO, b"aside")),
        _symlink(b"dir", b"../outside"),
        write(b"dir/file", b"x", version=_VERSION),
    ]
    yield "swapped", swapped
    node = ((A.INO, u64(9)), (A.RDEV, u64(0x700)), (A.MODE, u64(stat.S_IFBLK | 0o600)))
    yield "device", [_at(C.MKNOD, b"disk", *node), write(b"disk", b"x", version=_VERSION)]
    yield "fifo", [write(b"fifo", b"x", version=_VERSION)]
    most = u64((1 << 63) - 1)
    yield "huge", [_at(C.TRUNCATE, b"file", (A.SIZE, most))]
    room = (A.FALLOCATE_MODE, bytes(4)), (A.FILE_OFFSET, u64(0)), (A.SIZE, most)
    yield "much", [_at(C.FALLOCATE, b"file", *room)]
