"""Directories are entered, but not what is mounted on them, by either way of finding that out."""

from __future__ import annotations

import errno
import os

import pytest

from buttersink.stores import beneath
from support.seccomp import run_without

TOP = os.open("/", os.O_RDONLY | os.O_DIRECTORY)


def walk() -> None:
    """Walk where every Linux has something mounted."""
    for parts in (["proc"], ["proc", "1"]):
        with beneath.opened(TOP, parts):
            pass
        with pytest.raises(OSError) as caught, beneath.opened(TOP, parts, same_mount=True):  # noqa: PT011 - the errno is looked at
            pass
        assert caught.value.errno == errno.EXDEV
    assert beneath.exists(TOP, "proc/1")
    assert not beneath.exists(TOP, "proc/1", same_mount=True)
    with beneath.opened(TOP, ["etc"], same_mount=True) as fd:
        assert os.fstat(fd).st_ino == os.stat("/etc").st_ino
    with pytest.raises(FileNotFoundError), beneath.opened(TOP, ["no such"], same_mount=True):
        pass


def test_another_mount_is_not_entered() -> None:
    walk()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
def test_another_mount_is_not_entered_where_the_kernel_does_not_see_to_it(number: int) -> None:
    run_without({"openat2": number}, walk)


def test_nothing_stays_open() -> None:
    before = os.listdir("/proc/self/fd")
    walk()
    assert len(os.listdir("/proc/self/fd")) == len(before)
