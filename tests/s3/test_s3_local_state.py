"""Locks and journals on this machine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import BusyError, UsageError
from buttersink.stores.s3.local_state import LocalState

if TYPE_CHECKING:
    from pathlib import Path


def _is_busy(state: LocalState, prefix: str) -> bool:
    try:
        with state.lock(prefix, f"s3://bucket/{prefix}"):
            return False
    except BusyError as error:
        return f"s3://bucket/{prefix}" in error.message


def test_only_one_run_works_on_what_lies_below_a_prefix(tmp_path: Path) -> None:
    one, other = LocalState(str(tmp_path), "shelf"), LocalState(str(tmp_path), "shelf")
    prefixes = ["a/b/", "a/", "", "a/b/c/", "a/c/", "a/bb/", "b/"]
    with one.lock("a/b/", "it"), ThreadPoolExecutor(len(prefixes)) as pool:
        busy = list(pool.map(lambda prefix: _is_busy(other, prefix), prefixes[:4]))
        assert busy == [True] * 4
        assert not any(_is_busy(other, prefix) for prefix in prefixes[4:])
    assert not any(_is_busy(other, prefix) for prefix in prefixes)


def test_buckets_have_locks_and_journals_of_their_own(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "s3"
    one, other = LocalState(str(directory), "aws/one"), LocalState(str(directory), "aws/other")
    with one.lock("a/", "it"):
        assert not _is_busy(other, "a/")
    paths = {state.journal_path(key) for state in (one, other) for key in ("p/a", "p/b")}
    assert len(paths) == 4
    assert one.journal_path("p/a") in paths
    assert directory.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_cant_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    state = LocalState(str(tmp_path / "file" / "state"), "shelf")
    with pytest.raises(UsageError, match="file/state can't be used"):
        state.journal_path("key")
