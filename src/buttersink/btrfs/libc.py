"""The C library, for system calls that Python does not have."""

from __future__ import annotations

import ctypes
import os
from typing import Final

libc: Final = ctypes.CDLL(None, use_errno=True)
"""Its functions let other threads run meanwhile, and leave the number of an error behind."""


def checked(result: int) -> int:
    """Return the result of a function of `libc` that is negative if it failed.

    Raises:
        OSError: It did.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
