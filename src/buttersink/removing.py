"""The steps of a plan that remove something, one by one; each failure is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buttersink import events
from buttersink.errors import ButterSinkError, UnavailableError
from buttersink.outcome import VAIN_ATTEMPTS
from buttersink.plan import Delete, Discard, Hide

if TYPE_CHECKING:
    from buttersink.events import Emit
    from buttersink.outcome import Outcome
    from buttersink.plan import Clean, Release, Removal
    from buttersink.store import Sink


class Removing:
    """Removes things at a destination, as long as that can be reached."""

    def __init__(self, destination: Sink, emit: Emit, outcome: Outcome) -> None:
        """Remove nothing yet.

        Args:
            destination: Where.
            emit: Is told of everything.
            outcome: Where it is counted.
        """
        self._destination = destination
        self._emit = emit
        self._outcome = outcome
        self._unreached = 0
        """How many removals in a row failed because the destination could not be reached."""

    def clean(self, step: Clean) -> None:
        """Remove a leftover."""
        try:
            self._destination.clean(step.partial)
        except ButterSinkError as error:
            self._outcome.broken = True
            self._outcome.undeleted += 1
            self._emit(events.Failed(step=step, error=error))
        else:
            self._emit(events.Cleaned(clean=step))

    def release(self, step: Release) -> None:
        """Remove a link."""
        if self._given_up():
            return
        try:
            self._destination.release(step.uuid)
        except ButterSinkError as error:
            self._undeleted(step, error)
        else:
            self._emit(events.Released(release=step))

    def remove(self, step: Removal) -> None:
        """Delete a snapshot, or what is stored of it."""
        if self._given_up():
            return
        try:
            match step:
                case Delete(uuid=uuid, path=path):
                    self._destination.delete(uuid, path)
                    self._outcome.deleted += 1
                    self._emit(events.Deleted(delete=step))
                case Hide(uuid=uuid, path=path):
                    self._destination.hide(uuid, path)
                    self._outcome.hidden += 1
                    self._emit(events.Hidden(hide=step))
                case Discard(diff=diff, path=path):
                    self._destination.discard(diff, path)
                    self._emit(events.Discarded(discard=step))
        except ButterSinkError as error:
            self._undeleted(step, error)

    def _given_up(self) -> bool:
        """Return whether to remove nothing more, as the destination can't be reached."""
        if self._unreached < VAIN_ATTEMPTS:
            return False
        self._outcome.undeleted += 1
        return True

    def _undeleted(self, step: Release | Removal, error: ButterSinkError) -> None:
        self._outcome.undeleted += 1
        self._emit(events.Failed(step=step, error=error))
        self._unreached = self._unreached + 1 if isinstance(error, UnavailableError) else 0
        if self._unreached == VAIN_ATTEMPTS:
            name = self._destination.name
            self._emit(events.Warned(message=f"{name} can't be reached: nothing more is removed"))
