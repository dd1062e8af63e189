"""From the values of a command to the call of who applies it, if they are fit to be applied."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final
from uuid import UUID

from buttersink.errors import CorruptStreamError
from buttersink.stream.format import MAX_PATH, Command
from buttersink.stream.size import largest_write, write_overhead
from buttersink.stream.vetting import vet_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from buttersink.stream.commands import Commands

MAX_OFFSET: Final = (1 << 63) - 1
"""The last offset in a file that the kernel knows (loff_t)."""

_MAX_ID: Final = (1 << 32) - 2
"""The last user or group; the number after it means to chown(2) that it stays as it is."""

_MAX_RDEV: Final = (1 << 32) - 1
_MAX_MODE: Final = 0xFFFF
_MAX_XATTR_NAME: Final = 255
"""XATTR_NAME_MAX."""

# What the kernel makes of an extent that it sends unpacked, since version 2.
_LARGEST_WRITE: Final = largest_write(2)
_WRITE_OVERHEAD: Final = write_overhead(2)

_SECOND: Final = 1_000_000_000

_KEPT_PATHS: Final = 512


class UnfitError(CorruptStreamError):
    """A command says what it must not. It was not applied."""


class SafePaths(set[bytes]):
    """Some of the paths that were found safe; commands on one file or directory come in a row."""

    def vet(self, path: bytes) -> None:
        """Check a path.

        Raises:
            UnfitError: It is not safe.
        """
        try:
            vet_path(path)
        except CorruptStreamError as error:
            raise UnfitError(error.message, error.hint) from error
        if len(self) >= _KEPT_PATHS:
            self.clear()
        self.add(path)


class Calls:
    """Calls the methods of `Commands` with the values of commands, in the order of `FIELDS`.

    Each call raises UnfitError before it does anything if the values are not fit, and passes
    through what `commands` raises. The first path of a command must have been checked.

    Args:
        commands: Who applies the commands.
        clone_sources: Identities of the snapshots that the stream may clone from.
        more_clone_sources: Whether it may clone from another one; None if from none.
        paths: Paths that are known to be safe.
    """

    def __init__(
        self,
        commands: Commands,
        *,
        clone_sources: frozenset[UUID],
        more_clone_sources: Callable[[UUID], bool] | None,
        paths: SafePaths,
    ) -> None:
        self._commands = commands
        self._clone_sources = {uuid.bytes: uuid for uuid in clone_sources}
        self._more_clone_sources = more_clone_sources
        self._paths = paths
        self.saved_bytes = 0
        """By how much compressed extents made the stream shorter than it would be without."""

    def by_number(self) -> Mapping[int, Callable[..., None]]:
        """Return what to call for each command on a path."""
        commands = self._commands
        return {
            Command.MKFILE: commands.mkfile,
            Command.MKDIR: commands.mkdir,
            Command.MKNOD: self._mknod,
            Command.MKFIFO: commands.mkfifo,
            Command.MKSOCK: commands.mksock,
            Command.SYMLINK: self._symlink,
            Command.RENAME: self._rename,
            Command.LINK: self._link,
            Command.UNLINK: commands.unlink,
            Command.RMDIR: commands.rmdir,
            Command.SET_XATTR: self._set_xattr,
            Command.REMOVE_XATTR: self._remove_xattr,
            Command.WRITE: self._write,
            Command.CLONE: self._clone,
            Command.TRUNCATE: self._truncate,
            Command.CHMOD: self._chmod,
            Command.CHOWN: self._chown,
            Command.UTIMES: self._utimes,
            Command.FALLOCATE: self._fallocate,
            Command.FILEATTR: commands.fileattr,
            Command.ENCODED_WRITE: self._encoded_write,
            Command.ENABLE_VERITY: self._enable_verity,
        }

    def _mknod(self, path: bytes, rdev: int, mode: int) -> None:
        if mode > _MAX_MODE or not (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
            raise UnfitError(f"the mode {mode:#o} is not that of a device node")
        if rdev > _MAX_RDEV:
            raise UnfitError(f"no device has the number {rdev:#x}")
        self._commands.mknod(path, mode, rdev)

    def _symlink(self, path: bytes, target: bytes) -> None:
        if not target or len(target) > MAX_PATH or b"\0" in target:
            raise UnfitError("the target of a symbolic link is impossible")
        self._commands.symlink(path, target)

    def _rename(self, path: bytes, to: bytes) -> None:
        if to not in self._paths:
            self._paths.vet(to)
        self._commands.rename(path, to)

    def _link(self, path: bytes, existing: bytes) -> None:
        if existing not in self._paths:
            self._paths.vet(existing)
        self._commands.link(path, existing)

    def _set_xattr(self, path: bytes, name: bytes, data: memoryview) -> None:
        _vet_xattr_name(name)
        self._commands.set_xattr(path, name, data)

    def _remove_xattr(self, path: bytes, name: bytes) -> None:
        _vet_xattr_name(name)
        self._commands.remove_xattr(path, name)

    def _write(self, path: bytes, offset: int, data: memoryview) -> None:
        if offset + len(data) > MAX_OFFSET:
            raise _beyond_offsets(offset, len(data))
        self._commands.write(path, offset, data)

    def _clone(  # noqa: PLR0917 - called with values in the order of `FIELDS`
        self,
        path: bytes,
        offset: int,
        length: int,
        source: bytes,
        source_path: bytes,
        source_offset: int,
    ) -> None:
        for start in (offset, source_offset):
            if start + length > MAX_OFFSET:
                raise _beyond_offsets(start, length)
        uuid = self._clone_sources.get(source) or self._new_clone_source(source)
        if source_path not in self._paths:
            self._paths.vet(source_path)
        self._commands.clone(
            path,
            offset,
            length=length,
            source=uuid,
            source_path=source_path,
            source_offset=source_offset,
        )

    def _new_clone_source(self, source: bytes) -> UUID:
        """Return the identity of a snapshot that the stream clones from for the first time."""
        uuid = UUID(bytes=source)
        if self._more_clone_sources is None or not self._more_clone_sources(uuid):
            known = ", ".join(sorted(map(str, self._clone_sources.values())))
            raise UnfitError(
                f"clone from outside: the stream takes data from {uuid}, but may only from {known}"
            )
        self._clone_sources[source] = uuid
        return uuid

    def _truncate(self, path: bytes, size: int) -> None:
        if size > MAX_OFFSET:
            raise _beyond_offsets(0, size)
        self._commands.truncate(path, size)

    def _chmod(self, path: bytes, mode: int) -> None:
        self._commands.chmod(path, mode & 0o7777)

    def _chown(self, path: bytes, uid: int, gid: int) -> None:
        if uid > _MAX_ID or gid > _MAX_ID:
            raise UnfitError(f"there can be no owner {uid}:{gid}")
        self._commands.chown(path, uid, gid)

    def _utimes(
        self,
        path: bytes,
        atime: int,
        atime_nanoseconds: int,
        mtime: int,
        mtime_nanoseconds: int,
    ) -> None:
        if atime_nanoseconds >= _SECOND or mtime_nanoseconds >= _SECOND:
            raise UnfitError("a time with a second's fraction of more than a second")
        self._commands.utimes(
            path,
            atime=atime * _SECOND + atime_nanoseconds,
            mtime=mtime * _SECOND + mtime_nanoseconds,
        )

    def _fallocate(self, path: bytes, mode: int, offset: int, size: int) -> None:
        if offset + size > MAX_OFFSET:
            raise _beyond_offsets(offset, size)
        self._commands.fallocate(path, mode, offset=offset, size=size)

    def _encoded_write(  # noqa: PLR0917 - called with values in the order of `FIELDS`
        self,
        path: bytes,
        offset: int,
        file_length: int,
        unencoded_length: int,
        unencoded_offset: int,
        compression: int,
        encryption: int,
        data: memoryview,
        command_size: int,
    ) -> None:
        """Pass on a compressed extent; `command_size` is that of the whole command, in bytes."""
        for start, length in ((offset, file_length), (0, unencoded_length)):
            if start + length > MAX_OFFSET:
                raise _beyond_offsets(start, length)
        if unencoded_offset + file_length > unencoded_length:
            raise UnfitError(
                f"bytes {unencoded_offset} to {unencoded_offset + file_length} of an extent that"
                f" has {unencoded_length}"
            )
        self._commands.encoded_write(
            path,
            offset,
            data,
            file_length=file_length,
            unencoded_length=unencoded_length,
            unencoded_offset=unencoded_offset,
            compression=compression,
            encryption=encryption,
        )
        writes = -(-file_length // _LARGEST_WRITE)
        plain_bytes = file_length + writes * (_WRITE_OVERHEAD + len(path))
        self.saved_bytes += plain_bytes - command_size

    def _enable_verity(
        self, path: bytes, algorithm: int, block_size: int, salt: bytes, signature: bytes
    ) -> None:
        self._commands.enable_verity(
            path, algorithm=algorithm, block_size=block_size, salt=salt, signature=signature
        )


def _vet_xattr_name(name: bytes) -> None:
    if not 0 < len(name) <= _MAX_XATTR_NAME or b"\0" in name:
        raise UnfitError(f"no extended attribute can have the name {name[:80]!r}")


def _beyond_offsets(offset: int, length: int) -> UnfitError:
    return UnfitError(f"{length} bytes from byte {offset} on are in no file")
