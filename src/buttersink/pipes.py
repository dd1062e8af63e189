"""The pipes that streams flow through."""

from __future__ import annotations

import fcntl
from typing import Final

PIPE_BYTES: Final = 1 << 20
"""Size asked for pipes; the most an ordinary user may have (pipe(7), pipe-max-size)."""

LITTLE_BYTES: Final = PIPE_BYTES // 4
"""Whoever finds less than this in such a pipe, and knows that more will come, does well to wait
for `GATHER_SECONDS`: the kernel and ssh write in small pieces, and to take each of them as soon as
it comes keeps both sides busy with waking each other."""

GATHER_SECONDS: Final = 0.001
"""Even at 1 GB/s a wide pipe does not become full in that time."""


def widen_pipe(fd: int) -> None:
    """Give a pipe a large buffer, so that both its ends wait less; a refusal does no harm."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:  # over the user's limit for pipes
        return
