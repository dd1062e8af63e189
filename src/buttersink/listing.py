"""What an end holds, snapshot by snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buttersink import events
from buttersink.chains import best_chains
from buttersink.errors import ButterSinkError
from buttersink.model import Certainty, Diff, Measurement, Size
from buttersink.preparing import selected, sizes_of, warn_of_problems
from buttersink.redialled import RedialledSource
from buttersink.redialling import Redialler

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from buttersink.events import Emit
    from buttersink.model import Inventory, Snapshot
    from buttersink.settings import Settings
    from buttersink.store import Source

_NO_SIZE: Final = Size(0, Certainty.UNKNOWN)


def list_snapshots(store: Source, settings: Settings, emit: Emit) -> None:
    """Emit a listing of an end: each snapshot with what it adds to the one before it.

    Raises:
        UsageError: The one snapshot that was asked for is not there.
    """
    store = RedialledSource(store, Redialler(settings.patience, emit))
    inventory = store.inventory()
    warn_of_problems(store, inventory, emit)
    shown = [s for s in selected(store, inventory, settings) if not settings.excludes_all_of(s)]
    if inventory.makes_any_diff:
        entries = tuple(_measured(store, inventory, shown, settings, emit))
    else:
        # What lies outside the prefix is no concern of a listing of what is below it.
        links = [s for s in inventory.snapshots if not s.paths and not s.path.startswith("/")]
        links = [] if settings.one else links
        entries = tuple(_stored(inventory, [*shown, *links]))
    emit(events.Listed(end=store.name, entries=entries, inventory=inventory))


def _measured(
    store: Source,
    inventory: Inventory,
    shown: list[Snapshot],
    settings: Settings,
    emit: Emit,
) -> Iterator[events.ListEntry]:
    predecessors = _predecessors(inventory)
    options = store.stream_options()
    diffs = [
        Diff(s.uuid, predecessors[s.uuid].uuid if s.uuid in predecessors else None) for s in shown
    ]
    todo = [Measurement(diff=diff, limit=None) for diff in diffs]
    found = sizes_of(store, todo, options, estimate=settings.estimate)
    emit(events.Measuring(done=0, total=len(shown)))
    for done, (snapshot, size) in enumerate(zip(shown, found, strict=True), start=1):
        emit(events.Measuring(done=done, total=len(shown)))
        if isinstance(size, ButterSinkError):
            emit(events.Warned(message=str(size)))
        yield events.ListEntry(
            snapshot=snapshot,
            predecessor=predecessors.get(snapshot.uuid),
            increment=_NO_SIZE if isinstance(size, ButterSinkError) else size,
        )


def _stored(inventory: Inventory, shown: list[Snapshot]) -> Iterator[events.ListEntry]:
    """Yield snapshots with the streams they are restored by; nothing needs measuring."""
    chains = best_chains(inventory.stored)
    sizes = dict(inventory.stored)
    known = inventory.by_uuid()
    for snapshot in shown:
        last = chains.last.get(snapshot.uuid)
        parent = known.get(last.parent) if last and last.parent else None
        yield events.ListEntry(
            snapshot=snapshot,
            predecessor=parent,
            increment=sizes[last] if last else _NO_SIZE,
            chain=chains.costs.get(snapshot.uuid),
            hidden=not snapshot.paths,
        )


def _predecessors(inventory: Inventory) -> dict[UUID, Snapshot]:
    """Return, for each snapshot below the directory, the nearest earlier one of its lineage."""
    latest: dict[str, Snapshot] = {}
    found = {}
    for snapshot in sorted(inventory.inside(), key=lambda s: (s.generation, s.uuid)):
        if snapshot.lineage is not None:
            if snapshot.lineage in latest:
                found[snapshot.uuid] = latest[snapshot.lineage]
            latest[snapshot.lineage] = snapshot
    return found
