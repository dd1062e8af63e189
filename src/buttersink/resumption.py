"""What a run makes of transfers that earlier runs had to break off: facts → costs → steps. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from buttersink.plan import Transfer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buttersink.model import (
        Checkpoint,
        Diff,
        Inventory,
        Partial,
        Snapshot,
        StreamOptions,
    )
    from buttersink.plan import Plan, Step

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
        known = checkpoint.expected
        possible = possible and (known is None or checkpoint.position.plain_bytes <= known)
        if possible and _directory(partial.path) in places.get(partial.uuid, {""}):
            kept.setdefault(checkpoint.diff, checkpoint)
    return kept


def with_resumptions(plan: Plan, kept: Kept, *, counted: bool) -> Plan:
    """Say of each transfer what it goes on from, and count only what is still to be sent.

    Args:
        plan: What was planned.
        kept: What can be gone on with.
        counted: Whether sizes are those of plain streams.
    """
    steps: list[Step] = []
    for step in plan.steps:
        if not isinstance(step, Transfer):
            steps.append(step)
            continue
        checkpoint = kept.get(step.diff)
        sent = checkpoint.position.plain_bytes if checkpoint and counted else 0
        resumed = min(sent, step.size.nbytes)
        rest = replace(step.size, nbytes=step.size.nbytes - resumed)
        steps.append(
            replace(step, size=rest, resume=checkpoint, resumed_bytes=resumed, plain=counted)
        )
    return replace(plan, steps=tuple(steps))


def going_on(plan: Plan, partial: Partial) -> bool:
    """Return whether a transfer of the plan goes on from a leftover."""
    return partial.checkpoint is not None and any(
        transfer.resume == partial.checkpoint
        and _directory(partial.path) == ("" if transfer.link else _directory(transfer.path))
        for transfer in plan.transfers
        if transfer.diff.to == partial.uuid
    )


def _directory(path: str) -> str:
    return path.rpartition("/")[0]
