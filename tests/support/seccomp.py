"""System calls that fail, as they do on file systems that have not got them (seccomp(2))."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_RET_ERRNO = 0x00050000
_RET_ALLOW = 0x7FFF0000
_LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_NUMBERS = {
    "x86_64": {
        "renameat2": 316,
        "linkat": 265,
        "flock": 73,
        "copy_file_range": 326,
        "openat2": 437,
    },
    "aarch64": {
        "renameat2": 276,
        "linkat": 37,
        "flock": 32,
        "copy_file_range": 285,
        "openat2": 437,
    },
}


class _Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def run_without(calls: dict[str, int], work: Callable[[], None]) -> None:
    """Run `work` in a child process in which some system calls fail.

    Args:
        calls: The error number of each.
        work: Asserts what has to be asserted.
    """
    child = os.fork()
    if not child:
        try:
            _refuse(calls)
            work()
        except BaseException:  # noqa: BLE001 - nothing of the child may go on in the parent's code
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, "it failed in the child process; see what that wrote"


def _refuse(calls: dict[str, int]) -> None:
    numbers = _NUMBERS[platform.machine()]
    steps = [struct.pack("=HBBI", _LOAD_WORD, 0, 0, 0)]
    for name, error in calls.items():
        steps.append(struct.pack("=HBBI", _JUMP_IF_EQUAL, 0, 1, numbers[name]))
        steps.append(struct.pack("=HBBI", _RETURN, 0, 0, _RET_ERRNO | error))
    steps.append(struct.pack("=HBBI", _RETURN, 0, 0, _RET_ALLOW))
    program = _Program(len(steps), b"".join(steps))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0),
    ):
        if libc.prctl(*arguments):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
