"""Giving up all privileges that a program does not need, for good."""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Final

from buttersink.btrfs.libc import checked, libc

if TYPE_CHECKING:
    from collections.abc import Iterable

# include/uapi/linux/capability.h
CAP_CHOWN: Final = 0
CAP_DAC_OVERRIDE: Final = 1
CAP_FOWNER: Final = 3
CAP_FSETID: Final = 4
CAP_LINUX_IMMUTABLE: Final = 9
CAP_SYS_ADMIN: Final = 21
CAP_MKNOD: Final = 27
CAP_SETFCAP: Final = 31

_VERSION_3: Final = 0x20080522
_HEADER: Final = struct.Struct("=Ii")
_SETS: Final = struct.Struct("=IIIIII")
"""Effective, permitted and inheritable; first of capabilities 0 to 31, then of 32 to 63."""

# include/uapi/linux/prctl.h
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_LAST: Final = 63


def keep_only(capabilities: Iterable[int]) -> None:
    """Give up all capabilities of this process but some; it can't get any back by a program.

    Of those named it keeps what it has. Only the calling thread is changed, so there should be no
    other.

    Raises:
        OSError: The kernel did not do it.
    """
    kept = frozenset(capabilities)
    for number in range(_LAST + 1):
        if number not in kept:
            # Needs CAP_SETPCAP. It is a second wall only: no program will be run anyway.
            libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    header = _HEADER.pack(_VERSION_3, 0)
    sets = ctypes.create_string_buffer(_SETS.size)
    checked(libc.capget(header, sets))
    _, permitted_low, _, _, permitted_high, _ = _SETS.unpack(sets.raw)
    wanted = sum(1 << number for number in kept)
    low, high = permitted_low & wanted, permitted_high & (wanted >> 32)
    checked(libc.capset(header, _SETS.pack(low, low, 0, high, high, 0)))
