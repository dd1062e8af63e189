"""Histories to store as streams, with sizes by simple rules or by contents."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from buttersink.model import Certainty, Chain, ChainLimits, Diff, Size, Snapshot
from buttersink.planning.chain_knowledge import ChainKnowledge
from buttersink.planning.chaining import (
    ChainChoice,
    ChainRequest,
    chain_measurements,
    choose_chains,
)
from support.planning_worlds import inventory, series, uuid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from random import Random
    from uuid import UUID

    from buttersink.model import Measurement

    Rule = Callable[[Diff], int]
    """Bytes of the plain stream of a diff."""

FREE = ChainLimits(links=1000, factor=float("inf"))


def diff(to: int, parent: int | None = None) -> Diff:
    return Diff(uuid(to), None if parent is None else uuid(parent))


def storing(
    snapshots: Sequence[Snapshot],
    *,
    stored: Mapping[Diff, int] | None = None,
    limits: ChainLimits = FREE,
    look_ahead: bool = False,
) -> ChainRequest:
    """Return a request for all that the stored streams don't bring."""
    there = {d.to for d in stored or {}}
    return ChainRequest(
        source=inventory(snapshots),
        missing=tuple(s for s in snapshots if s.uuid not in there),
        stored=tuple((d, Size(nbytes)) for d, nbytes in (stored or {}).items()),
        limits=limits,
        look_ahead=look_ahead,
    )


def sized(sizes: Mapping[tuple[int, int | None], int]) -> dict[Diff, Size]:
    return {diff(*ends): Size(nbytes) for ends, nbytes in sizes.items()}


def sends(choice: ChainChoice) -> list[tuple[int, int | None]]:
    ends = sorted(choice.chosen.values(), key=lambda d: d.to.int)
    return [(d.to.int, d.parent.int if d.parent else None) for d in ends]


def all_sizes(request: ChainRequest, rule: Rule) -> dict[Diff, Size]:
    """Return the sizes of all diffs that are considered."""
    return {d: Size(rule(d)) for d in ChainKnowledge.of(request, {}).candidates.diffs()}


def some_sizes(random: Random, request: ChainRequest) -> dict[Diff, Size]:
    """Return sizes without rhyme or reason."""
    return {
        d: Size(random.randint(50, 200) if d.parent is None else random.randint(1, 100))
        for d in ChainKnowledge.of(request, {}).candidates.diffs()
    }


def total(choice: ChainChoice, sizes: Mapping[Diff, Size]) -> int:
    return sum(sizes[d].nbytes for d in choice.chosen.values())


def some_request(random: Random, *, least: int = 2, most: int) -> ChainRequest:
    """Return a request for a few snapshots, of which some are stored, with narrow limits."""
    snapshots = series(random.randint(least, most))
    limits = ChainLimits(
        links=random.randint(1, 4), factor=random.choice((1.0, 1.2, 1.5, 2.0, float("inf")))
    )
    stored: dict[Diff, int] = {}
    for number in range(1, random.randint(1, len(snapshots))):
        parent = number - 1 if number > 1 and random.random() < 0.8 else None
        stored[diff(number, parent)] = random.randint(10, 100) if parent else 100
    return storing(snapshots, stored=stored, limits=limits)


def best_of_all(request: ChainRequest, sizes: Mapping[Diff, Size]) -> int:
    """Return the fewest bytes within the limits, found by trying every choice that may be best."""
    known = ChainKnowledge.of(request, sizes)
    options = [
        sorted(known.diffs_of(s.uuid), key=lambda d: sizes[d].nbytes) for s in request.missing
    ]
    rest = [sum(sizes[several[0]].nbytes for several in options[n:]) for n in range(len(options))]
    best = sum(sizes[Diff(s.uuid)].nbytes for s in request.missing)

    def extend(chosen: dict[UUID, Diff], spent: int) -> None:
        nonlocal best
        if len(chosen) == len(options):
            if kept(request, sizes, chosen):
                best = spent
            return
        for d in options[len(chosen)]:
            nbytes = spent + sizes[d].nbytes
            if nbytes + sum(rest[len(chosen) + 1 : len(chosen) + 2]) >= best:
                break
            extend({**chosen, d.to: d}, nbytes)

    extend({}, 0)
    return best


def kept(request: ChainRequest, sizes: Mapping[Diff, Size], chosen: Mapping[UUID, Diff]) -> bool:
    """Whether the diffs make chains, and all of them are within the limits."""
    return all(
        (chain := chain_of(request, sizes, chosen, d)) is not None
        and chain.links <= request.limits.links
        and chain.nbytes
        <= request.limits.factor * round(request.limits.stored_fraction * sizes[Diff(d.to)].nbytes)
        for d in chosen.values()
    )


def chain_of(
    request: ChainRequest, sizes: Mapping[Diff, Size], chosen: Mapping[UUID, Diff], last: Diff
) -> Chain | None:
    """Follow a chain link by link; None if it ends in a circle or nowhere."""
    stored = {d.to: (d, size.nbytes) for d, size in request.stored}
    links = nbytes = 0
    step: Diff | None = last
    while step is not None:
        links += 1
        if links > len(chosen) + len(stored):
            return None
        if step.to in chosen:
            nbytes += round(request.limits.stored_fraction * sizes[step].nbytes)
        else:
            nbytes += stored[step.to][1]
        parent = step.parent
        if parent is None:
            return Chain(links, nbytes)
        step = chosen[parent] if parent in chosen else stored.get(parent, (None, 0))[0]
    return None


@dataclass(kw_only=True)
class Measured:
    """A choice that was made by measuring, and what was measured for it."""

    choice: ChainChoice
    sizes: dict[Diff, Size]
    measurements: list[Measurement]
    rounds: int


def choose_measuring(request: ChainRequest, rule: Rule, *, rounds: int = 60) -> Measured:
    """Choose and measure by turns until the choice is final, as a run does."""
    sizes: dict[Diff, Size] = {}
    done: list[Measurement] = []
    choice = choose_chains(request, sizes)
    count = 0
    while todo := chain_measurements(request, sizes, choice):
        count += 1
        assert count <= rounds, "measuring does not come to an end"
        for measurement in todo:
            nbytes, limit = rule(measurement.diff), measurement.limit
            over = limit is not None and nbytes > limit
            sizes[measurement.diff] = Size(limit or 0, Certainty.AT_LEAST) if over else Size(nbytes)
        done += todo
        choice = choose_chains(request, sizes)
    return Measured(choice=choice, sizes=sizes, measurements=done, rounds=count)


@dataclass(kw_only=True)
class Daily:
    """A destination to which one snapshot a day is stored."""

    stored: dict[Diff, int] = field(default_factory=dict)
    chains: list[Chain] = field(default_factory=list)
    measured: int = 0

    @property
    def nbytes(self) -> int:
        return sum(self.stored.values())


def run_daily(
    days: int, rule: Rule, limits: ChainLimits, *, look_ahead: bool = True, every: int = 1
) -> Daily:
    """Store one snapshot a day, by a run every so many days, with what is known that day."""
    daily = Daily()
    snapshots = series(days)
    for day in range(every - 1, days, every):
        request = storing(
            snapshots[: day + 1], stored=daily.stored, limits=limits, look_ahead=look_ahead
        )
        measured = choose_measuring(request, rule)
        for each, chosen in measured.choice.chosen.items():
            daily.stored[chosen] = round(limits.stored_fraction * rule(chosen))
            daily.chains.append(measured.choice.costs[each])
        daily.measured += len(measured.measurements)
    return daily


def growth(full: int, step: Callable[[int], float]) -> Rule:
    """Return the sizes of a volume that keeps its size while its content changes.

    Args:
        full: Bytes of it all.
        step: Bytes of a diff by the days between.
    """

    def rule(d: Diff) -> int:
        return full if d.parent is None else int(step(abs(d.to.int - d.parent.int)))

    return rule


def best_in_hindsight(days: int, links: int, full: int, step: Callable[[int], float]) -> int:
    """Return the fewest bytes for `growth` that could have kept the limit to links.

    As far diffs take no less than near ones, each builds on the newest of those that are shallow
    enough. So the last child of a full stream divides the time after it: what comes
    before hangs on the full stream, what comes after on the child. The limit to bytes is left
    out, so it may be a bit less than is possible.
    """
    steps = [0, *(int(step(n)) for n in range(1, days + 1))]
    below = [0, *[1 << 60] * days]  # by days: what they take below a snapshot, with so many links
    for _ in range(links - 1):
        further = [0]
        for n in range(1, days + 1):
            further.append(min(further[j - 1] + steps[j] + below[n - j] for j in range(1, n + 1)))
        below = further
    best = [0]
    for n in range(1, days + 1):
        best.append(min(best[j] + full + below[n - j - 1] for j in range(n)))
    return best[days]
