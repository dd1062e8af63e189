"""Commands of send streams and the calls that they stand for: an example of each, and any."""

from __future__ import annotations

import stat
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from buttersink.stream.format import Attribute, Command, encode_command
from support.stream_samples import PARENT, TO, A, C, u64

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from support.recorded_calls import Call

VARIABLE = frozenset(
    (
        A.PATH,
        A.PATH_TO,
        A.PATH_LINK,
        A.CLONE_PATH,
        A.XATTR_NAME,
        A.XATTR_DATA,
        A.DATA,
        A.VERITY_SALT_DATA,
        A.VERITY_SIG_DATA,
    )
)
"""Attributes that may be of any size; each of the others is always of one size."""

IGNORED = {
    C.MKFILE: {A.INO},
    C.MKDIR: {A.INO},
    C.MKNOD: {A.INO},
    C.MKFIFO: {A.INO, A.RDEV, A.MODE},
    C.MKSOCK: {A.INO, A.RDEV, A.MODE},
    C.SYMLINK: {A.INO},
    C.CLONE: {A.CLONE_CTRANSID},
    C.UTIMES: {A.CTIME, A.OTIME},
}
"""Attributes that the kernel sends, but the call has nothing of."""

PATHS = st.lists(
    st.binary(min_size=1, max_size=20).filter(
        lambda name: name not in {b".", b".."} and not set(b"/\0") & set(name)
    ),
    min_size=1,
    max_size=4,
).map(b"/".join)
_TOP_PATHS = PATHS | st.just(b"")
_TEXTS = st.binary(min_size=1, max_size=30).filter(lambda text: b"\0" not in text)
_BYTES = st.binary(max_size=50)
_NUMBERS = st.integers(0, 2**64 - 1)
_SHORT_NUMBERS = st.integers(0, 2**32 - 1)
_IDS = st.integers(0, 2**32 - 2)
_OFFSETS = st.integers(0, 2**62)
_SECONDS = st.integers(-(2**63), 2**63 - 1)
_NANOSECONDS = st.integers(0, 999_999_999)


@dataclass(frozen=True, slots=True)
class Sample:
    """A command.

    Attributes:
        command: Its number.
        attributes: What a kernel sends with it, in the order of the kernel.
        call: The call that it stands for.
    """

    command: Command
    attributes: tuple[tuple[Attribute, bytes], ...]
    call: Call

    def encoded(self, version: int) -> bytes:
        """Return the command as the kernel makes it."""
        return encode_command(self.command, self.attributes, version)


def examples(version: int) -> list[Sample]:
    """Return one of each command that a stream of this version can have."""
    made = [
        _made(C.MKFILE)(b"o257-7-0", 257),
        _made(C.MKDIR)(b"dir", 258),
        _mknod(b"dir/tty", 259, 0x501, stat.S_IFCHR | 0o620),
        _special(C.MKFIFO, stat.S_IFIFO)(b"dir/pipe", 260),
        _special(C.MKSOCK, stat.S_IFSOCK)(b"dir/socket", 261),
        _symlink(b"dir/link", 262, b"../../etc/passwd"),
        _second(C.RENAME, A.PATH_TO)(b"o257-7-0", b"dir/file"),
        _second(C.LINK, A.PATH_LINK)(b"dir/other", b"dir/file"),
        _path_only(C.UNLINK)(b"dir/other"),
        _path_only(C.RMDIR)(b"empty"),
        _set_xattr(b"", b"user.x", b"\0/.."),
        _second(C.REMOVE_XATTR, A.XATTR_NAME)(b"dir/file", b"user.x"),
        _write(b"dir/file", 1 << 40, b"some data"),
        _clone(b"dir/file", 4096, 8192, TO, 5, b"dir/other", 65536),
        _clone(b"dir/file", 4096, 8192, PARENT, 5, b"dir/other", 65536),
        _number(C.TRUNCATE, A.SIZE)(b"dir/file", 1 << 41),
        _number(C.CHMOD, A.MODE)(b"dir/file", 0o4755),
        _chown(b"", 1000, 2**32 - 2),
        _utimes(version)(b"dir/file", (-7, 1), (1 << 33, 999_999_999), (3, 4), (5, 6)),
    ]
    if version >= 2:
        made += [
            _fallocate(b"dir/file", 3, 4096, 8192),
            _number(C.FILEATTR, A.FILEATTR)(b"dir/file", 1 << 3),
            _encoded_write(b"dir/file", 1 << 20, b"zstd", (100_000, 4096), 131_072, 2, 0),
        ]
    if version >= 3:
        made.append(_enable_verity(b"dir/file", 1, 4096, b"salt", b"signature"))
    return made


def samples(version: int) -> st.SearchStrategy[Sample]:
    """Return any commands that a stream of this version can have after its head."""
    times = st.tuples(_SECONDS, _NANOSECONDS)
    kinds = [
        *(st.builds(_made(command), PATHS, _NUMBERS) for command in (C.MKFILE, C.MKDIR)),
        st.builds(
            _mknod,
            PATHS,
            _NUMBERS,
            _SHORT_NUMBERS,
            st.builds(
                int.__or__, st.sampled_from((stat.S_IFCHR, stat.S_IFBLK)), st.integers(0, 0o7777)
            ),
        ),
        st.builds(_special(C.MKFIFO, stat.S_IFIFO), PATHS, _NUMBERS),
        st.builds(_special(C.MKSOCK, stat.S_IFSOCK), PATHS, _NUMBERS),
        st.builds(_symlink, PATHS, _NUMBERS, _TEXTS),
        st.builds(_second(C.RENAME, A.PATH_TO), PATHS, PATHS),
        st.builds(_second(C.LINK, A.PATH_LINK), PATHS, PATHS),
        *(st.builds(_path_only(command), PATHS) for command in (C.UNLINK, C.RMDIR)),
        st.builds(_set_xattr, _TOP_PATHS, _TEXTS, _BYTES),
        st.builds(_second(C.REMOVE_XATTR, A.XATTR_NAME), _TOP_PATHS, _TEXTS),
        st.builds(_write, PATHS, _OFFSETS, _BYTES),
        st.builds(
            _clone,
            PATHS,
            _OFFSETS,
            _OFFSETS.map(lambda size: size // 2),
            st.sampled_from((TO, PARENT)),
            _NUMBERS,
            PATHS,
            _OFFSETS,
        ),
        st.builds(_number(C.TRUNCATE, A.SIZE), PATHS, st.integers(0, 2**63 - 1)),
        st.builds(_number(C.CHMOD, A.MODE), _TOP_PATHS, st.integers(0, 0o7777)),
        st.builds(_chown, _TOP_PATHS, _IDS, _IDS),
        st.builds(_utimes(version), _TOP_PATHS, times, times, times, times),
    ]
    if version >= 2:
        kinds += [
            st.builds(_fallocate, PATHS, _SHORT_NUMBERS, _OFFSETS, _OFFSETS),
            st.builds(_number(C.FILEATTR, A.FILEATTR), _TOP_PATHS, _NUMBERS),
            st.builds(
                _encoded_write,
                PATHS,
                _OFFSETS,
                _BYTES,
                st.tuples(st.integers(0, 1 << 20), st.integers(0, 1 << 20)),
                st.integers(1 << 21, 1 << 63 - 1),
                _SHORT_NUMBERS,
                _SHORT_NUMBERS,
            ),
        ]
    if version >= 3:
        kinds.append(
            st.builds(_enable_verity, PATHS, st.integers(0, 255), _SHORT_NUMBERS, _BYTES, _BYTES)
        )
    return st.one_of(kinds)


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _made(command: Command) -> Callable[[bytes, int], Sample]:
    def made(path: bytes, inode: int) -> Sample:
        attributes = ((A.PATH, path), (A.INO, u64(inode)))
        return Sample(command, attributes, (command.name.lower(), path))

    return made


def _mknod(path: bytes, inode: int, rdev: int, mode: int) -> Sample:
    attributes = ((A.PATH, path), (A.INO, u64(inode)), (A.RDEV, u64(rdev)), (A.MODE, u64(mode)))
    return Sample(C.MKNOD, attributes, ("mknod", path, mode, rdev))


def _special(command: Command, mode: int) -> Callable[[bytes, int], Sample]:
    def special(path: bytes, inode: int) -> Sample:
        attributes = ((A.PATH, path), (A.INO, u64(inode)), (A.RDEV, u64(0)), (A.MODE, u64(mode)))
        return Sample(command, attributes, (command.name.lower(), path))

    return special


def _symlink(path: bytes, inode: int, target: bytes) -> Sample:
    attributes = ((A.PATH, path), (A.INO, u64(inode)), (A.PATH_LINK, target))
    return Sample(C.SYMLINK, attributes, ("symlink", path, target))


def _second(command: Command, attribute: Attribute) -> Callable[[bytes, bytes], Sample]:
    def second(path: bytes, text: bytes) -> Sample:
        attributes = ((A.PATH, path), (attribute, text))
        return Sample(command, attributes, (command.name.lower(), path, text))

    return second


def _path_only(command: Command) -> Callable[[bytes], Sample]:
    def path_only(path: bytes) -> Sample:
        return Sample(command, ((A.PATH, path),), (command.name.lower(), path))

    return path_only


def _set_xattr(path: bytes, name: bytes, data: bytes) -> Sample:
    attributes = ((A.PATH, path), (A.XATTR_NAME, name), (A.XATTR_DATA, data))
    return Sample(C.SET_XATTR, attributes, ("set_xattr", path, name, data))


def _write(path: bytes, offset: int, data: bytes) -> Sample:
    attributes = ((A.PATH, path), (A.FILE_OFFSET, u64(offset)), (A.DATA, data))
    return Sample(C.WRITE, attributes, ("write", path, offset, data))


def _clone(  # noqa: PLR0917 - the order of a clone's attributes
    path: bytes,
    offset: int,
    length: int,
    source: UUID,
    ctransid: int,
    source_path: bytes,
    source_offset: int,
) -> Sample:
    attributes = (
        (A.FILE_OFFSET, u64(offset)),
        (A.CLONE_LEN, u64(length)),
        (A.PATH, path),
        (A.CLONE_UUID, source.bytes),
        (A.CLONE_CTRANSID, u64(ctransid)),
        (A.CLONE_PATH, source_path),
        (A.CLONE_OFFSET, u64(source_offset)),
    )
    call = ("clone", path, offset, length, source, source_path, source_offset)
    return Sample(C.CLONE, attributes, call)


def _number(command: Command, attribute: Attribute) -> Callable[[bytes, int], Sample]:
    def number(path: bytes, value: int) -> Sample:
        attributes = ((A.PATH, path), (attribute, u64(value)))
        return Sample(command, attributes, (command.name.lower(), path, value))

    return number


def _chown(path: bytes, uid: int, gid: int) -> Sample:
    attributes = ((A.PATH, path), (A.UID, u64(uid)), (A.GID, u64(gid)))
    return Sample(C.CHOWN, attributes, ("chown", path, uid, gid))


def _utimes(version: int) -> Callable[..., Sample]:
    names = [A.ATIME, A.MTIME, A.CTIME, *([A.OTIME] if version > 1 else [])]

    def utimes(path: bytes, *times: tuple[int, int]) -> Sample:
        packed = zip(names, (struct.pack("<qI", *time) for time in times), strict=False)
        seen = (seconds * 1_000_000_000 + nanoseconds for seconds, nanoseconds in times[:2])
        return Sample(C.UTIMES, ((A.PATH, path), *packed), ("utimes", path, *seen))

    return utimes


def _fallocate(path: bytes, mode: int, offset: int, size: int) -> Sample:
    attributes = (
        (A.PATH, path),
        (A.FALLOCATE_MODE, _u32(mode)),
        (A.FILE_OFFSET, u64(offset)),
        (A.SIZE, u64(size)),
    )
    return Sample(C.FALLOCATE, attributes, ("fallocate", path, mode, offset, size))


def _encoded_write(  # noqa: PLR0917 - the order of a compressed extent's attributes
    path: bytes,
    offset: int,
    data: bytes,
    part: tuple[int, int],
    length: int,
    compression: int,
    encryption: int,
) -> Sample:
    """Return a compressed extent; `part` is the size and the offset of what is in the file."""
    size, start = part
    attributes = (
        (A.PATH, path),
        (A.FILE_OFFSET, u64(offset)),
        (A.UNENCODED_FILE_LEN, u64(size)),
        (A.UNENCODED_LEN, u64(length)),
        (A.UNENCODED_OFFSET, u64(start)),
        (A.COMPRESSION, _u32(compression)),
        (A.ENCRYPTION, _u32(encryption)),
        (A.DATA, data),
    )
    extent = (size, length, start, compression, encryption)
    return Sample(C.ENCODED_WRITE, attributes, ("encoded_write", path, offset, data, *extent))


def _enable_verity(
    path: bytes, algorithm: int, block_size: int, salt: bytes, signature: bytes
) -> Sample:
    attributes = (
        (A.PATH, path),
        (A.VERITY_ALGORITHM, bytes([algorithm])),
        (A.VERITY_BLOCK_SIZE, _u32(block_size)),
        (A.VERITY_SALT_DATA, salt),
        (A.VERITY_SIG_DATA, signature),
    )
    call = ("enable_verity", path, algorithm, block_size, salt, signature)
    return Sample(C.ENABLE_VERITY, attributes, call)
