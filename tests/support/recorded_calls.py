"""Who takes the commands of a send stream and only writes them down."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from buttersink.stream.commands import Commands

Call = tuple[object, ...]
"""The name of a method of `Commands`, and its arguments in the order of their declaration."""


class RecordedCalls:
    """Keeps all calls, in `calls`; the data that they got as bytes."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def mkfile(self, path: bytes) -> None:
        self._add("mkfile", path)

    def mkdir(self, path: bytes) -> None:
        self._add("mkdir", path)

    def mknod(self, path: bytes, mode: int, rdev: int) -> None:
        self._add("mknod", path, mode, rdev)

    def mkfifo(self, path: bytes) -> None:
        self._add("mkfifo", path)

    def mksock(self, path: bytes) -> None:
        self._add("mksock", path)

    def symlink(self, path: bytes, target: bytes) -> None:
        self._add("symlink", path, target)

    def rename(self, path: bytes, to: bytes) -> None:
        self._add("rename", path, to)

    def link(self, path: bytes, existing: bytes) -> None:
        self._add("link", path, existing)

    def unlink(self, path: bytes) -> None:
        self._add("unlink", path)

    def rmdir(self, path: bytes) -> None:
        self._add("rmdir", path)

    def set_xattr(self, path: bytes, name: bytes, data: memoryview) -> None:
        self._add("set_xattr", path, name, bytes(data))

    def remove_xattr(self, path: bytes, name: bytes) -> None:
        self._add("remove_xattr", path, name)

    def write(self, path: bytes, offset: int, data: memoryview) -> None:
        self._add("write", path, offset, bytes(data))

    def clone(
        self,
        path: bytes,
        offset: int,
        *,
        length: int,
        source: UUID,
        source_path: bytes,
        source_offset: int,
    ) -> None:
        self._add("clone", path, offset, length, source, source_path, source_offset)

    def truncate(self, path: bytes, size: int) -> None:
        self._add("truncate", path, size)

    def chmod(self, path: bytes, mode: int) -> None:
        self._add("chmod", path, mode)

    def chown(self, path: bytes, uid: int, gid: int) -> None:
        self._add("chown", path, uid, gid)

    def utimes(self, path: bytes, *, atime: int, mtime: int) -> None:
        self._add("utimes", path, atime, mtime)

    def fallocate(self, path: bytes, mode: int, *, offset: int, size: int) -> None:
        self._add("fallocate", path, mode, offset, size)

    def fileattr(self, path: bytes, flags: int) -> None:
        self._add("fileattr", path, flags)

    def encoded_write(
        self,
        path: bytes,
        offset: int,
        data: memoryview,
        *,
        file_length: int,
        unencoded_length: int,
        unencoded_offset: int,
        compression: int,
        encryption: int,
    ) -> None:
        extent = (file_length, unencoded_length, unencoded_offset, compression, encryption)
        self._add("encoded_write", path, offset, bytes(data), *extent)

    def enable_verity(
        self, path: bytes, *, algorithm: int, block_size: int, salt: bytes, signature: bytes
    ) -> None:
        self._add("enable_verity", path, algorithm, block_size, salt, signature)

    def _add(self, *call: object) -> None:
        self.calls.append(call)


if TYPE_CHECKING:
    _: Commands = RecordedCalls()
