"""Restoring one snapshot: what it builds on comes too, and is gone again at the end."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from support.command import Run, buttersink, directory, sync
from support.history import simple_history
from support.kernel_calls import snapshot_read_only
from support.loopfs import run as run_program
from support.processes import Background, wait_until
from support.stored_ends import StoredEnd, in_a_directory, snapshots_below
from support.tree import assert_same_tree

if TYPE_CHECKING:
    from pathlib import Path

    from support.loopfs import LoopFs

MIB = 1 << 20
COUNT = 5
NAMES = ["5", "4", "3", "2", "1"]  # to take away what is new takes fewer bytes than to send it
LAST = "1"
TRIES = 20


@pytest.fixture
def originals(fs_a: LoopFs, stored_end: StoredEnd) -> list[Path]:
    """Return snapshots that are stored, each on the one before it; the last one is LAST."""
    snapshots = {path.name: path for path in simple_history(fs_a, COUNT)}
    steps = sync(fs_a.path / "snaps", stored_end.url).steps("send")
    names = [step["path"] for step in steps]
    parents = [step["parent"] and step["parent"]["path"] for step in steps]
    assert (parents, names) == ([None, *names[:-1]], NAMES)
    return [snapshots[name] for name in names]


@pytest.fixture
def goal(fs_b: LoopFs) -> Path:
    path = fs_b.path / "restored"
    path.mkdir()
    return path


def restore_one(end: StoredEnd, name: str, goal: Path) -> Run:
    """Restore one snapshot; that must succeed."""
    done = buttersink("--json", end.url + name, directory(goal))
    assert (done.status, done.stderr) == (0, "")
    return done


def listed_by_btrfs(fs: LoopFs) -> list[str]:
    """Return the paths of all subvolumes of a file system, as btrfs-progs tell them."""
    lines = run_program("btrfs", "subvolume", "list", fs.path).splitlines()
    return sorted(line.partition(" path ")[2] for line in lines)


def sent(done: Run, *, links: bool) -> list[str]:
    return [step["path"] for step in done.steps("send") if step["link"] == links]


class TestOneSnapshot:
    def test_comes_alone(
        self, stored_end: StoredEnd, originals: list[Path], fs_b: LoopFs, goal: Path
    ) -> None:
        before = stored_end.traces()

        done = restore_one(stored_end, LAST, goal)

        assert listed_by_btrfs(fs_b) == [f"restored/{LAST}"]
        assert os.listdir(goal) == [LAST]
        assert_same_tree(originals[-1], goal / LAST)
        assert sent(done, links=True) == NAMES[:-1]
        assert sorted(done.paths("release")) == sorted(NAMES[:-1])
        assert len(done.named("released")) == COUNT - 1
        assert stored_end.traces() == before

    @in_a_directory
    @pytest.mark.usefixtures("originals")
    def test_again_changes_nothing(self, stored_end: StoredEnd, fs_b: LoopFs, goal: Path) -> None:
        restore_one(stored_end, LAST, goal)
        again = restore_one(stored_end, LAST, goal)

        assert (again.steps("send"), again.paths("keep")) == ([], [LAST])
        assert listed_by_btrfs(fs_b) == [f"restored/{LAST}"]

    def test_starts_from_what_is_there_and_leaves_it_there(
        self, stored_end: StoredEnd, originals: list[Path], goal: Path
    ) -> None:
        restore_one(stored_end, "3", goal)

        done = restore_one(stored_end, LAST, goal)

        assert (sent(done, links=True), sent(done, links=False)) == (["2"], [LAST])
        assert snapshots_below(goal) == [LAST, "3"]
        assert_same_tree(originals[2], goal / "3")
        assert_same_tree(originals[-1], goal / LAST)

    @in_a_directory
    def test_starts_from_what_is_elsewhere_on_the_file_system_and_leaves_it_there(
        self, stored_end: StoredEnd, originals: list[Path], fs_b: LoopFs, goal: Path
    ) -> None:
        elsewhere = fs_b.path / "elsewhere"
        elsewhere.mkdir()
        restore_one(stored_end, "4", elsewhere)

        done = restore_one(stored_end, "2", goal)

        assert (sent(done, links=True), sent(done, links=False)) == (["3"], ["2"])
        assert listed_by_btrfs(fs_b) == ["elsewhere/4", "restored/2"]
        assert_same_tree(originals[3], goal / "2")

    @in_a_directory
    @pytest.mark.usefixtures("originals")
    def test_that_is_not_there_is_an_error_that_tells_of_the_slash(
        self, stored_end: StoredEnd, goal: Path
    ) -> None:
        done = buttersink(stored_end.url + "6", directory(goal))

        assert done.status == 2
        assert "there is none called 6" in done.stderr
        assert f"{stored_end.url}6/" in done.stderr
        assert os.listdir(goal) == []


@in_a_directory
class TestSnapshotsInDirectoriesOfTheirOwn:
    """As snapper lays them out: each has the same name, and the chain runs through them all."""

    @pytest.fixture
    def stored(self, fs_a: LoopFs, stored_end: StoredEnd) -> Path:
        """Return the snapshot at the end of the chain."""
        numbered = fs_a.path / "numbered"
        for original in simple_history(fs_a, 3):
            (numbered / original.name).mkdir(parents=True)
            snapshot_read_only(original, numbered / original.name / "snapshot")
        last = sync(numbered, stored_end.url).steps("send")[-1]
        assert last["parent"] is not None
        return numbered / str(last["path"])

    def test_one_of_them_is_chosen_with_only(
        self, stored_end: StoredEnd, stored: Path, fs_b: LoopFs, goal: Path
    ) -> None:
        number = stored.parent.name
        done = buttersink("--only", f"{number}/", stored_end.url, directory(goal))
        assert done.status == 0, done.stderr
        assert listed_by_btrfs(fs_b) == [f"restored/{number}/snapshot"]
        assert_same_tree(stored, goal / number / "snapshot")

    def test_naming_one_whose_chain_lies_elsewhere_tells_of_only(
        self, stored_end: StoredEnd, stored: Path, goal: Path
    ) -> None:
        done = buttersink(f"{stored_end.url}{stored.parent.name}/snapshot", directory(goal))
        assert (done.status, os.listdir(goal)) == (3, [])
        assert "choose with --only" in done.stderr


class TestKilledRestores:
    """What is left over serves the next run, and is gone after it."""

    @pytest.mark.parametrize("links", range(COUNT - 1))
    def test_of_one_snapshot_are_gone_on_with(
        self,
        stored_end: StoredEnd,
        originals: list[Path],
        fs_b: LoopFs,
        goal: Path,
        links: int,
    ) -> None:
        left = kill_with_links(stored_end.url + LAST, goal, links)

        done = restore_one(stored_end, LAST, goal)

        assert len(sent(done, links=True)) == COUNT - 1 - left
        assert listed_by_btrfs(fs_b) == [f"restored/{LAST}"]
        assert_same_tree(originals[-1], goal / LAST)

    @pytest.mark.usefixtures("originals")
    def test_that_only_had_links_to_release_are_finished(
        self, stored_end: StoredEnd, fs_b: LoopFs, goal: Path
    ) -> None:
        with Background(stored_end.url + LAST, directory(goal)) as run:
            wait_until(lambda: run.ended() or (goal / LAST).exists(), "the snapshot was there")
            run.send_all(signal.SIGKILL)
            run.wait()
            run.wait_for_all()

        restore_one(stored_end, LAST, goal)

        assert listed_by_btrfs(fs_b) == [f"restored/{LAST}"]

    def test_leave_nothing_in_the_way_of_restoring_everything(
        self, stored_end: StoredEnd, originals: list[Path], fs_b: LoopFs, goal: Path
    ) -> None:
        kill_with_links(stored_end.url + LAST, goal, 2)

        sync(stored_end.url, goal)

        assert listed_by_btrfs(fs_b) == [f"restored/{name}" for name in sorted(NAMES)]
        for path in originals:
            assert_same_tree(path, goal / path.name)


def kill_with_links(source: str, goal: Path, links: int) -> int:
    """Kill a restore while it receives the next stream after so many links.

    Returns:
        The number of links that are left over: it may be quicker than the kill.
    """
    for _ in range(TRIES):
        with Background(source, directory(goal)) as run:
            wait_until(
                lambda: run.ended() or (len(hidden(goal, ".link")) == links and run.receiver()),
                "a stream was received",
            )
            run.send_all(signal.SIGKILL)
            run.wait()
            run.wait_for_all()
        if not (goal / LAST).exists():
            left = len(hidden(goal, ".link"))
            assert left >= links
            return left
        start_over(goal)
    raise AssertionError("it was too quick each time")


def start_over(goal: Path) -> None:
    """Let nothing have been restored."""
    for name in os.listdir(goal):
        run_program("btrfs", "--quiet", "subvolume", "delete", goal / name)


def hidden(goal: Path, ending: str) -> list[str]:
    return [name for name in os.listdir(goal) if name.startswith(".") and name.endswith(ending)]
