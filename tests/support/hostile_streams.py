"""Commands that would do harm at a path, of every kind, as a stream of version 3 has them."""

from __future__ import annotations

import re
import stat
import struct
from typing import TYPE_CHECKING, Final

from buttersink.stream.format import COMMAND_HEADER, encode_command
from support.stream_samples import A, C

if TYPE_CHECKING:
    from uuid import UUID

    from buttersink.stream.format import Attribute, Command

VERSION: Final = 3

CONTENT: Final = (
    *("write", "truncate", "fallocate", "encoded_write", "enable_verity"),
    *("clone to", "clone from"),
)
"""What needs a file, and to open it."""

ATTRIBUTES: Final = ("chmod", "chown", "utimes", "set_xattr", "remove_xattr", "fileattr")
"""What can be done to anything that there is."""

NAMES: Final = (
    *("mkfile", "mkdir", "mknod", "mkfifo", "mksock", "symlink"),
    *("rename from", "rename to", "link to", "link from", "unlink", "rmdir"),
)
"""What makes, moves or removes a name."""

EVERY: Final = (*CONTENT, *ATTRIBUTES, *NAMES)


def u64(number: int) -> bytes:
    return struct.pack("<Q", number)


def u32(number: int) -> bytes:
    return struct.pack("<I", number)


def command(number: Command, path: bytes, *attributes: tuple[Attribute, bytes]) -> bytes:
    """Return a command on a path."""
    return encode_command(number, [(A.PATH, path), *attributes], VERSION)


def harm(path: bytes, own: UUID, *, inside: bytes = b"file", free: bytes = b"stolen") -> Harm:
    """Return commands on a path, by the names of `EVERY`.

    Args:
        path: Where they would do harm.
        own: The identity of the snapshot that the stream makes.
        inside: A file that is in it.
        free: A name that is free in it.
    """
    inode = (A.INO, u64(999))
    return {
        "write": write(path, b"gotcha"),
        "truncate": command(C.TRUNCATE, path, (A.SIZE, u64(0))),
        "fallocate": fallocate(path, 0, offset=0, size=1 << 16),
        "encoded_write": encoded_write(path),
        "enable_verity": command(
            C.ENABLE_VERITY,
            path,
            (A.VERITY_ALGORITHM, b"\1"),
            (A.VERITY_BLOCK_SIZE, u32(4096)),
            (A.VERITY_SALT_DATA, b""),
            (A.VERITY_SIG_DATA, b""),
        ),
        "clone to": clone(path, own, inside),
        "clone from": clone(inside, own, path),
        "chmod": command(C.CHMOD, path, (A.MODE, u64(0o4777))),
        "chown": command(C.CHOWN, path, (A.UID, u64(12)), (A.GID, u64(34))),
        "utimes": command(
            C.UTIMES, path, *((each, bytes(12)) for each in (A.ATIME, A.MTIME, A.CTIME))
        ),
        "set_xattr": command(C.SET_XATTR, path, (A.XATTR_NAME, b"trusted.x"), (A.XATTR_DATA, b"x")),
        "remove_xattr": command(C.REMOVE_XATTR, path, (A.XATTR_NAME, b"trusted.was")),
        "fileattr": command(C.FILEATTR, path, (A.FILEATTR, u64(1 << 8))),
        "mkfile": command(C.MKFILE, path, inode),
        "mkdir": command(C.MKDIR, path, inode),
        "mknod": mknod(path, 0x103, stat.S_IFCHR | 0o666),
        "mkfifo": command(C.MKFIFO, path, inode),
        "mksock": command(C.MKSOCK, path, inode),
        "symlink": symlink(path, b"/"),
        "rename from": command(C.RENAME, path, (A.PATH_TO, free)),
        "rename to": command(C.RENAME, inside, (A.PATH_TO, path)),
        "link to": command(C.LINK, path, (A.PATH_LINK, inside)),
        "link from": command(C.LINK, free, (A.PATH_LINK, path)),
        "unlink": command(C.UNLINK, path),
        "rmdir": command(C.RMDIR, path),
    }


Harm = dict[str, bytes]
"""Whole commands by name."""


def write(path: bytes, data: bytes, *, offset: int = 0) -> bytes:
    return command(C.WRITE, path, (A.FILE_OFFSET, u64(offset)), (A.DATA, data))


def fallocate(path: bytes, mode: int, *, offset: int, size: int) -> bytes:
    return command(
        C.FALLOCATE,
        path,
        (A.FALLOCATE_MODE, u32(mode)),
        (A.FILE_OFFSET, u64(offset)),
        (A.SIZE, u64(size)),
    )


def encoded_write(
    path: bytes, data: bytes = b"packed", *, length: int = 4096, kind: int = 2
) -> bytes:
    """Return an extent that is to be `length` bytes."""
    return command(
        C.ENCODED_WRITE,
        path,
        (A.FILE_OFFSET, u64(0)),
        (A.UNENCODED_FILE_LEN, u64(length)),
        (A.UNENCODED_LEN, u64(length)),
        (A.UNENCODED_OFFSET, u64(0)),
        (A.COMPRESSION, u32(kind)),
        (A.ENCRYPTION, u32(0)),
        (A.DATA, data),
    )


def symlink(path: bytes, target: bytes) -> bytes:
    return command(C.SYMLINK, path, (A.INO, u64(999)), (A.PATH_LINK, target))


def mknod(path: bytes, rdev: int, mode: int) -> bytes:
    """Return a device node; `rdev` as the kernel's new_encode_dev."""
    return command(C.MKNOD, path, (A.INO, u64(999)), (A.RDEV, u64(rdev)), (A.MODE, u64(mode)))


def clone(
    path: bytes, source: UUID, source_path: bytes, *, length: int = 4096, source_offset: int = 0
) -> bytes:
    attributes = [
        (A.PATH, path),
        (A.FILE_OFFSET, u64(0)),
        (A.CLONE_LEN, u64(length)),
        (A.CLONE_UUID, source.bytes),
        (A.CLONE_CTRANSID, u64(5)),
        (A.CLONE_PATH, source_path),
        (A.CLONE_OFFSET, u64(source_offset)),
    ]
    return encode_command(C.CLONE, attributes, VERSION)


def named(said: str, made: bytes) -> bool:
    """Whether an error says, in one line, which command it is about, and where that begins."""
    number = COMMAND_HEADER.unpack_from(made)[1]
    name = C(number).name if number in set(C) else f"command {number}"
    start = r"(send stream, |the stream can't be applied: )?"
    return bool(re.match(rf"{start}{name}( of [^\n]*,)? at byte [0-9]+[^\n]*\Z", said))
