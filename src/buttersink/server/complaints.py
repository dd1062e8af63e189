"""What a server says on standard error: single lines, which ssh brings to the client."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from buttersink.text import escape

if TYPE_CHECKING:
    from types import TracebackType

_STANDARD_ERROR: Final = 2
_OURS: Final = "buttersink."


def complain(text: str) -> None:
    """Write a line, whatever is in `text`; nobody has to be there to read it."""
    with suppress(OSError):
        os.write(_STANDARD_ERROR, f"buttersink server: {escape(text)}\n".encode(errors="replace"))


def described(error: BaseException) -> str:
    """Return which error it is, and where in our code it came up.

    No more: messages of unexpected errors may have values in them that are none of a client's
    business.
    """
    place, trace = "", error.__traceback__
    while trace is not None:
        if (ours := _place(trace)).startswith(_OURS):
            place = f" at {ours}"
        trace = trace.tb_next
    return f"{type(error).__name__}{place}"


def _place(trace: TracebackType) -> str:
    return f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"
