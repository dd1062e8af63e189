"""Which events are heard at which level of quiet: one rule for persons and machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buttersink.events import (
    Failed,
    Listed,
    Measuring,
    Planned,
    Skipped,
    TransferProgress,
    TransferStarted,
)

if TYPE_CHECKING:
    from buttersink.events import Event

NO_PROGRESS: Final = 1
"""From this level on nothing is shown of what is under way."""
ONLY_ERRORS: Final = 2
"""From this level on only errors are shown, and what was asked for: a listing, a dry run's plan."""


def heard(event: Event, *, quiet: int) -> bool:
    """Whether an event is shown at a level of quiet (0: everything is)."""
    match event:
        case Measuring() | TransferStarted() | TransferProgress():
            return quiet < NO_PROGRESS
        case Listed() | Planned(dry_run=True) | Failed() | Skipped():
            return True
        case _:
            return quiet < ONLY_ERRORS
