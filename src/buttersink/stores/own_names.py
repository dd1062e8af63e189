"""The names of what ButterSink itself makes and will remove: pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from uuid import UUID

OWN_PREFIX: Final = ".buttersink-"
"""Begins the names of what ButterSink itself makes and will remove."""

WORK_NAME: Final = re.compile(
    r"\.buttersink-(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(?:part|new|link)"
)
"""Of all three kinds, with the identity of the snapshot."""


def work_name(uuid: UUID) -> str:
    """Return the name of the subvolume in which a snapshot is received."""
    return f".buttersink-{uuid}.part"


def staged_name(uuid: UUID) -> str:
    """Return the name of the finished subvolume before it gets its final name."""
    return f".buttersink-{uuid}.new"


def link_name(uuid: UUID) -> str:
    """Return the name of a snapshot that is only there to build others on."""
    return f".buttersink-{uuid}.link"
