"""Changing owners without losing what the kernel takes off with the old owner.

chown(2) clears the set-user-id and set-group-id bits of whatever is no directory, also for root,
and removes capabilities (fs/open.c, chown_common). The kernel's send does not say the mode again
if only the owner has changed, nor, before Linux 5.8, the capabilities.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from buttersink.btrfs.applying.paths import NO_FOLLOW

_SET_ID: Final = stat.S_ISUID | stat.S_ISGID
_CAPABILITY: Final = "security.capability"


def chown_file(fd: int, uid: int, gid: int) -> None:
    """Change the owner of an open regular file, and nothing else."""
    mode = os.fstat(fd).st_mode
    try:
        capability = os.getxattr(fd, _CAPABILITY)
    except OSError as error:
        if error.errno not in {errno.ENODATA, errno.EOPNOTSUPP}:
            raise
        capability = b""
    os.fchown(fd, uid, gid)
    if mode & _SET_ID:
        os.fchmod(fd, stat.S_IMODE(mode))
    if capability:
        os.setxattr(fd, _CAPABILITY, capability)


def chown_entry(dir_fd: int, name: bytes, uid: int, gid: int) -> None:
    """Change the owner of anything in a directory, not through a link, and nothing else."""
    mode = os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode
    if stat.S_ISREG(mode):
        fd = os.open(name, os.O_RDONLY | NO_FOLLOW, dir_fd=dir_fd)
        try:
            chown_file(fd, uid, gid)
        finally:
            os.close(fd)
        return
    os.chown(name, uid, gid, dir_fd=dir_fd, follow_symlinks=False)
    if mode & _SET_ID and not (stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
        os.chmod(name, stat.S_IMODE(mode), dir_fd=dir_fd)
