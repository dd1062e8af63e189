"""Deleting where streams are stored: only what nothing needs goes, and only to the trash."""

from __future__ import annotations

import os
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from support.command import Run, buttersink, directory, sync
from support.history import many_snapshots, simple_history
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run as run_program
from support.stored_ends import (
    StoredEnd,
    assert_restores,
    in_a_directory,
    snapshots_below,
    streams,
)
from support.subvolume_facts import identity

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from support.loopfs import LoopFs

MIB = 1 << 20
REMOVALS = {"deleted", "hidden", "discarded"}


@pytest.fixture
def originals(fs_a: LoopFs, stored_end: StoredEnd) -> dict[str, Path]:
    """Return snapshots that are stored: 3 whole, then 2 and 1, each on the one before it."""
    found = {path.name: path for path in simple_history(fs_a, 3)}
    assert sync(fs_a.path / "snaps", stored_end.url).paths("send") == ["3", "2", "1"]
    return found


@pytest.fixture
def with_rubbish(fs_a: LoopFs, stored_end: StoredEnd) -> dict[str, Path]:
    """Return snapshots that are stored, of which the second has a MiB that no other one has."""
    (fs_a.path / "snaps").mkdir()
    live = fs_a.path / "live"
    create_subvolume(live)
    (live / "kept").write_bytes(Random(1).randbytes(MIB))
    found = {}
    for name in "123":
        (live / name).write_text(name)
        if name == "2":
            (live / "rubbish").write_bytes(Random(2).randbytes(MIB))
        found[name] = fs_a.path / "snaps" / name
        snapshot_read_only(live, found[name])
        sync(fs_a.path / "snaps", stored_end.url)  # at once, so that each builds on the last
        (live / "rubbish").unlink(missing_ok=True)
    return found


def delete(*paths: Path) -> None:
    run_program("btrfs", "--quiet", "subvolume", "delete", *paths)


def without(originals: Mapping[str, Path], *names: str) -> dict[str, Path]:
    """Delete snapshots at the source; return those that are left."""
    delete(*(originals[name] for name in names))
    return {name: path for name, path in originals.items() if name not in names}


def listed(end: StoredEnd) -> dict[str, dict[str, Any]]:
    """Return the snapshots of a listing, hidden ones as well, by where they are."""
    done = buttersink("--json", end.url)
    assert (done.status, done.stderr) == (0, "")
    return {found["path"]: found for found in done.the("listed")["snapshots"]}


def removals(done: Run) -> list[dict[str, Any]]:
    return [event["step"] for event in done.events if event["event"] in REMOVALS]


class TestADryRun:
    def test_tells_exactly_what_is_going_to_be_done(
        self, stored_end: StoredEnd, originals: dict[str, Path], fs_a: LoopFs
    ) -> None:
        without(originals, "1", "3")
        before = stored_end.traces()

        dry = sync(fs_a.path / "snaps", stored_end.url, "--delete", "--dry-run")
        shown = buttersink("-n", "-d", f"{fs_a.path}/snaps/", stored_end.url)
        assert stored_end.traces() == before

        done = sync(fs_a.path / "snaps", stored_end.url, "--delete")

        planned = done.the("planned")
        assert planned["steps"] == dry.the("planned")["steps"]
        assert removals(done) == [
            s for s in planned["steps"] if s["action"] in {"delete", "hide", "discard"}
        ]
        assert {step["path"] for step in removals(done)} == {"1", "3"}
        for step in removals(done):
            assert step["path"] in shown.stdout


class TestWhatIsStillNeeded:
    def test_stays_hidden_until_nothing_needs_it(
        self,
        stored_end: StoredEnd,
        originals: dict[str, Path],
        fs_a: LoopFs,
        fs_b: LoopFs,
    ) -> None:
        left = without(originals, "3")

        done = sync(fs_a.path / "snaps", stored_end.url, "--delete")

        assert done.paths("hide") == ["3"]
        (key,) = streams(stored_end, "3")
        assert f"{key}.hidden" in stored_end.stored_keys()
        shown = listed(stored_end)
        assert {path: s["hidden"] for path, s in shown.items()} == {
            "1": False,
            "2": False,
            "3": True,
        }
        assert_restores(stored_end, left, fs_b.path / "restored")

        again = sync(fs_a.path / "snaps", stored_end.url, "--delete")
        assert not removals(again)

        delete(originals["1"], originals["2"])
        create_subvolume(fs_a.path / "other")
        snapshot_read_only(fs_a.path / "other", fs_a.path / "snaps" / "4")
        sync(fs_a.path / "snaps", stored_end.url, "--delete")
        assert [key for key in streams(stored_end) if "/4/" not in f"/{key}"] == []
        assert [*listed(stored_end)] == ["4"]
        assert not [key for key in stored_end.stored_keys() if key.endswith(".hidden")]

    @in_a_directory
    def test_is_replaced_if_that_is_cheaper(
        self,
        stored_end: StoredEnd,
        with_rubbish: dict[str, Path],
        fs_a: LoopFs,
        fs_b: LoopFs,
    ) -> None:
        before = listed(stored_end)["3"]
        assert before["predecessor"]["path"] == "2", "or there is nothing to replace"
        left = without(with_rubbish, "2")

        done = sync(fs_a.path / "snaps", stored_end.url, "--delete")

        (step,) = done.steps("send")
        assert (step["path"], step["reason"]) == ("3", "replacement")
        assert step["parent"]["path"] == "1"
        assert done.paths("delete") == ["2"]
        assert listed(stored_end).keys() == {"1", "3"}
        assert sum(len(stored_end.read(key)) for key in streams(stored_end)) < 1.5 * MIB
        assert_restores(stored_end, left, fs_b.path / "restored")

    def test_is_shown_again_when_it_comes_back(
        self,
        stored_end: StoredEnd,
        originals: dict[str, Path],
        fs_a: LoopFs,
        fs_b: LoopFs,
    ) -> None:
        sync(fs_a.path / "snaps", fs_b.path)
        without(originals, "3")
        assert sync(fs_a.path / "snaps", stored_end.url, "--delete").paths("hide") == ["3"]

        done = sync(fs_b.path, stored_end.url)

        assert (done.paths("adopt"), done.steps("send")) == (["3"], [])
        assert not any(found["hidden"] for found in listed(stored_end).values())
        copies = {name: fs_b.path / name for name in originals}
        assert_restores(stored_end, copies, fs_a.path / "restored")


class TestAMirror:
    """Subvolumes that follow a source by way of stored streams."""

    @in_a_directory
    def test_loses_what_was_deleted_even_if_it_stays_as_a_link(
        self,
        stored_end: StoredEnd,
        originals: dict[str, Path],
        fs_a: LoopFs,
        fs_b: LoopFs,
    ) -> None:
        sync(stored_end.url, fs_b.path)
        left = without(originals, "3")
        assert sync(fs_a.path / "snaps", stored_end.url, "--delete").paths("hide") == ["3"]

        done = sync(stored_end.url, fs_b.path, "--delete")

        assert (done.paths("delete"), done.steps("send")) == (["3"], [])
        assert snapshots_below(fs_b.path) == sorted(left)
        again = sync(stored_end.url, fs_b.path, "--delete")
        assert (again.steps("send"), removals(again)) == ([], [])


class TestTheTrash:
    def test_is_an_end_to_restore_from(
        self,
        stored_end: StoredEnd,
        originals: dict[str, Path],
        fs_a: LoopFs,
        fs_b: LoopFs,
    ) -> None:
        stored = {key: stored_end.read(key) for key in stored_end.stored_keys()}
        empty = fs_a.path / "nothing"
        empty.mkdir()

        sync(empty, stored_end.url, "--delete", "--force")

        assert stored_end.stored_keys() == sorted(f"trash/{key}" for key in stored)
        assert {key: stored_end.read(f"trash/{key}") for key in stored} == stored
        assert listed(stored_end) == {}
        done = buttersink(stored_end.trash_url, directory(fs_b.path))
        assert done.status == 0, done.stderr
        assert {identity(fs_b.path / name) for name in originals} == {
            identity(path) for path in originals.values()
        }

    @in_a_directory
    def test_is_not_used_if_it_is_not_wanted(
        self, stored_end: StoredEnd, originals: dict[str, Path], fs_a: LoopFs
    ) -> None:
        without(originals, "1")

        sync(fs_a.path / "snaps", stored_end.url, "--delete", "--no-trash")

        assert listed(stored_end).keys() == {"2", "3"}
        assert len(stored_end.stored_keys()) == 2 * 2
        assert not [key for key in stored_end.stored_keys() if key.startswith("trash/")]


@in_a_directory
class TestSafetyRules:
    def test_deleting_all_of_many_must_be_forced(
        self, stored_end: StoredEnd, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        many_snapshots(fs_a, 10)
        sync(fs_a.path / "snaps", stored_end.url)
        simple_history(fs_b, 1)
        before = stored_end.traces()
        ends = (f"{fs_b.path}/snaps/", stored_end.url)

        refused = buttersink("--delete", *ends)

        assert (refused.status, refused.stdout) == (1, "")
        assert "all 10 snapshots" in refused.stderr
        assert "--force" in refused.stderr
        assert stored_end.traces() == before
        sync(*ends, "--delete", "--force")
        assert listed(stored_end).keys() == {"1"}

    def test_deleting_all_but_one_must_be_forced(
        self, stored_end: StoredEnd, originals: dict[str, Path]
    ) -> None:
        before = stored_end.traces()

        refused = buttersink("--delete", originals["2"], stored_end.url)

        assert (refused.status, refused.stdout) == (1, "")
        assert "--force" in refused.stderr
        assert stored_end.traces() == before

    def test_an_empty_source_deletes_nothing(
        self, stored_end: StoredEnd, originals: dict[str, Path], fs_b: LoopFs
    ) -> None:
        refused = buttersink("--delete", directory(fs_b.path), stored_end.url)

        assert refused.status == 1
        assert listed(stored_end).keys() == originals.keys()

    def test_what_is_excluded_stays(
        self, stored_end: StoredEnd, originals: dict[str, Path], fs_a: LoopFs
    ) -> None:
        without(originals, "1")

        done = sync(fs_a.path / "snaps", stored_end.url, "--delete", "--exclude", "1")

        assert not removals(done)
        assert os.listdir(fs_a.path / "snaps") == ["2", "3"]
