"""Two ways to do one thing, timed in turns, and how their times compare.

A machine has slow and fast minutes. Two contestants that take turns meet the same ones, so the
ratio within a pair says more than either time, and the median of a few pairs more than one.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much a run of benchmarks does.

    Attributes:
        pairs: How often two contestants take turns.
        many_pairs: The same where one turn takes well under a second.
        divisor: What the amounts of data are divided by.
    """

    pairs: int
    many_pairs: int
    divisor: int


DEFAULT = Extent(pairs=3, many_pairs=15, divisor=1)
QUICK = Extent(pairs=1, many_pairs=3, divisor=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the result.

    Attributes:
        what: What is compared with what.
        ratios: One for each pair: ours divided by the other's; below 1 is better than the other.
        aim: The median that is wanted at most; None where there is none.
        note: Absolute numbers and facts beside the ratio.
    """

    what: str
    ratios: tuple[float, ...]
    aim: float | None = None
    note: str = ""

    def line(self) -> str:
        """Return the line to print."""
        median = statistics.median(self.ratios)
        text = f"{self.what:<58} {median:7.3f}  ({min(self.ratios):.3f} to {max(self.ratios):.3f})"
        if self.aim is not None:
            text += f"  aim {self.aim:g}: {'met' if median <= self.aim else 'MISSED'}"
        return f"{text}  [{self.note}]" if self.note else text


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def alternate(pairs: int, one: Callable[[], T], other: Callable[[], U]) -> list[tuple[T, U]]:
    """Let two contestants take turns; return the result of each, pair by pair.

    Who begins changes with each pair, as the first may leave something to the second.
    """
    results = []
    for number in range(pairs):
        if number % 2 == 0:
            mine = one()
            yours = other()
        else:
            yours = other()
            mine = one()
        results.append((mine, yours))
    return results


def figure(
    what: str, pairs: Iterable[tuple[float, float]], *, aim: float | None = None, note: str = ""
) -> Figure:
    """Return the figure of seconds measured in pairs: ours, the other's."""
    seconds = list(pairs)
    mine = _median_seconds([ours for ours, _ in seconds])
    yours = _median_seconds([others for _, others in seconds])
    return Figure(
        what=what,
        ratios=tuple(ours / others for ours, others in seconds),
        aim=aim,
        note=f"{mine} / {yours}{', ' if note else ''}{note}",
    )


def _median_seconds(seconds: Sequence[float]) -> str:
    median = statistics.median(seconds)
    return f"{median:.2f} s" if median >= 1 else f"{median * 1000:.0f} ms"
