"""Opening a directory that must be on btrfs."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from buttersink.btrfs import subvolumes
from buttersink.errors import NotBtrfsError, UsageError
from buttersink.stores.mapping import mapped_error

if TYPE_CHECKING:
    from uuid import UUID

_BOOT_ID_FILE: Final = "/proc/sys/kernel/random/boot_id"


def open_directory(path: str) -> int:
    """Open the directory at `path` and return its descriptor.

    Raises:
        UsageError: It does not exist, or is no directory.
        NotPermittedError: It may not be opened.
    """
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist") from error
    except NotADirectoryError as error:
        raise UsageError(f"{path} is not a directory") from error
    except OSError as error:
        raise mapped_error(error, f"opening {path}") from error


def file_system_id(fd: int, path: str) -> UUID:
    """Return the id of the btrfs file system at `path`, which `fd` is.

    Raises:
        NotBtrfsError: It is another kind of file system.
    """
    try:
        return subvolumes.file_system_id(fd)
    except OSError as error:
        if error.errno not in {errno.ENOTTY, errno.EINVAL}:
            raise mapped_error(error, f"asking which file system {path} is on") from error
        raise NotBtrfsError(
            f"{path} is not on a btrfs file system", "findmnt shows which file systems are btrfs"
        ) from error


def machine_wide_id(fsid: UUID) -> tuple[str, str]:
    """Return what tells a file system of this machine from all others, also of other machines.

    Two machines may have clones of one image, with one id. The boot id (Documentation/
    admin-guide/sysctl/kernel.rst) is that of the kernel that runs now, whatever name the
    machine is called by, and in all of its containers. Without it, file systems of equal id are
    taken for one.
    """
    try:
        with open(_BOOT_ID_FILE, encoding="ascii") as file:
            boot_id = file.read().strip()
    except OSError:
        boot_id = ""
    return boot_id, str(fsid)
