"""How long to go on with a request that fails for a reason that may pass."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from threading import Event

_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0


class Attempts:
    """The attempts at one thing: pauses that double, with jitter, until time is up.

    Args:
        seconds: How long to go on after the first failure.
        stop: Ends it at once, also in a pause.
    """

    def __init__(self, seconds: float, stop: Event) -> None:
        self._seconds = seconds
        self._stop = stop
        self.restart()

    def restart(self) -> None:
        """Count from the start again, because there was progress."""
        self._deadline: float | None = None
        self._pause = _FIRST_PAUSE_SECONDS

    def wait(self) -> bool:
        """Pause, and return whether there is to be another attempt."""
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self._seconds
        # Jitter keeps many requests, refused together, from coming back together.
        pause = self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - nothing is secret here
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        if now + pause > self._deadline:
            return False
        return not self._stop.wait(pause)
