"""The flags of inodes (`lsattr`), as FILEATTR commands set them.

The kernel sends FILEATTR in the middle of what it sends of an inode: extended attributes, times
and what is in a directory may come after it. So that an inode is immutable or append-only is
remembered by its number, and set when all else is in place.

Flags that only say how data is stored are set where the kernel agrees: whether files are
copied on write can change only while they are empty, and the kernel sends FILEATTR after the data.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from buttersink.btrfs.file_calls import file_flags, lookup_inode, open_beneath, set_file_flags
from buttersink.btrfs.ioctl import ROOT_DIRECTORY_INODE
from buttersink.errors import TransferError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# BTRFS_INODE_* of include/uapi/linux/btrfs_tree.h. Of the others, NODATASUM goes with NODATACOW,
# COMPRESS with an extended attribute that the stream has as well, PREALLOC with fallocate(2);
# READONLY is not used; and those from bit 32 on tell of fs-verity.
_NODATACOW: Final = 1 << 1
_NOCOMPRESS: Final = 1 << 3
_SYNC: Final = 1 << 5
_IMMUTABLE: Final = 1 << 6
_APPEND: Final = 1 << 7
_NODUMP: Final = 1 << 8
_NOATIME: Final = 1 << 9
_DIRSYNC: Final = 1 << 10

_PROTECTION: Final = _IMMUTABLE | _APPEND
"""What keeps an inode from being changed."""

# Those that FS_IOC_FSSETXATTR sets (FS_XFLAG_* of linux/fs.h), which leaves compression alone.
_XFLAGS: Final = {
    _IMMUTABLE: 0x08,
    _APPEND: 0x10,
    _SYNC: 0x20,
    _NOATIME: 0x40,
    _NODUMP: 0x80,
}

# Those that only FS_IOC_SETFLAGS sets (FS_*_FL of linux/fs.h).
_FS_NOCOMP_FL: Final = 0x00000400
_FS_DIRSYNC_FL: Final = 0x00010000
_FS_NOCOW_FL: Final = 0x00800000
_FL: Final = {_NOCOMPRESS: _FS_NOCOMP_FL, _DIRSYNC: _FS_DIRSYNC_FL, _NODATACOW: _FS_NOCOW_FL}
_FS_COMPR_FL: Final = 0x00000004

_FSXATTR: Final = struct.Struct("=I24x")
"""struct fsxattr: the flags; btrfs takes nothing else."""
_FS_IOC_FSGETXATTR: Final = 0x801C581F
_FS_IOC_FSSETXATTR: Final = 0x401C5820

_COMPRESSION: Final = "btrfs.compression"
"""The extended attribute that COMPRESS and mostly NOCOMPRESS come from (fs/btrfs/props.c)."""

_NONE: Final[Mapping[int, int]] = MappingProxyType({})

assert _FSXATTR.size == 28  # noqa: S101 - a wrong layout must not survive the import


class FileFlags:
    """Sets the flags of the inodes of one subvolume; see the module's text.

    The top directory is never made immutable or append-only: then a subvolume can be neither
    renamed nor deleted (may_delete in fs/namei.c), so it would never get its name.
    """

    def __init__(self, root_fd: int, pending: Mapping[int, int] = _NONE) -> None:
        """Be ready to set flags.

        Args:
            root_fd: Top directory of the subvolume.
            pending: What `pending` said when the subvolume was left half-done.
        """
        self._root_fd = root_fd
        self._pending = {inode: flags & _PROTECTION for inode, flags in pending.items()}

    @property
    def pending(self) -> dict[int, int]:
        """What `finish` will set: BTRFS_INODE_IMMUTABLE and _APPEND, by inode number.

        Of inodes that are there: the number of one that is gone can come to another one when the
        subvolume is gone on with in a copy.
        """
        return {inode: flags for inode, flags in self._pending.items() if self._is_there(inode)}

    def _is_there(self, inode: int) -> bool:
        try:
            lookup_inode(self._root_fd, inode)
        except FileNotFoundError:
            return False
        except OSError:  # its path is too long to be told
            return True
        return True

    def set(self, fd: int, flags: int) -> None:
        """Set the flags of an inode, or remember them for `finish`.

        Args:
            fd: A regular file or directory, open in any way but O_PATH.
            flags: BTRFS_INODE_*; those that can't be set are left as they are.

        Raises:
            TransferError: A privilege is missing.
            OSError: As the kernel gave it.
        """
        inode = os.fstat(fd).st_ino
        if inode == ROOT_DIRECTORY_INODE:
            flags &= ~_PROTECTION
        self._pending.pop(inode, None)
        now = file_flags(fd)
        if (_xflags(fd), now) == (_translated(flags, _XFLAGS), _settable(fd, flags, now)):
            return
        if flags & _PROTECTION:
            self._pending[inode] = flags & _PROTECTION
        # Without protection first: an attribute of an immutable file can't be put back.
        _set_xflags(fd, _translated(flags & ~_PROTECTION, _XFLAGS))
        _set_fsflags(fd, flags)

    def soften(self, fd: int) -> bool:
        """Let an inode be changed, if it is immutable or append-only, until `finish`.

        Args:
            fd: A regular file or directory, open in any way but O_PATH.

        Returns:
            Whether it was.

        Raises:
            TransferError: A privilege is missing.
        """
        protection = _protection(fd)
        if not protection:
            return False
        _protect(fd, 0)
        inode = os.fstat(fd).st_ino
        if inode != ROOT_DIRECTORY_INODE:
            self._pending.setdefault(inode, protection)
        return True

    def finish(self) -> None:
        """Make immutable and append-only what is to be; after that, nothing can be written to it.

        Inodes that are gone by now are passed over.

        Raises:
            TransferError: A privilege is missing.
            OSError: As the kernel gave it.
        """
        self.soften(self._root_fd)  # it has come with the copy of the parent
        for inode, protection in self._pending.items():
            try:
                path = lookup_inode(self._root_fd, inode)
            except FileNotFoundError:
                continue
            mode = os.stat(path, dir_fd=self._root_fd, follow_symlinks=False).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                continue
            fd = open_beneath(self._root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
            try:
                _protect(fd, protection)
            finally:
                os.close(fd)


def _translated(flags: int, table: Mapping[int, int]) -> int:
    return sum(bit for flag, bit in table.items() if flags & flag)


def _protection(fd: int) -> int:
    """Return BTRFS_INODE_IMMUTABLE and _APPEND of an inode."""
    xflags = _xflags(fd)
    return sum(flag for flag, bit in _XFLAGS.items() if flag & _PROTECTION and xflags & bit)


def _protect(fd: int, protection: int) -> None:
    """Set just these two flags of an inode."""
    others = _xflags(fd) & ~_translated(_PROTECTION, _XFLAGS)
    _set_xflags(fd, others | _translated(protection, _XFLAGS))


def _xflags(fd: int) -> int:
    (xflags,) = _FSXATTR.unpack(fcntl.ioctl(fd, _FS_IOC_FSGETXATTR, bytes(_FSXATTR.size)))
    return int(xflags) & sum(_XFLAGS.values())


def _set_xflags(fd: int, xflags: int) -> None:
    """Set what FS_IOC_FSSETXATTR can, and nothing else."""
    if xflags == _xflags(fd):
        return
    try:
        fcntl.ioctl(fd, _FS_IOC_FSSETXATTR, _FSXATTR.pack(xflags))
    except PermissionError as error:
        raise TransferError(
            "a file is, or is to be, immutable or append-only, which may not be changed here",
            "receiving such files takes the capabilities CAP_LINUX_IMMUTABLE and CAP_FOWNER",
        ) from error


def _settable(fd: int, flags: int, now: int) -> int:
    """Return what of the wanted flags FS_IOC_SETFLAGS can set on an inode that has those of `now`.

    The kernel refuses most combinations (check_fsflags in fs/btrfs/ioctl.c), and in silence
    leaves a file with data as it is.
    """
    facts = os.fstat(fd)
    is_directory = stat.S_ISDIR(facts.st_mode)
    changeable = 0
    if is_directory:
        changeable |= _FS_DIRSYNC_FL
    if is_directory or facts.st_size == 0:
        changeable |= _FS_NOCOW_FL
    if _compression(fd) is None:
        changeable |= _FS_NOCOMP_FL
    new = now & ~changeable | _translated(flags, _FL) & changeable
    if new & _FS_COMPR_FL:
        new &= ~(_FS_NOCOW_FL & changeable)
    if new & _FS_NOCOW_FL:
        new &= ~(_FS_NOCOMP_FL & changeable)
    return new


def _set_fsflags(fd: int, flags: int) -> None:
    """Set what only FS_IOC_SETFLAGS can."""
    old = file_flags(fd)
    new = _settable(fd, flags, old)
    if new == old:
        return
    exclusive = _FS_NOCOW_FL | _FS_NOCOMP_FL
    with _same_compression(fd):
        if old & exclusive and new & exclusive & ~old:
            # From one to the other it goes only by neither.
            set_file_flags(fd, new & ~exclusive)
        try:
            set_file_flags(fd, new)
        except PermissionError:
            if not new & _FS_NOCOW_FL & ~old:
                raise
            # On zoned devices everything is copied on write.
            set_file_flags(fd, new & ~_FS_NOCOW_FL)


@contextmanager
def _same_compression(fd: int) -> Iterator[None]:
    """Put back the extended attribute that FS_IOC_SETFLAGS makes, overwrites or removes."""
    before = _compression(fd)
    yield
    after = _compression(fd)
    if before == after:
        return
    if before is None:
        os.removexattr(fd, _COMPRESSION)
    else:
        os.setxattr(fd, _COMPRESSION, before)


def _compression(fd: int) -> bytes | None:
    try:
        return os.getxattr(fd, _COMPRESSION)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        return None
