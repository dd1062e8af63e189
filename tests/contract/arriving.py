"""What is at an end, and whether what was sent there has arrived."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from buttersink.errors import RestartError, UnavailableError
from contract.carrying import carry

if TYPE_CHECKING:
    from buttersink.model import Diff, Inventory, Snapshot
    from buttersink.store import Sink, Source
    from contract.worlds import End, Offer, World

STRANGER = UUID("deadbeef-0000-4000-8000-000000000001")
"""Identity of no snapshot at any end."""


def paths(store: Source) -> list[str]:
    """Return the paths of all snapshots below the directory."""
    return sorted(path for s in store.inventory().snapshots for path in s.paths)


def at(store: Source, path: str) -> Snapshot:
    """Return the snapshot at a path."""
    (found,) = (s for s in store.inventory().snapshots if path in s.paths)
    return found


def assert_nothing_arrived(sink: Sink, path: str) -> None:
    """Check that a failed receive has left no snapshot, and nothing at its path."""
    inventory = sink.inventory()
    assert [s for s in inventory.snapshots if path in s.paths] == []
    assert sink.taken([path]) == frozenset()


def counted_out(inventory: Inventory) -> Inventory:
    """Return an inventory without the numbers of what is left alone."""
    return replace(inventory, writable=0, foreign=0)


def after_interrupt(world: World, sink: Sink, destination: End) -> Sink:
    """Return a store to go on with when a verb of `sink` was interrupted: that, if it can be."""
    if world.outlives_interrupts:
        return sink
    with pytest.raises(UnavailableError):
        sink.inventory()
    sink.close()
    return destination.open()


def assert_arrives(source: Offer, destination: End, diff: Diff, path: str) -> None:
    """Check that a receive, whatever went before it, succeeds."""
    sink = destination.open()
    try:
        carry(source.store, sink, diff, path)
    except RestartError:  # what was left did not fit, and is gone now
        carry(source.store, sink, diff, path)
    inventory = sink.inventory()
    assert path in inventory.by_uuid()[diff.to].paths
    assert [p for p in inventory.partials if p.uuid == diff.to] == []
    to = source.store.inventory().by_uuid()[diff.to]
    assert destination.content(path) == source.end.content(to.path)
