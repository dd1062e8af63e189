"""The top directory of the snapshot being made, and what of it has to wait until all else is done.

A stream makes each file in the top directory, under a name for the time being, and renames it to
its place. So what new files inherit from their directory must not be there meanwhile: `btrfs
receive` gives it to all of them. And each of these names changes the times.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from buttersink.btrfs.applying.pending import Pending
from buttersink.btrfs.file_calls import file_flags, set_file_flags

if TYPE_CHECKING:
    from buttersink.btrfs.applying.flags import FileFlags

_INHERITED_XATTRS: Final = ("system.posix_acl_default", "btrfs.compression")
_LATE_XATTRS: Final = {os.fsencode(name): name for name in _INHERITED_XATTRS}

# linux/fs.h; what is inherited is in btrfs_inherit_iflags, in the kernel's fs/btrfs/inode.c.
_FS_COMPR_FL: Final = 0x4
_FS_NOCOMP_FL: Final = 0x400
_FS_NOCOW_FL: Final = 0x800000
_INHERITED_FLAGS: Final = _FS_COMPR_FL | _FS_NOCOMP_FL | _FS_NOCOW_FL
_RESTORED_FLAGS: Final = _FS_NOCOMP_FL | _FS_NOCOW_FL
"""Not FS_COMPR_FL: btrfs.compression brings it along, and it would bring that attribute."""

_NOT_THERE: Final = frozenset({errno.ENODATA, errno.EOPNOTSUPP})


class TopDirectory:
    """Does at once what can be done at once to the top directory, and the rest in the end."""

    def __init__(self, fd: int, pending: Pending | None, *, incremental: bool) -> None:
        """Take off what new files would inherit.

        Args:
            fd: The top directory; it stays the caller's.
            pending: What an earlier applier of the same stream had left to do; None if this is
                the first.
            incremental: Whether the directory is a copy of that of the parent; else it is new,
                and has what it has from the subvolume it was made in (btrfs.compression).

        Raises:
            OSError: It could not be changed, for example because it is immutable.
        """
        self._fd = fd
        if pending is not None:
            self._xattrs = dict(pending.xattrs)
            self._times = pending.times
            self._inherited = pending.inherited
            self._flags = pending.flags
            return
        status = os.fstat(fd)
        self._times = (status.st_atime_ns, status.st_mtime_ns) if incremental else None
        self._flags = None
        xattrs, inherited = self._take_off()
        self._xattrs = xattrs if incremental else {}
        self._inherited = inherited if incremental else 0

    def _take_off(self) -> tuple[dict[str, bytes], int]:
        """Take off what is inherited; return the extended attributes and the flags."""
        taken = {name: _take_xattr(self._fd, name) for name in _INHERITED_XATTRS}
        flags = file_flags(self._fd)  # without those that have gone with btrfs.compression
        if flags & _INHERITED_FLAGS:
            set_file_flags(self._fd, flags & ~_INHERITED_FLAGS)
        there = {name: data for name, data in taken.items() if data is not None}
        return there, flags & _RESTORED_FLAGS

    def set_xattr(self, name: bytes, data: memoryview) -> None:
        """Set an extended attribute, or remember to."""
        late = _LATE_XATTRS.get(name)
        if late is None:
            os.setxattr(self._fd, name, data)
        else:
            self._xattrs[late] = bytes(data)

    def remove_xattr(self, name: bytes) -> None:
        """Remove an extended attribute."""
        late = _LATE_XATTRS.get(name)
        if late is None:
            os.removexattr(self._fd, name)
        else:
            self._xattrs.pop(late, None)

    def set_times(self, *, atime: int, mtime: int) -> None:
        """Remember the times, in nanoseconds since 1970."""
        self._times = (atime, mtime)

    def set_flags(self, flags: int) -> None:
        """Remember the BTRFS_INODE_* flags."""
        self._flags = flags
        self._inherited = 0

    def pending(self, inodes: dict[int, int]) -> Pending:
        """Return what there is to do, together with flags of other inodes."""
        return Pending(
            xattrs=dict(self._xattrs),
            times=self._times,
            inherited=self._inherited,
            flags=self._flags,
            inodes=inodes,
        )

    def finish(self, flags: FileFlags) -> None:
        """Do what is left, but for flags that `flags` itself keeps until its end."""
        # Before the extended attributes: changing flags sets or removes btrfs.compression.
        if self._flags is not None:
            flags.set(self._fd, self._flags)
        elif self._inherited:
            set_file_flags(self._fd, file_flags(self._fd) | self._inherited)
        for name, data in self._xattrs.items():
            os.setxattr(self._fd, name, data)
        if self._times is not None:
            os.utime(self._fd, ns=self._times)


def _take_xattr(fd: int, name: str) -> bytes | None:
    """Remove an extended attribute; return what it was, None if there is none."""
    try:
        data = os.getxattr(fd, name)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
    os.removexattr(fd, name)
    return data
