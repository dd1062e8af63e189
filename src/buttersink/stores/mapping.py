"""From the operating system's errors to those that a user can act on."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from buttersink.errors import NoSpaceError, NotPermittedError, TransferError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buttersink.errors import ButterSinkError

_DAMAGED: Final = "the file system can't read its data: see dmesg, and run btrfs scrub"
_HINTS: Final[Mapping[int, str]] = {
    errno.EROFS: "the file system, or a subvolume there, is read-only",
    errno.EIO: _DAMAGED,
    errno.EUCLEAN: _DAMAGED,
    errno.ENOTEMPTY: "another subvolume is nested in it: delete that first",
    errno.EXDEV: "something is mounted in the way: unmount it, or name that directory as the end",
}


def mapped_error(error: OSError, doing: str) -> ButterSinkError:
    """Return the error a user understands for one of the operating system's.

    Args:
        error: What the system said.
        doing: What was tried, for the message.
    """
    message = f"{doing}: {os.strerror(error.errno) if error.errno else error}"
    match error.errno:
        case errno.EPERM | errno.EACCES:
            return NotPermittedError(message, "run as root: btrfs asks for CAP_SYS_ADMIN")
        case errno.ENOSPC | errno.EDQUOT:
            return NoSpaceError(message, "free some space and run again")
        case _:
            return TransferError(message, _HINTS.get(error.errno or 0, ""))
