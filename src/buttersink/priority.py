"""Letting other programs use the disks first."""

from __future__ import annotations

import ctypes
import os
from typing import Final

# ioprio_set(2) has no wrapper in the C library. Its numbers: arch/*/entry/syscalls, unistd.h.
_SYSCALLS: Final = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "armv7l": 314, "ppc64le": 273}
_WHO_PROCESS: Final = 1
_CLASS_IDLE: Final = 3 << 13


def yield_disks() -> str:
    """Read and write at idle priority, also in threads and programs started from now on.

    Best effort: not every scheduler heeds it.

    Returns:
        Why it could not be set; empty if it was.
    """
    machine = os.uname().machine
    number = _SYSCALLS.get(machine)
    if number is None:
        return f"unknown machine {machine}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, _WHO_PROCESS, 0, _CLASS_IDLE) < 0:
        return os.strerror(ctypes.get_errno())
    return ""
