"""The use cases: list an end, clean it, and make a destination hold a source's snapshots.

Facts first (both inventories), then a plan, measured until every chosen diff has its exact size,
then the plan is carried out as it stands. A dry run is a run that ends at the plan.
"""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from buttersink import events
from buttersink.errors import ButterSinkError, RefusedError, UnfaithfulStreamError, UsageError
from buttersink.execution import carry_out
from buttersink.model import Certainty, Clean, Diff, Plan, Reason, Size, Skip, StreamOptions
from buttersink.planner import Request, make_plan, measurements

if TYPE_CHECKING:
    import re
    from uuid import UUID

    from buttersink.events import Emit
    from buttersink.model import Inventory, Partial, Snapshot
    from buttersink.store import Sink, Source

_log: Final = logging.getLogger(__name__)

_MASS_DELETION: Final = 10
"""From so many snapshots on, losing every one that the destination has takes `--force`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user asked for.

    Attributes:
        one: Name of the one snapshot of the source that is meant; None for all.
        excludes: Snapshots whose path one of these matches from its start are left alone.
        dry_run: Only plan.
        delete: Delete what the destination has and the source has not.
        estimate: Plan on estimated sizes; nothing is measured.
        force: Do what a safety rule refuses.
        bytes_per_second: Limit of the rate; None for no limit.
    """

    one: str | None = None
    excludes: tuple[re.Pattern[str], ...] = ()
    dry_run: bool = False
    delete: bool = False
    estimate: bool = False
    force: bool = False
    bytes_per_second: float | None = None

    def excluded(self, path: str) -> bool:
        """Return whether the snapshot at a relative path is to be left alone."""
        return any(pattern.match(path) for pattern in self.excludes)


def list_snapshots(store: Source, settings: Settings, emit: Emit) -> None:
    """Emit a listing of an end: each snapshot with what it adds to the one before it.

    Raises:
        UsageError: The one snapshot that was asked for is not there.
    """
    inventory = store.inventory()
    _warn_of_problems(store, inventory, emit)
    shown = [s for s in _selected(store, inventory, settings) if not _all_excluded(s, settings)]
    predecessors = _predecessors(inventory)
    options = store.stream_options()
    entries = []
    for number, snapshot in enumerate(shown):
        predecessor = predecessors.get(snapshot.uuid)
        diff = Diff(snapshot.uuid, predecessor.uuid if predecessor else None)
        emit(events.Measuring(done=number, total=len(shown)))
        try:
            size = store.estimate(diff) if settings.estimate else store.measure(diff, options)
        except ButterSinkError as error:
            emit(events.Warned(message=str(error)))
            size = Size(0, Certainty.UNKNOWN)
        entries.append(events.ListEntry(snapshot=snapshot, predecessor=predecessor, increment=size))
    emit(events.Measuring(done=len(shown), total=len(shown)))
    emit(events.Listed(end=store.name, entries=tuple(entries), inventory=inventory))


def clean_partials(store: Sink, settings: Settings, emit: Emit) -> events.Finished:
    """Remove what interrupted transfers left at an end."""
    with nullcontext() if settings.dry_run else store.lock():
        plan = Plan(cleans=tuple(Clean(partial=p) for p in store.inventory().partials))
        emit(events.Planned(source="", destination=store.name, plan=plan, dry_run=settings.dry_run))
        if settings.dry_run:
            return events.Finished()
        return carry_out(store, store, plan, emit)


def sync(source: Source, destination: Sink, settings: Settings, emit: Emit) -> events.Finished:
    """Make the destination hold the snapshots of the source.

    Returns:
        What came of it; anything `failed` or `undeleted` means that the run is incomplete.

    Raises:
        ButterSinkError: Nothing was done, because of what the message says.
    """
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
        if settings.dry_run:
            skipped = sum(isinstance(step, Skip) for step in plan.steps)
            return events.Finished(failed=skipped)
        return carry_out(
            source, destination, plan, emit, bytes_per_second=settings.bytes_per_second
        )


def prepare(source: Source, destination: Sink, settings: Settings, emit: Emit) -> Plan:
    """Plan a run, measuring as needed; change nothing anywhere.

    Raises:
        UsageError: The source has no such snapshots.
        RefusedError: A safety rule forbids the deletions that were asked for.
    """
    offered, held = source.inventory(), destination.inventory()
    _warn_of_problems(source, offered, emit)
    _warn_of_problems(destination, held, emit)
    if settings.delete and settings.one is not None and not settings.force:
        raise RefusedError(
            f"--delete goes with a whole directory as source, and {source.name} is one snapshot",
            "leave out --delete, or name the source's directory, or add --force",
        )
    selected = _selected(source, offered, settings)
    excluded = frozenset(s.uuid for s in selected if _all_excluded(s, settings))
    wanted = tuple(s for s in selected if s.uuid not in excluded)
    if not selected and not (settings.delete and settings.force):
        raise RefusedError(
            f"there are no snapshots in {source.name}",
            "to delete all that the destination has, add --force"
            if settings.delete
            else "only read-only subvolumes count: btrfs subvolume snapshot -r makes them",
        )
    request = Request(
        source=offered,
        destination=held,
        wanted=wanted,
        taken=destination.taken(sorted({path for s in wanted for path in s.paths})),
        options=_common_options(source.stream_options(), destination.accepts()),
        delete=settings.delete,
        protected=excluded,
        protected_paths=frozenset(
            path for s in held.snapshots for path in s.paths if settings.excluded(path)
        ),
        cleans=_cleans(held, wanted, settings),
    )
    plan = _settled(source, request, settings, emit)
    if plan.deletes and any(
        isinstance(step, Skip) and step.reason is Reason.UNREACHABLE for step in plan.steps
    ):
        # The source may be failing: what the destination has could be all that is left.
        emit(events.Warned(message="nothing will be deleted, as not everything can be sent"))
        plan = replace(plan, deletes=())
    _refuse_mass_deletion(plan, held, settings)
    return plan


def _cleans(
    held: Inventory, wanted: tuple[Snapshot, ...], settings: Settings
) -> tuple[Partial, ...]:
    """With --delete all leftovers go; else those of snapshots that this run brings anew."""
    asked_for = {s.uuid for s in wanted}
    return tuple(p for p in held.partials if settings.delete or p.uuid in asked_for)


def _selected(source: Source, inventory: Inventory, settings: Settings) -> tuple[Snapshot, ...]:
    """Return the snapshots that the user's words name."""
    inside = inventory.inside()
    one = settings.one
    if one is None:
        return inside
    found = [s for s in inside if one in s.paths] or [
        s for s in inside if any(path.rpartition("/")[2] == one for path in s.paths)
    ]
    if not found:
        raise UsageError(
            f"{source.name} names no snapshot: there is none called {one}",
            f"the slash at the end matters: to mean all snapshots in that directory, write "
            f"{source.name}/",
        )
    return tuple(found)


def _all_excluded(snapshot: Snapshot, settings: Settings) -> bool:
    return all(settings.excluded(path) for path in snapshot.paths)


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


def _common_options(made: StreamOptions, accepted: StreamOptions) -> StreamOptions:
    return StreamOptions(
        version=min(made.version, accepted.version),
        compressed=made.compressed and accepted.compressed,
    )


def _warn_of_problems(end: Source, inventory: Inventory, emit: Emit) -> None:
    for problem in inventory.problems:
        emit(events.Warned(message=f"{end.name}: {problem.path} {problem.message}"))


def _settled(source: Source, request: Request, settings: Settings, emit: Emit) -> Plan:
    """Plan, find out the sizes of what was chosen, and plan again, until all of them are known."""
    sizes: dict[Diff, Size] = {}
    done = 0
    while True:
        plan = make_plan(request, sizes)
        todo = measurements(request, sizes, plan)
        if not todo:
            return plan
        total = done + len(todo)
        for measurement in todo:
            diff = measurement.diff
            try:
                if settings.estimate:
                    sizes[diff] = source.estimate(diff)
                else:
                    emit(events.Measuring(done=done, total=total))
                    sizes[diff] = source.measure(diff, request.options, measurement.limit)
            except ButterSinkError as error:
                # What the kernel gets wrong is avoided, and a guess that fails says little.
                if settings.estimate or isinstance(error, UnfaithfulStreamError):
                    _log.info("a way to send can't be used: %s", error)
                else:
                    emit(events.Warned(message=f"a way to send can't be used: {error}"))
                request = replace(request, impossible=request.impossible | {diff})
            done += 1


def _refuse_mass_deletion(plan: Plan, held: Inventory, settings: Settings) -> None:
    """Refuse to empty a destination that shares nothing with the source: is it the right one?"""
    doomed = {delete.path for delete in plan.deletes}
    there = {path for s in held.snapshots for path in s.paths}
    if len(there) >= _MASS_DELETION and doomed == there and not settings.force:
        raise RefusedError(
            f"--delete would delete all {len(there)} snapshots of the destination: "
            f"the source has none of them",
            "check that these are the right directories; if so, add --force",
        )
