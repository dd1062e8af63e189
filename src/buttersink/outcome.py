"""What came of a run so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from buttersink import events

if TYPE_CHECKING:
    from uuid import UUID

VAIN_ATTEMPTS: Final = 2
"""After so many in a row an end counts as gone: each has tried for minutes. A single one may be
about one object that can't be read."""


@dataclass(slots=True)
class Outcome:
    """What came of a run so far."""

    transferred: int = 0
    adopted: int = 0
    present: int = 0
    deleted: int = 0
    hidden: int = 0
    undeleted: int = 0
    sent_bytes: int = 0
    resumed_bytes: int = 0
    seconds: float = 0.0
    failed: int = 0
    """Snapshots that were asked for and are not in place."""
    missing: set[UUID] = field(default_factory=set)
    """Those of them that are nowhere on its file system: nothing can build on them."""
    broken: bool = False
    """Whether something went wrong that the plan did not foresee."""

    def finished(self) -> events.Finished:
        """Return the event that ends the run."""
        return events.Finished(
            transferred=self.transferred,
            adopted=self.adopted,
            present=self.present,
            failed=self.failed,
            deleted=self.deleted,
            hidden=self.hidden,
            undeleted=self.undeleted,
            sent_bytes=self.sent_bytes,
            resumed_bytes=self.resumed_bytes,
            seconds=self.seconds,
        )
