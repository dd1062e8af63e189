"""Events for a person (tables and bars, or plain lines) or for a machine (JSON lines).

Listings and plans go to standard output; progress, warnings, errors and results to stderr.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, Self

from buttersink.report.json_lines import JsonReporter
from buttersink.report.person import PersonReporter
from buttersink.report.plain import PlainScreen

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import TextIO

    from buttersink.errors import ButterSinkError
    from buttersink.events import Event

__all__ = ["Reporter", "make_reporter"]


class Reporter(Protocol):
    """What renders a run. Calling it with an event makes it an `events.Emit`."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take away what does not stay on a terminal. `error` can be called afterwards, too."""

    def __call__(self, event: Event, /) -> None:
        """Render an event.

        Raises:
            OSError: A stream cannot be written to, BrokenPipeError among them.
        """

    def error(self, error: ButterSinkError, /) -> None:
        """Render the error that ended a run, in one line."""


def make_reporter(
    *,
    stdout: TextIO,
    stderr: TextIO,
    terminal: bool,
    quiet: int = 0,
    json: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Reporter:
    """Choose how to render a run.

    Args:
        stdout: For listings and plans, or JSON. Names may hold any printable character: give it
            `errors="backslashreplace"` if its encoding cannot carry them all.
        stderr: For everything else.
        terminal: Whether stderr is a terminal, on which bars can move. Tables are drawn only if
            standard output is one, too.
        quiet: 0 to show everything; 1 for no progress; 2 for nothing but errors, and the listing
            or the dry run's plan that was asked for. An error is also what keeps a snapshot from
            arriving.
        json: Write JSON lines instead of text for a person.
        clock: Steady seconds, for speeds and for how often something is shown.
    """
    if json:
        return JsonReporter(stdout=stdout, stderr=stderr, quiet=quiet)
    if not terminal:
        screen = PlainScreen(stdout=stdout, stderr=stderr, clock=clock)
        return PersonReporter(screen, quiet=quiet)
    # rich is slow to import, for which only who looks at a terminal should wait.
    from buttersink.report.terminal import TerminalScreen  # noqa: PLC0415 - see above

    return PersonReporter(TerminalScreen(stdout=stdout, stderr=stderr, clock=clock), quiet=quiet)
