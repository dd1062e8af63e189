"""The pipes that streams flow through."""

from __future__ import annotations

import fcntl
from typing import Final

PIPE_BYTES: Final = 1 << 20
"""Size asked for pipes; the most an ordinary user may have (pipe(7), pipe-max-size)."""

LITTLE_BYTES: Final = PIPE_BYTES // 4
"""Whoever finds less in a wide pipe, and knows that more will come, does well to wait a moment."""

GATHER_SECONDS: Final = 0.0005
"""That moment: the kernel and ssh write and read in small pieces, and who takes or leaves each of
them at once keeps both busy with waking each other. At 1 GB/s that is half a wide pipe."""


def widen_pipe(fd: int) -> bool:
    """Give a pipe a large buffer, so that both its ends wait less.

    Returns:
        Whether it has one. That it is refused, or that `fd` is no pipe, does no harm.
    """
    try:
        return fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES) >= PIPE_BYTES
    except OSError:  # over the user's limit for pipes
        return False
