"""Starting a program that can touch nothing but one directory, and no device.

A change of root directory alone does not suffice: root may make a device node below it, as a
received stream can tell, and write to the device. On a mount with nodev such a node is only a name.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import TYPE_CHECKING, Final, TypeVar

from buttersink.btrfs.libc import checked, libc

if TYPE_CHECKING:
    from collections.abc import Callable

Started = TypeVar("Started")

CONFINED_PATH: Final = "/tmp"  # noqa: S108 - any directory that every system has
"""Where a confined program finds its directory, and nothing else of what is there."""

# include/uapi/linux/sched.h and mount.h
_CLONE_FS: Final = 0x00000200
_CLONE_NEWNS: Final = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1 << 5, 1 << 12, 1 << 14, 1 << 18


def start_confined(directory_fd: int, start: Callable[[], Started]) -> Started:
    """Call `start` where CONFINED_PATH is the directory `directory_fd`, on a mount of its own.

    That mount has nodev, nosuid and noexec. Only a thread made for the purpose, and the programs
    that `start` starts, see it: mount namespaces are per thread, and die with their last one.

    Raises:
        OSError: It could not be set up; CAP_SYS_ADMIN is needed. Or what `start` raises.
    """
    result: list[Started] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            # A working directory of its own, as `_enter` changes it.
            checked(libc.unshare(_CLONE_FS))
            _enter(directory_fd)
            result.append(start())
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits for this
            errors.append(error)

    thread = threading.Thread(target=run, name="confined-start")
    thread.start()
    try:
        thread.join()
    finally:
        thread.join()  # when interrupted, too: the caller must know what was started
    if errors:
        raise errors[0]
    return result[0]


def confine(directory_fd: int) -> None:
    """Make `directory_fd` all that this process can reach by a path, for good.

    It becomes the root and the working directory, on a mount as `start_confined` has it. Other
    descriptors that the process has open stay what they are. It must have a single thread.

    Raises:
        OSError: It could not be set up; CAP_SYS_ADMIN and CAP_SYS_CHROOT are needed.
    """
    _enter(directory_fd)
    os.chroot(CONFINED_PATH)
    os.chdir("/")


def _enter(directory_fd: int) -> None:
    """Move the calling thread into a mount namespace of its own; see `start_confined`."""
    # The kernel carries the working directory over to the new mounts. A descriptor would still
    # belong to the old ones.
    os.fchdir(directory_fd)
    checked(libc.unshare(_CLONE_NEWNS))
    there = CONFINED_PATH.encode()
    _mount(None, b"/", _MS_REC | _MS_PRIVATE)
    _mount(b".", there, _MS_BIND)
    _mount(None, there, _MS_REMOUNT | _MS_BIND | _MS_NODEV | _MS_NOSUID | _MS_NOEXEC)


def _mount(source: bytes | None, target: bytes, flags: int) -> None:
    checked(libc.mount(source, target, None, ctypes.c_ulong(flags), None))
