"""One run a day for a long time: what looking ahead is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buttersink.model import ChainLimits
from support.chain_worlds import best_in_hindsight, growth, run_daily

if TYPE_CHECKING:
    from collections.abc import Callable

MB = 10**6
LIMITS = ChainLimits(links=20, factor=2.0)
COURSES: dict[str, Callable[[int], float]] = {
    "new data daily": lambda days: MB * days,
    "kept for 30 days": lambda days: MB * min(days, 30),
    "the same data again": lambda days: MB * days**0.5,
}


@pytest.mark.parametrize("course", COURSES)
def test_daily_runs_store_little_more_than_the_best_in_hindsight(course: str) -> None:
    step = COURSES[course]
    rule = growth(300 * MB, step)
    daily = run_daily(120, rule, LIMITS)
    assert max(chain.links for chain in daily.chains) <= LIMITS.links
    assert max(chain.nbytes for chain in daily.chains) <= LIMITS.factor * 300 * MB
    assert daily.nbytes <= 1.1 * best_in_hindsight(120, LIMITS.links, 300 * MB, step)
    assert daily.measured <= 6 * 120


def test_without_looking_ahead_each_run_at_the_limit_goes_back_one_day_further() -> None:
    rule = growth(300 * MB, COURSES["kept for 30 days"])
    blind = run_daily(120, rule, LIMITS, look_ahead=False)
    # 1 MB a day until the limit, then 30 MB for nearly every day.
    assert blind.nbytes > 2 * run_daily(120, rule, LIMITS).nbytes


def test_weekly_runs_keep_room_for_those_that_follow() -> None:
    rule = growth(300 * MB, COURSES["new data daily"])
    weekly = run_daily(84, rule, LIMITS, every=7)
    assert max(chain.links for chain in weekly.chains) <= LIMITS.links
    best = best_in_hindsight(84, LIMITS.links, 300 * MB, COURSES["new data daily"])
    assert weekly.nbytes <= 1.1 * best
