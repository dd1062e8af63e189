"""Which way to choose diffs applies between two ends, and what it chooses.

Where any diff can be made and only the bytes sent count: `branching`. Where any can be made, but
the chains of stored streams have to stay within limits: `chaining`. Where there are just the
streams that are stored: `relaying`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from buttersink.planning.branching import branch, branch_measurements
from buttersink.planning.candidates import chronology
from buttersink.planning.chaining import (
    ChainChoice,
    ChainRequest,
    chain_measurements,
    choose_chains,
)
from buttersink.planning.relaying import relay
from buttersink.planning.routes import NO_DIFF, NOTHING_KNOWN, Route, Routes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from buttersink.model import ChainLimits, Diff, Measurement, Size, Snapshot
    from buttersink.plan import Transfer
    from buttersink.planning.request import Request


def find_routes(
    request: Request,
    missing: Sequence[Snapshot],
    sizes: Mapping[Diff, Size],
    *,
    refused: Iterable[Snapshot] = (),
) -> Routes:
    """Choose the diffs that bring `missing` to the destination.

    Args:
        request: What is asked for.
        missing: Those of the wanted snapshots that have to be sent, by time.
        sizes: Known sizes, of any diffs; see `planner.make_plan`.
        refused: Snapshots that were asked for as well, but for which there is no place.
    """
    if not request.source.makes_any_diff:
        return _relayed(request, missing, refused)
    if request.limits is not None:
        return _chained(request, missing, request.limits, sizes)
    return branch(request, missing, request.held(), sizes)


def route_measurements(
    request: Request, chosen: Sequence[Transfer], sizes: Mapping[Diff, Size]
) -> tuple[Measurement, ...]:
    """Return what to measure before choosing again; nothing if the choice is final.

    Args:
        request: What is asked for.
        chosen: The choice.
        sizes: Sizes with which it was made.
    """
    if not request.source.makes_any_diff:
        return ()
    missing = sorted((t.snapshot for t in chosen), key=chronology)
    diffs = {t.diff.to: t.diff for t in chosen}
    if request.limits is None:
        return branch_measurements(request, missing, request.held(), sizes, diffs.values())
    choice = ChainChoice(
        chosen=diffs,
        costs={t.diff.to: t.chain for t in chosen if t.chain is not None},
        reasons={t.diff.to: t.reason for t in chosen},
    )
    return chain_measurements(_chain_request(request, missing, request.limits), sizes, choice)


def _relayed(request: Request, missing: Iterable[Snapshot], refused: Iterable[Snapshot]) -> Routes:
    impossible = request.impossible
    if not request.destination.makes_any_diff:
        # A link is stored at the path of its snapshot; one to subvolumes needs no path.
        barred = {snapshot.uuid for snapshot in refused}
        impossible |= {diff for diff, _ in request.source.stored if diff.to in barred}
    return relay(
        request.source,
        wanted={snapshot.uuid for snapshot in missing},
        held=request.held(),
        impossible=impossible,
    )


def _chained(
    request: Request,
    missing: Sequence[Snapshot],
    limits: ChainLimits,
    sizes: Mapping[Diff, Size],
) -> Routes:
    reachable = missing
    while True:
        choice = choose_chains(_chain_request(request, reachable, limits), sizes)
        if len(choice.chosen) == len(reachable):
            break
        # A snapshot that can't be read stood between its neighbours: they are neighbours now.
        reachable = [s for s in reachable if s.uuid in choice.chosen]
    return Routes(
        found={
            uuid: Route(
                diff=diff,
                size=sizes.get(diff, NOTHING_KNOWN),
                reason=choice.reasons[uuid],
                chain=choice.costs[uuid],
            )
            for uuid, diff in choice.chosen.items()
        },
        unreachable={s.uuid: NO_DIFF for s in missing if s.uuid not in choice.chosen},
    )


def _chain_request(
    request: Request, missing: Sequence[Snapshot], limits: ChainLimits
) -> ChainRequest:
    return ChainRequest(
        source=request.source,
        missing=tuple(missing),
        stored=request.destination.stored,
        limits=limits,
        impossible=request.impossible,
    )
