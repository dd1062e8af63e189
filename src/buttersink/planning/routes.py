"""How snapshots get to the destination: what the several ways to choose diffs result in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from buttersink.model import Certainty, Size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from buttersink.model import Chain, Diff
    from buttersink.plan import Reason

NOTHING_KNOWN: Final = Size(0, Certainty.AT_LEAST)
"""The size of a diff that was not measured yet."""

NO_DIFF: Final = "no diff of it can be made"
"""Why a snapshot is unreachable, if its source makes any diff."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How one snapshot gets to the destination, and why in this way.

    The attributes are those of `model.Transfer`.
    """

    diff: Diff
    size: Size
    reason: Reason
    link: bool = False
    chain: Chain | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """How all snapshots get to the destination.

    Attributes:
        found: By identity, of those asked for and of links. What each one's diff builds on is
            among them or at the destination, and no circle of them exists.
        unreachable: For the others that were asked for, why no diff leads to them.
    """

    found: Mapping[UUID, Route]
    unreachable: Mapping[UUID, str]
