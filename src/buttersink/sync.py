"""The use cases: clean an end, and make a destination hold a source's snapshots.

Facts first (both inventories), then a plan, measured until every chosen diff has its exact size,
then the plan is carried out as it stands. A dry run is a run that ends at the plan.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from buttersink import events
from buttersink.execution import carry_out
from buttersink.plan import Clean, Plan, Skip
from buttersink.preparing import prepare, removable
from buttersink.redialled import RedialledSink, RedialledSource
from buttersink.redialling import Redialler

if TYPE_CHECKING:
    from buttersink.events import Emit
    from buttersink.settings import Settings
    from buttersink.store import Sink, Source

_HOW_TO_THAW: Final = (
    "what is archived can't be read: --thaw DAYS asks for it; that takes hours, then run again"
)


def clean_partials(store: Sink, settings: Settings, emit: Emit) -> events.Finished:
    """Remove what interrupted transfers left at an end."""
    redialler = Redialler(settings.patience, emit)
    store = RedialledSink(store, redialler)
    with nullcontext() if settings.dry_run else store.lock():
        partials = removable(store, store.inventory(), settings, emit)
        plan = Plan(cleans=tuple(Clean(partial=p) for p in partials))
        emit(events.Planned(source="", destination=store.name, plan=plan, dry_run=settings.dry_run))
        if settings.dry_run:
            return events.Finished()
        return carry_out(store, store, plan, emit, redialler=redialler)


def sync(source: Source, destination: Sink, settings: Settings, emit: Emit) -> events.Finished:
    """Make the destination hold the snapshots of the source.

    Returns:
        What came of it; anything `failed` or `undeleted` means that the run is incomplete.

    Raises:
        ButterSinkError: Nothing was done, because of what the message says.
    """
    redialler = Redialler(settings.patience, emit)
    source, destination = RedialledSource(source, redialler), RedialledSink(destination, redialler)
    with nullcontext() if settings.dry_run else destination.lock():
        plan = prepare(source, destination, settings, emit)
        emit(
            events.Planned(
                source=source.name,
                destination=destination.name,
                plan=plan,
                dry_run=settings.dry_run,
            )
        )
        _thaw(source, plan, settings, emit)
        if settings.dry_run:
            skipped = sum(isinstance(step, Skip) for step in plan.steps)
            return events.Finished(failed=skipped)
        finished = carry_out(
            source,
            destination,
            plan,
            emit,
            redialler=redialler,
            bytes_per_second=settings.bytes_per_second,
        )
        for end in (source, destination):
            for note in end.notes():
                emit(events.Warned(message=f"{end.name}: {note}"))
        return finished


def _thaw(source: Source, plan: Plan, settings: Settings, emit: Emit) -> None:
    """Ask for the archived streams without which some snapshots are skipped, or say how to."""
    skipped = (step for step in plan.steps if isinstance(step, Skip))
    archived = [*dict.fromkeys(diff for step in skipped for diff in step.archived)]
    days = settings.storing.thaw_days
    if not archived:
        return
    if days is None:
        emit(events.Warned(message=_HOW_TO_THAW))
    elif not settings.dry_run:
        source.thaw(archived, days)
        emit(events.ThawRequested(count=len(archived), days=days))
