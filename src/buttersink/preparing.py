"""From the facts of both ends to a plan whose sizes are all known. Changes nothing anywhere."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from buttersink import events
from buttersink.chains import best_chains
from buttersink.errors import ButterSinkError, RefusedError, UnfaithfulStreamError, UsageError
from buttersink.model import ChainLimits, Diff, Measurement, Mode, StreamOptions
from buttersink.plan import Clean, Delete, Hide, Plan, Reason, Skip, Transfer
from buttersink.planning.healing import find_healing
from buttersink.planning.planner import Request, make_plan, measurements
from buttersink.resumption import going_on, kept_of, with_resumptions
from buttersink.retaining import with_removals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from buttersink.events import Emit
    from buttersink.model import Inventory, Partial, Size, Snapshot
    from buttersink.settings import Settings
    from buttersink.store import Sink, Source

_log: Final = logging.getLogger(__name__)

_MASS_DELETION: Final = 10
"""From so many snapshots on, losing every one that the destination has takes `--force`."""


def prepare(source: Source, destination: Sink, settings: Settings, emit: Emit) -> Plan:
    """Plan a run, measuring as needed; change nothing anywhere.

    Raises:
        UsageError: The source has no such snapshots.
        RefusedError: A safety rule forbids the deletions that were asked for.
    """
    offered, held = source.inventory(), destination.inventory()
    warn_of_problems(source, offered, emit)
    warn_of_problems(destination, held, emit)
    offered, held = (
        _with_parents(source, offered, held),
        _with_parents(destination, held, offered),
    )
    if settings.delete and settings.one is not None and not settings.force:
        raise RefusedError(
            f"--delete goes with a whole directory as source, and {source.name} is one snapshot",
            "leave out --delete, or name the source's directory, or add --force",
        )
    named = selected(source, offered, settings)
    excluded = frozenset(s.uuid for s in named if settings.excludes_all_of(s))
    wanted = tuple(
        replace(s, paths=tuple(path for path in s.paths if not settings.excluded(path)))
        for s in named
        if s.uuid not in excluded
    )
    if not named and not (settings.delete and settings.force):
        raise RefusedError(
            f"there are no snapshots in {source.name}",
            "to delete all that the destination has, add --force"
            if settings.delete
            else _no_snapshots_hint(offered),
        )
    request = Request(
        source=offered,
        destination=held,
        wanted=wanted,
        taken=destination.taken(sorted({path for s in wanted for path in s.paths})),
        options=_common_options(source, destination, settings, offered, held),
        delete=settings.delete,
        protected=excluded,
        protected_paths=frozenset(
            path for s in held.snapshots for path in s.paths if settings.excluded(path)
        ),
        limits=_limits(destination, held, wanted, settings),
        may_remove=settings.delete or destination.mode is Mode.WRITE,
    )
    kept = kept_of(held, wanted, made=source.stream_options(), options=request.options)
    begun = {diff: checkpoint.position.plain_bytes for diff, checkpoint in kept.items()}
    request = replace(request, begun=begun)
    sizes = _Sizes(source, request.options, settings, emit)
    if settings.estimate:
        for end in (destination, source):
            sizes.known.update(end.recorded_sizes(wanted))
    request, plan = _mended(source, request, sizes)
    plan = with_resumptions(plan, kept, counted=offered.makes_any_diff)
    if settings.delete and not held.makes_any_diff:
        plan = with_removals(request, plan, sizes)
    plan = replace(plan, cleans=_cleans(destination, request, plan, settings, emit))
    if plan.deletes and any(
        isinstance(step, Skip) and step.reason in {Reason.UNREACHABLE, Reason.ARCHIVED}
        for step in plan.steps
    ):
        # The source may be failing: what the destination has could be all that is left.
        emit(events.Warned(message="nothing will be deleted, as not everything can be sent"))
        # So there is nothing to gain from new streams in the place of old ones, either.
        steps = (s for s in plan.steps if getattr(s, "reason", None) is not Reason.REPLACEMENT)
        plan = replace(plan, steps=tuple(steps), deletes=())
    _refuse_mass_deletion(plan, request, settings)
    return plan


def selected(source: Source, inventory: Inventory, settings: Settings) -> tuple[Snapshot, ...]:
    """Return the snapshots that the user's words name.

    Raises:
        UsageError: There are none.
    """
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


def removable(
    end: Sink, inventory: Inventory, settings: Settings, emit: Emit
) -> tuple[Partial, ...]:
    """Return the leftovers that may be removed; tell of those that only --force removes."""
    for partial in inventory.partials:
        if partial.guarded and not settings.force:
            emit(
                events.Warned(
                    message=f"{end.name}: {partial.path} is left alone: {partial.guarded} "
                    f"(--force removes it)"
                )
            )
    return tuple(p for p in inventory.partials if settings.force or not p.guarded)


def warn_of_problems(end: Source, inventory: Inventory, emit: Emit) -> None:
    """Tell of the oddities that a listing found."""
    for problem in inventory.problems:
        emit(events.Warned(message=f"{end.name}: {problem.path} {problem.message}"))


def sizes_of(
    source: Source,
    measurements: Sequence[Measurement],
    options: StreamOptions,
    *,
    estimate: bool,
) -> Iterator[Size | ButterSinkError]:
    """Yield for each of the diffs its size, measured or estimated, or why it can't be known."""
    if not estimate:
        yield from source.measure_each(measurements, options)
        return
    for measurement in measurements:
        try:
            yield source.estimate(measurement.diff)
        except ButterSinkError as error:
            yield error


def _with_parents(end: Source, own: Inventory, other: Inventory) -> Inventory:
    """Add what an end keeps to itself, but lets others build on: of what the other end knows."""
    bases = {diff.parent for diff, _ in other.stored if diff.parent is not None}
    unknown = (other.by_uuid().keys() | bases) - own.by_uuid().keys()
    found = end.parents(unknown) if unknown else ()
    if not found:
        return own
    snapshots = sorted((*own.snapshots, *found), key=lambda s: (os.fsencode(s.path), s.uuid))
    return replace(own, snapshots=tuple(snapshots), parents_only=frozenset(s.uuid for s in found))


def _no_snapshots_hint(offered: Inventory) -> str:
    if offered.makes_any_diff:
        return "only read-only subvolumes count: btrfs subvolume snapshot -r makes them"
    return "check the prefix: it is all before the paths of the snapshots, and ends with a slash"


def _common_options(
    source: Source, destination: Sink, settings: Settings, offered: Inventory, held: Inventory
) -> StreamOptions:
    """Return the most capable streams that both ends know.

    What is made to be stored shall be readable for long, and by old programs.
    """
    made, accepted = source.stream_options(), destination.accepts()
    version = min(made.version, accepted.version)
    if offered.makes_any_diff and not held.makes_any_diff:
        version = min(version, settings.storing.stream_version)
    return StreamOptions(
        version=version,
        compressed=made.compressed and accepted.compressed and version > 1,
    )


def _limits(
    destination: Sink, held: Inventory, wanted: tuple[Snapshot, ...], settings: Settings
) -> ChainLimits | None:
    if held.makes_any_diff:
        return None
    # To know that takes some requests, which a run that has nothing to do can spare.
    chains = best_chains(held.stored).costs
    idle = not settings.delete and all(s.uuid in chains for s in wanted)
    fraction = 1.0 if idle else destination.stored_fraction()
    return ChainLimits(
        links=settings.storing.max_chain,
        factor=settings.storing.max_restore,
        stored_fraction=1.0 if fraction is None else fraction,
    )


def _cleans(
    destination: Sink, request: Request, plan: Plan, settings: Settings, emit: Emit
) -> tuple[Clean, ...]:
    """Return the leftovers to remove.

    What could be gone on from stays if its snapshot has to be left out this time. Else:
    with --delete all go but those that a transfer goes on from. At an end of subvolumes also those
    of other snapshots that were asked for: they are here by now, or come in another way. Where
    nothing may be removed, receiving replaces what is in its way. Links are released at the end.
    """
    held = request.destination
    asked_for = {s.uuid for s in request.wanted}
    coming = {t.diff for t in plan.transfers}
    if settings.delete:
        partials = removable(destination, held, settings, emit)
    elif held.makes_any_diff and request.may_remove:
        partials = tuple(p for p in held.partials if p.uuid in asked_for)
    else:
        partials = ()
    left_out = {step.snapshot.uuid for step in plan.steps if isinstance(step, Skip)}
    going = (
        partial
        for partial in partials
        if not partial.link
        and partial.diff not in coming
        and (partial.checkpoint is None or partial.uuid not in left_out)
        and not going_on(plan, partial)
    )
    return tuple(Clean(partial=p) for p in sorted(going, key=lambda p: p.path))


def _mended(source: Source, request: Request, sizes: _Sizes) -> tuple[Request, Plan]:
    """Plan; where links of stored chains were lost, send these again if that is possible."""
    whole = request.held()
    request = replace(
        request,
        # What is there under the same name, but can't be restored, is in the way of a second one.
        impossible=request.impossible
        | {diff for diff, _ in request.destination.stored if diff.to not in whole},
    )
    healing = find_healing(request)
    if healing is not None:
        _, plan = _readable(source, healing.request, sizes)
        completed = healing.completed(plan)
        if completed is not None:
            return request, completed
    return _readable(source, request, sizes)


def _readable(source: Source, request: Request, sizes: _Sizes) -> tuple[Request, Plan]:
    """Plan with what can be read now; say of what can't that it is archived."""
    request, plan = sizes.settle(request)
    first: dict[UUID | None, Transfer] = {t.diff.to: t for t in plan.transfers}
    archived: dict[Diff, str] = {}
    while unready := source.unready([t.diff for t in plan.transfers]):
        archived.update(unready)
        request, plan = sizes.settle(
            replace(request, impossible=request.impossible | frozenset(unready))
        )
    if not archived:
        return request, plan
    steps = [
        _archived(step, first, archived)
        if isinstance(step, Skip) and step.reason is Reason.UNREACHABLE
        else step
        for step in plan.steps
    ]
    return request, replace(plan, steps=tuple(steps))


def _archived(
    step: Skip, first: Mapping[UUID | None, Transfer], archived: Mapping[Diff, str]
) -> Skip:
    """Say which streams a snapshot would need that are archived, if that is what is wrong."""
    needed: list[Diff] = []
    transfer = first.get(step.snapshot.uuid)
    while transfer is not None:
        if transfer.diff in archived:
            needed.append(transfer.diff)
        transfer = first.get(transfer.diff.parent)
    if not needed:
        return step
    return replace(
        step,
        reason=Reason.ARCHIVED,
        detail="; ".join(archived[diff] for diff in reversed(needed)),
        archived=tuple(reversed(needed)),
    )


class _Sizes:
    """The sizes of diffs that are known, and the means to know more."""

    def __init__(
        self,
        source: Source,
        options: StreamOptions,
        settings: Settings,
        emit: Emit,
    ) -> None:
        self._source = source
        self._options = options
        self._estimate = settings.estimate
        self._emit = emit
        self._done = 0
        self.known: dict[Diff, Size] = {}
        self.impossible: set[Diff] = set()

    def settle(self, request: Request) -> tuple[Request, Plan]:
        """Plan, find out the sizes of what was chosen, and plan again, until all are known."""
        while True:
            request = replace(request, impossible=request.impossible | self.impossible)
            plan = make_plan(request, self.known)
            todo = measurements(request, self.known, plan)
            if not todo:
                return request, plan
            self.measure(todo)

    def measure(self, todo: tuple[Measurement, ...]) -> None:
        """Find out what was asked for; it is in `known` or in `impossible` then."""
        total = self._done + len(todo)
        self._tell(total)
        found = sizes_of(self._source, todo, self._options, estimate=self._estimate)
        for measurement, size in zip(todo, found, strict=True):
            if isinstance(size, ButterSinkError):
                self._give_up(measurement.diff, size)
            else:
                self.known[measurement.diff] = size
            self._done += 1
            self._tell(total)

    def _tell(self, total: int) -> None:
        if not self._estimate:
            self._emit(events.Measuring(done=self._done, total=total))

    def _give_up(self, diff: Diff, error: ButterSinkError) -> None:
        # What the kernel gets wrong is avoided, and a guess that fails says little.
        if self._estimate or isinstance(error, UnfaithfulStreamError):
            _log.info("a way to send can't be used: %s", error)
        else:
            self._emit(events.Warned(message=f"a way to send can't be used: {error}"))
        self.impossible.add(diff)


def _refuse_mass_deletion(plan: Plan, request: Request, settings: Settings) -> None:
    """Refuse to empty a destination that shares nothing with the source: is it the right one?"""
    doomed = {step.path for step in plan.deletes if isinstance(step, Delete | Hide)}
    there = {
        path
        for s in request.destination.snapshots
        if s.uuid not in request.protected
        for path in s.paths
        if path not in request.protected_paths
    }
    if len(there) >= _MASS_DELETION and doomed == there and not settings.force:
        raise RefusedError(
            f"--delete would delete all {len(there)} snapshots of the destination: "
            f"the source has none of them",
            "check that these are the right directories; if so, add --force",
        )
