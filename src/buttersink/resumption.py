"""What a run makes of transfers that earlier runs had to break off: facts → costs → steps. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from buttersink.model import Certainty, Size
from buttersink.plan import Transfer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from buttersink.model import Checkpoint, Diff, Inventory, Measurement, Snapshot, StreamOptions
    from buttersink.plan import Plan

Kept = dict["Diff", "Checkpoint"]
"""What is kept of diffs that were interrupted."""


def kept_of(
    held: Inventory,
    wanted: Iterable[Snapshot],
    *,
    made: StreamOptions,
    options: StreamOptions,
) -> Kept:
    """Return what can be gone on with.

    That a leftover lies in the directory that its snapshot comes to is checked as well: receiving
    looks nowhere else.

    Args:
        held: What the destination has.
        wanted: Snapshots that are asked for. Others would come as links.
        made: The most capable streams that the source makes.
        options: How streams are made in this run.
    """
    places = {s.uuid: {_directory(path) for path in s.paths} for s in wanted}
    kept: Kept = {}
    for partial in held.partials:
        checkpoint = partial.checkpoint
        if checkpoint is None or checkpoint.diff.to != partial.uuid:
            continue
        # What is compressed in it makes no difference to how a plain stream is counted.
        possible = checkpoint.options.version == options.version and (
            made.compressed or not checkpoint.options.compressed
        )
        if possible and _directory(partial.path) in places.get(partial.uuid, {""}):
            kept[checkpoint.diff] = checkpoint
    return kept


def rest_limit(measurement: Measurement, kept: Kept) -> Measurement:
    """Return what to measure, so that the rest of a diff is known up to its limit."""
    checkpoint = kept.get(measurement.diff)
    if checkpoint is None or measurement.limit is None:
        return measurement
    return replace(measurement, limit=measurement.limit + checkpoint.position.plain_bytes)


def rest_size(diff: Diff, size: Size, kept: Kept) -> Size:
    """Return how much of a diff of this size is still to be sent."""
    checkpoint = kept.get(diff)
    if checkpoint is None or size.certainty is Certainty.UNKNOWN:
        return size
    return Size(max(0, size.nbytes - checkpoint.position.plain_bytes), size.certainty)


def with_resumptions(plan: Plan, kept: Kept, *, counted: bool) -> Plan:
    """Say of each transfer what it goes on from.

    Args:
        plan: What was planned.
        kept: What can be gone on with.
        counted: Whether the sizes in the plan are those of the rests.
    """
    steps = tuple(
        replace(
            step,
            resume=kept[step.diff],
            resumed_bytes=kept[step.diff].position.plain_bytes if counted else 0,
        )
        if isinstance(step, Transfer) and step.diff in kept
        else step
        for step in plan.steps
    )
    return replace(plan, steps=steps)


def going_on(plan: Plan, uuid: UUID | None, checkpoint: Checkpoint | None) -> bool:
    """Return whether a transfer of the plan goes on from a leftover."""
    return checkpoint is not None and any(
        transfer.resume == checkpoint for transfer in plan.transfers if transfer.diff.to == uuid
    )


def _directory(path: str) -> str:
    return path.rpartition("/")[0]
