"""Wide pipes, and what is none."""

from __future__ import annotations

import fcntl
import os
import socket
from typing import TYPE_CHECKING

import pytest

from buttersink.link import Link
from buttersink.pipes import PIPE_BYTES, widen_pipe

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Return the reading and the writing end of a pipe."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def test_a_pipe_is_made_wide(pipe: tuple[int, int]) -> None:
    assert widen_pipe(pipe[1])
    assert fcntl.fcntl(pipe[0], fcntl.F_GETPIPE_SZ) == PIPE_BYTES


def test_what_is_no_pipe_is_left_as_it_is() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert not widen_pipe(near.fileno())


def test_a_link_widens_what_it_reads_from(pipe: tuple[int, int]) -> None:
    with open(os.devnull, "wb") as nothing:
        Link(pipe[0], nothing.fileno(), stall_seconds=1.0)
    assert fcntl.fcntl(pipe[1], fcntl.F_GETPIPE_SZ) == PIPE_BYTES


def test_a_link_widens_what_it_writes_to(pipe: tuple[int, int]) -> None:
    with open(os.devnull, "rb") as nothing:
        Link(nothing.fileno(), pipe[1], stall_seconds=1.0)
    assert fcntl.fcntl(pipe[0], fcntl.F_GETPIPE_SZ) == PIPE_BYTES
