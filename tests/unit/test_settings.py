"""Which snapshots a run leaves alone."""

from __future__ import annotations

import re

import pytest

from buttersink.settings import Settings


def patterns(*texts: str) -> tuple[re.Pattern[str], ...]:
    return tuple(map(re.compile, texts))


@pytest.mark.parametrize(
    ("excludes", "only", "left_alone"),
    [
        ((), (), []),
        (("1/",), (), ["1/snapshot"]),
        ((), ("1/",), ["12/snapshot", "other"]),
        ((), ("1/", "o"), ["12/snapshot"]),
        (("1/",), ("1",), ["1/snapshot", "other"]),
        ((), ("snapshot",), ["1/snapshot", "12/snapshot", "other"]),
    ],
)
def test_patterns_match_from_the_start_of_a_path(
    excludes: tuple[str, ...], only: tuple[str, ...], left_alone: list[str]
) -> None:
    settings = Settings(excludes=patterns(*excludes), only=patterns(*only))
    paths = ["1/snapshot", "12/snapshot", "other"]
    assert [path for path in paths if settings.excluded(path)] == left_alone
