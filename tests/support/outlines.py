"""Metadata-only streams made by hand, and what is read from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buttersink.stream.format import Attribute, Command, encode_command
from buttersink.stream.outline import OutlineReader
from support.stream_samples import PARENT, head, stream, u64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buttersink.stream.changes import Change

A, C = Attribute, Command
VERSION = 2


def command(number: Command, path: bytes, *attributes: tuple[Attribute, bytes]) -> bytes:
    """Return a command about a path."""
    return encode_command(number, [(A.PATH, path), *attributes], VERSION)


def made(number: Command, path: bytes) -> bytes:
    """Return a command that makes something."""
    return command(number, path, (A.INO, u64(300)))


def mkfile(path: bytes) -> bytes:
    return made(C.MKFILE, path)


def mkdir(path: bytes) -> bytes:
    return made(C.MKDIR, path)


def mknod(path: bytes, mode: int, rdev: int) -> bytes:
    attributes = (A.INO, u64(300)), (A.MODE, u64(mode)), (A.RDEV, u64(rdev))
    return command(C.MKNOD, path, *attributes)


def symlink(path: bytes, target: bytes) -> bytes:
    return command(C.SYMLINK, path, (A.INO, u64(300)), (A.PATH_LINK, target))


def rename(path: bytes, to: bytes) -> bytes:
    return command(C.RENAME, path, (A.PATH_TO, to))


def link(path: bytes, existing: bytes) -> bytes:
    return command(C.LINK, path, (A.PATH_LINK, existing))


def unlink(path: bytes) -> bytes:
    return command(C.UNLINK, path)


def rmdir(path: bytes) -> bytes:
    return command(C.RMDIR, path)


def extent(path: bytes, start: int, length: int) -> bytes:
    attributes = (A.FILE_OFFSET, u64(start)), (A.SIZE, u64(length))
    return command(C.UPDATE_EXTENT, path, *attributes)


def truncate(path: bytes, size: int) -> bytes:
    return command(C.TRUNCATE, path, (A.SIZE, u64(size)))


def chmod(path: bytes, mode: int) -> bytes:
    return command(C.CHMOD, path, (A.MODE, u64(mode)))


def chown(path: bytes, uid: int, gid: int) -> bytes:
    return command(C.CHOWN, path, (A.UID, u64(uid)), (A.GID, u64(gid)))


def set_xattr(path: bytes, name: bytes) -> bytes:
    return command(C.SET_XATTR, path, (A.XATTR_NAME, name), (A.XATTR_DATA, b"value"))


def remove_xattr(path: bytes, name: bytes) -> bytes:
    return command(C.REMOVE_XATTR, path, (A.XATTR_NAME, name))


def fileattr(path: bytes, flags: int) -> bytes:
    return command(C.FILEATTR, path, (A.FILEATTR, u64(flags)))


def touch(path: bytes) -> bytes:
    times = (A.ATIME, A.MTIME, A.CTIME, A.OTIME)
    return command(C.UTIMES, path, *((time, bytes(12)) for time in times))


def outline(*commands: bytes) -> bytes:
    """Return a whole stream of these commands."""
    return stream(head(parent=PARENT, version=VERSION), *commands, version=VERSION)


def read(data: bytes, *, cut: int = 1 << 20, version: int = VERSION) -> Sequence[Change]:
    """Return what a whole stream changes, when it comes in pieces of `cut` bytes."""
    reader = OutlineReader(version)
    for start in range(0, len(data), cut):
        reader.feed(memoryview(data)[start : start + cut])
    return reader.changes()


def changes(*commands: bytes) -> list[str]:
    """Return what a stream of these commands changes, in words, without what is told besides."""
    found = []
    for change in read(outline(*commands)):
        text = f"{change.kind.value} {change.path.decode()}"
        if change.old_path is not None and change.old_path != change.path:
            text += f" from {change.old_path.decode()}"
        if change.link_to is not None:
            text += f" = {change.link_to.decode()}"
        found.append(text)
    return found
