"""Signals that end the program, as interrupts of what it is doing."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


class _StopError(KeyboardInterrupt):
    """An interrupt that is handled.

    The interpreter notes every KeyboardInterrupt, though not this, that passes an `exec` or `eval`
    of a string, such as those in `dataclasses` and `typing`. It takes it to be unhandled, and kills
    itself in the end (Python/pythonrun.c, run_eval_code_obj).
    """


def die_quietly_on(number: signal.Signals) -> None:
    """Let a signal end the program, as long as it has not done anything yet."""
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def stopped_once_by(*signals: signal.Signals) -> Iterator[None]:
    """Make the first of these signals an interrupt of the block.

    More of them don't disturb the cleaning up, nor the end of the program after the block.
    """
    concerned = [n for n in signals if signal.getsignal(n) is not signal.SIG_IGN]  # as by nohup

    def leave_in_peace() -> None:
        for number in concerned:
            # Not SIG_IGN: of that Python complains if one has come that it has not handled yet.
            signal.signal(number, lambda _number, _frame: None)

    def stop(_number: int, _frame: FrameType | None) -> None:
        leave_in_peace()
        raise _StopError

    for number in concerned:
        signal.signal(number, stop)
    try:
        yield
    finally:
        leave_in_peace()
        for number in concerned:
            signal.signal(number, signal.SIG_IGN)  # lasts until the interpreter has gone
