"""What the user asked for, as far as the use cases have to know."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from buttersink.linking import Patience
from buttersink.storing import Storing

if TYPE_CHECKING:
    import re

    from buttersink.model import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user asked for.

    Attributes:
        one: Name of the one snapshot of the source that is meant; None for all.
        excludes: Snapshots whose path one of these matches from its start are left alone.
        only: If there are any, then so are those whose path none of these matches so.
        dry_run: Only plan.
        delete: Delete what the destination has and the source has not.
        estimate: Plan on estimated sizes; nothing is measured.
        force: Do what a safety rule refuses.
        bytes_per_second: Limit of the rate; None for no limit.
        storing: How streams are stored.
        patience: What is done about a link that is lost during a run.
    """

    one: str | None = None
    excludes: tuple[re.Pattern[str], ...] = ()
    only: tuple[re.Pattern[str], ...] = ()
    dry_run: bool = False
    delete: bool = False
    estimate: bool = False
    force: bool = False
    bytes_per_second: float | None = None
    storing: Storing = field(default_factory=Storing)
    patience: Patience = field(default_factory=Patience)

    def excluded(self, path: str) -> bool:
        """Return whether the snapshot at a relative path is to be left alone."""
        if self.only and not any(pattern.match(path) for pattern in self.only):
            return True
        return any(pattern.match(path) for pattern in self.excludes)

    def excludes_all_of(self, snapshot: Snapshot) -> bool:
        """Return whether a snapshot is to be left alone, wherever it is."""
        return all(self.excluded(path) for path in snapshot.paths)
