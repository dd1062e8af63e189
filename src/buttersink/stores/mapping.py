"""From the operating system's errors to those that a user can act on."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from buttersink.errors import NoSpaceError, NotPermittedError, TransferError

if TYPE_CHECKING:
    from buttersink.errors import ButterSinkError


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
        case errno.EROFS:
            return TransferError(message, "the file system, or a subvolume there, is read-only")
        case errno.EIO | errno.EUCLEAN:
            return TransferError(
                message, "the file system can't read its data: see dmesg, and run btrfs scrub"
            )
        case errno.ENOTEMPTY:
            return TransferError(message, "another subvolume is nested in it: delete that first")
        case _:
            return TransferError(message)
