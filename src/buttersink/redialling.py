"""Patience with links that are lost in the middle of a run: they are dialled again, after pauses.

What was under way is done again then: see `redialled` for the verbs of an end, and `execution`
for transfers. Only what may pass by itself is tried again. A key that is refused, or another
directory in the place of the one that was there, is told at once.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from buttersink.errors import BusyError, ButterSinkError, UnavailableError
from buttersink.events import Reconnected, Redialling

if TYPE_CHECKING:
    from collections.abc import Callable

    from buttersink.events import Emit
    from buttersink.linking import Patience
    from buttersink.store import Source

PASSING: Final = (UnavailableError, BusyError)
"""What may pass by itself. Busy is a place as long as the server of a lost link is still there."""

_Result = TypeVar("_Result")


class Redialler:
    """Gets ends back that are lost, for one run."""

    def __init__(
        self, patience: Patience, emit: Emit, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Have patience.

        Args:
            patience: How much.
            emit: Is told of each attempt, and of each success.
            sleep: Waits for so many seconds.
        """
        self._patience = patience
        self._emit = emit
        self._sleep = sleep
        self._given_up: set[Source] = set()
        """Ends that did not come back: nobody waits for them twice."""

    def attempts(self, *ends: Source) -> Attempts:
        """Return the attempts that there are for something that takes all of these ends."""
        return Attempts(self, ends)

    def persist(
        self,
        act: Callable[[], _Result],
        end: Source,
        *,
        again: Callable[[], _Result] | None = None,
    ) -> _Result:
        """Do something, once more each time that the link to an end is lost in the middle of it.

        Args:
            act: What to do.
            end: Which end that takes.
            again: What to do then, if not the same.

        Raises:
            ButterSinkError: It failed for another reason, or the end does not come back.
        """
        attempts, work = self.attempts(end), act
        while True:
            try:
                return work()
            except PASSING as error:
                attempts.after(error)
            work = again or act

    def pause(self, end: Source, error: ButterSinkError, attempt: int) -> bool:
        """Wait for the moment of an attempt; return whether it is to be made at all."""
        patience = self._patience
        if end in self._given_up or attempt > patience.retries:
            return False
        seconds = patience.pause_seconds(attempt)
        self._emit(
            Redialling(
                end=end.name,
                error=error,
                attempt=attempt,
                attempts=patience.retries,
                pause_seconds=seconds,
            )
        )
        self._sleep(seconds)
        return True

    def dial(self, end: Source) -> UnavailableError | BusyError | None:
        """Dial; return why it was in vain, or None if the end is back.

        Raises:
            ButterSinkError: It will never be back.
        """
        try:
            end.reconnect()
        except PASSING as error:
            return error
        except ButterSinkError:
            self.give_up(end)
            raise
        self._emit(Reconnected(end=end.name))
        return None

    def give_up(self, end: Source) -> None:
        """Dial an end no more."""
        self._given_up.add(end)


class Attempts:
    """The attempts to do one thing. Made by `Redialler.attempts`."""

    def __init__(self, redialler: Redialler, ends: tuple[Source, ...]) -> None:
        self._redialler = redialler
        self._ends = ends
        self._regained: Source | None = None
        """The end that came back last."""
        self._used = 0
        self._reached = 0

    def after(self, error: UnavailableError | BusyError, *, reached: int = 0) -> None:
        """Get ready for another attempt after one that failed, which may take minutes.

        Args:
            error: Why it failed.
            reached: How far it came. Whoever comes farther than ever has all attempts anew, so
                that they are only for a link that never lasts long enough.

        Raises:
            ButterSinkError: There will be none. It is `error`, unless an end turned out to be
                gone for another reason.
        """
        if reached > self._reached:
            self._reached, self._used = reached, 0
        lost = [end for end in self._ends if end.lost]
        for end in lost:
            self._regain(end, error)
        if lost:
            return
        if self._regained is None or not isinstance(error, BusyError):
            raise error
        # What our own lost server was about may not have ended yet.
        self._used += 1
        if not self._redialler.pause(self._regained, error, self._used):
            raise error

    def _regain(self, end: Source, first: UnavailableError | BusyError) -> None:
        error: UnavailableError | BusyError | None = first
        while error is not None:
            self._used += 1
            if not self._redialler.pause(end, error, self._used):
                self._redialler.give_up(end)
                _raise(first, latest=error)
            error = self._redialler.dial(end)
        self._regained = end


def _raise(first: ButterSinkError, *, latest: ButterSinkError) -> NoReturn:
    """Raise what went wrong first, which says in the middle of what; the latest is why it stays."""
    if latest is first:
        raise first
    raise first from latest
