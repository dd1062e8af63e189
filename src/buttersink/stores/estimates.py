"""Guesses at the sizes of diffs, for those who would rather not wait for measuring. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buttersink.model import Certainty, Size

if TYPE_CHECKING:
    from buttersink.model import Snapshot

_HALF_CHANGED: Final = 1000
"""Generations after which we guess that half of the data has changed. A file system in use
makes up to one generation each 30 seconds (the commit interval), so this is half a day at least."""

_DATA_PER_METADATA: Final = 64
"""Data bytes we guess for each byte of metadata. Only ranks diffs; such a number is never shown."""


def estimate_size(to: Snapshot, parent: Snapshot | None) -> Size:
    """Guess the size of the stream that turns `parent` (or nothing) into `to`.

    Quotas know how large `to` is, so that the result can be shown as an estimate. Without
    them it only ranks: a full stream last, and the nearest parent by generation first.
    """
    if to.total is not None:
        whole, certainty = to.total, Certainty.ESTIMATE
    else:
        whole, certainty = max(to.metadata_bytes, 1) * _DATA_PER_METADATA, Certainty.UNKNOWN
    if parent is None:
        return Size(whole, certainty)
    apart = abs(to.generation - parent.generation)
    changed = whole * apart // (apart + _HALF_CHANGED)
    grown = 0
    if to.total is not None and parent.total is not None:
        grown = max(0, to.total - parent.total)
    return Size(min(whole, max(changed + grown, to.exclusive or 0)), certainty)
