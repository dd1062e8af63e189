"""Letting other programs use the disks first."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
from typing import Final

_log: Final = logging.getLogger(__name__)

# ioprio_set(2) has no wrapper in the C library. Its numbers: arch/*/entry/syscalls, unistd.h.
_SYSCALLS: Final = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "armv7l": 314, "ppc64le": 273}
_WHO_PROCESS: Final = 1
_CLASS_IDLE: Final = 3 << 13


def yield_disks() -> None:
    """Read and write at idle priority, also in threads and programs started from now on.

    Best effort: not every scheduler heeds it, and if it can't be set that is only logged.
    """
    number = _SYSCALLS.get(platform.machine())
    if number is None:
        _log.info("I/O priority is not lowered: unknown machine %s", platform.machine())
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, _WHO_PROCESS, 0, _CLASS_IDLE) < 0:
        _log.info("I/O priority is not lowered: %s", os.strerror(ctypes.get_errno()))
