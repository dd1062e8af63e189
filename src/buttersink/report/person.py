"""Events for a person: what is shown, whichever kind of screen shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

from buttersink.events import Listed, Planned
from buttersink.report.loudness import NO_PROGRESS, ONLY_ERRORS, heard
from buttersink.report.wording import Note, Tone, error_text, notes

if TYPE_CHECKING:
    from types import TracebackType

    from buttersink.errors import ButterSinkError
    from buttersink.events import Event


class Screen(Protocol):
    """Where a person looks. Plans and listings go to standard output, the rest to stderr."""

    def plan(self, planned: Planned) -> None:
        """Show a plan, flushed when this returns."""

    def listing(self, listed: Listed) -> None:
        """Show a listing, flushed when this returns."""

    def note(self, note: Note) -> None:
        """Show one line that stays."""

    def follow(self, event: Event) -> None:
        """Show how far the run is; gets every event, before anything else of it is shown."""

    def close(self) -> None:
        """Take away what does not stay. `note` works afterwards, too."""


class PersonReporter:
    """Shows events on a `Screen`."""

    def __init__(self, screen: Screen, *, quiet: int) -> None:
        self._screen = screen
        self._quiet = quiet

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._screen.close()

    def __call__(self, event: Event) -> None:
        """Show an event, if it is heard at this level of quiet."""
        if self._quiet < NO_PROGRESS:
            self._screen.follow(event)
        if not heard(event, quiet=self._quiet):
            return
        match event:
            case Planned():
                self._screen.plan(event)
            case Listed():
                self._screen.listing(event)
            case _:
                pass
        for note in notes(event):
            if self._quiet < ONLY_ERRORS or note.tone is Tone.ERROR:
                self._screen.note(note)

    def error(self, error: ButterSinkError) -> None:
        """Show what ended the run, in one line, at any level of quiet."""
        self._screen.note(Note(error_text(error), Tone.ERROR))
