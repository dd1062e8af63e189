"""Which sizes to find out next where chains are limited: those chosen, and what proves the limits.

Measuring reads metadata for as many bytes of the stream as it counts. That of full streams would
be the dearest by far, so none is measured to the end unless it is to be sent. For the limit to
the bytes of a chain it is enough to know that the full stream is large enough; that follows, as
a rule, from the small stream which turns the snapshot back into its parent.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

from buttersink.model import Diff, Measurement
from buttersink.planning.chain_bounds import least_bytes
from buttersink.planning.measuring import FIRST_LIMIT, LEAST_LIMIT, LIMIT_GROWTH

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from buttersink.model import Chain
    from buttersink.planning.chain_knowledge import ChainKnowledge

_BACK_PART = 16
"""A way back is measured up to this part of what the full stream must have."""

_RESERVE = 4
"""A full stream is measured by this part further than needed, for those that come after it."""


def next_chain_measurements(
    chosen: Mapping[UUID, Diff], costs: Mapping[UUID, Chain], known: ChainKnowledge
) -> tuple[Measurement, ...]:
    """Return what to measure before choosing again; nothing if all is final and proven.

    Each measurement ends with a final size or a higher bound.

    Args:
        chosen: The current choice.
        costs: Its chains.
        known: What it was made with.

    Returns:
        Measurements in an order that does not depend on that of the facts.
    """
    limits: dict[Diff, int | None] = {}
    for snapshot in known.missing:
        diff = chosen.get(snapshot.uuid)
        if diff is not None and known.final(diff) is None:
            limits.update(_limits(diff, known))
    if not limits:
        limits = _proofs(chosen, costs, known)
    return tuple(Measurement(diff=diff, limit=limit) for diff, limit in limits.items())


def _limits(chosen: Diff, known: ChainKnowledge) -> dict[Diff, int | None]:
    """Return what to measure for one snapshot, whose chosen diff is not of final size."""
    others = [d for d in known.near_of(chosen.to) if d.parent is not None]
    sizes = [known.sizes.get(d) for d in known.diffs_of(chosen.to) if d.parent is not None]
    if others and not any(sizes):
        # Nothing is known yet. What makes a snapshot of its neighbour tells most; the first of
        # a history is needed in full, whatever that takes.
        if chosen.parent is None and chosen.to not in known.course.relatives:
            return {chosen: None}
        return {chosen if chosen in others else known.course.nearest(others): FIRST_LIMIT}
    return _more_limits(chosen, known)


def _more_limits(chosen: Diff, known: ChainKnowledge) -> dict[Diff, int | None]:
    near = known.near_of(chosen.to)
    finals = [n for d in known.diffs_of(chosen.to) if (n := known.final(d)) is not None]
    bounds = {d: least_bytes(known.sizes.get(d)) for d in near}
    if chosen.parent is None:
        if finals and known.expected[chosen] <= (limit := max(min(finals), LEAST_LIMIT)):
            return {chosen: limit}
        if finals or len(near) == 1:
            return {chosen: None}
    elif chosen not in bounds:
        # It would only shorten the chain, and what a full stream takes is too much for that.
        full = known.expected.get(Diff(chosen.to), 0)
        return {chosen: max(full, LEAST_LIMIT) if full else None}
    if finals:
        limit = max(min(finals), LEAST_LIMIT)
        return {
            d: limit for d in near if known.final(d) is None and known.expected[d] <= limit
        } or {chosen: None}
    # A race: all grow step by step until one of them ends, the full stream one step behind.
    behind = min((bounds[d] for d in near if d.parent is not None), default=0)
    ahead = max(FIRST_LIMIT, LIMIT_GROWTH * behind)
    limits = {d: max(FIRST_LIMIT, behind) if d.parent is None else ahead for d in near}
    return {d: limit for d, limit in limits.items() if bounds[d] <= limit} or {chosen: None}


def _proofs(
    chosen: Mapping[UUID, Diff], costs: Mapping[UUID, Chain], known: ChainKnowledge
) -> dict[Diff, int | None]:
    """Return what to measure to prove that no chain has too many bytes.

    A way back that was not looked at is hoped to be empty, so that a whole series of them is
    measured at once.
    """
    limits: dict[Diff, int | None] = {}
    if known.limits.factor == float("inf"):
        return limits
    hoped = dict(known.fulls.least)
    sendable = known.ranks.keys() - known.request.source.parents_only
    # By links, so that each comes after its parent.
    for uuid in sorted(chosen, key=lambda uuid: (costs[uuid].links, known.ranks[uuid])):
        diff, full = chosen[uuid], Diff(uuid)
        needed = _needed(costs[uuid], known)
        if diff.parent is None or hoped.get(uuid, 0) >= needed:
            continue
        if full in known.request.impossible or known.final(full) is not None:
            continue
        for anchor in _anchors(diff.parent, known):
            back = Diff(anchor, uuid)
            room = hoped.get(anchor, 0) - needed
            limit = max(LEAST_LIMIT, min(room, needed // _BACK_PART))
            if room <= 0 or back in known.request.impossible or anchor not in sendable:
                continue
            if known.final(back) is None and least_bytes(known.sizes.get(back)) <= limit:
                limits[back] = limit
                hoped[uuid] = hoped[anchor]
                break
        else:
            limits[full] = hoped[uuid] = needed + needed // _RESERVE
    return limits


def _needed(chain: Chain, known: ChainKnowledge) -> int:
    """Return the bytes that the full stream must have for the chain to be within the limit."""
    fraction = Fraction(known.limits.factor) * Fraction(known.limits.stored_fraction)
    return ceil(chain.nbytes / fraction)


def _anchors(parent: UUID, known: ChainKnowledge) -> tuple[UUID, ...]:
    """Return the snapshots whose full streams may tell about one that builds on `parent`."""
    streams = known.chains.streams(parent)
    return (parent, streams[0].to) if streams and streams[0].to != parent else (parent,)
