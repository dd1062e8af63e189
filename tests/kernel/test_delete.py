"""What --delete deletes, what it never deletes, and that a dry run tells it all before."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from buttersink.model import Diff, StreamOptions
from buttersink.stores.btrfs import BtrfsStore
from contract.arriving import at
from support.command import Run, buttersink, directory, sync
from support.history import simple_history
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run
from support.subvolume_facts import subvolumes, transaction
from support.tree import assert_same_tree, describe

if TYPE_CHECKING:
    from pathlib import Path

    from support.loopfs import LoopFs


def delete(*paths: Path) -> None:
    run("btrfs", "--quiet", "subvolume", "delete", "--commit-after", *paths)


def leave_partial(directory: Path) -> Path:
    """Leave what a killed run leaves: a writable work subvolume with two more inside."""
    path = directory / f".buttersink-{uuid4()}.part"
    create_subvolume(path)
    create_subvolume(path / "new")
    (path / "new" / "file").write_bytes(b"half of it")
    snapshot_read_only(path / "new", path / "parent")
    return path


@pytest.fixture
def ends(fs_a: LoopFs, fs_b: LoopFs) -> tuple[Path, Path]:
    """Return a source of which the destination has everything, and two snapshots more."""
    simple_history(fs_a, 4)
    sync(fs_a.path / "snaps", fs_b.path)
    delete(fs_a.path / "snaps" / "1", fs_a.path / "snaps" / "3")
    return fs_a.path / "snaps", fs_b.path


def refused(done: Run, status: int, words: str) -> None:
    """Check that a run ended before it did anything, with one line that has these words."""
    assert done.status == status
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert words in line


class TestDelete:
    def test_leaves_what_is_being_sent_and_says_so(self, ends: tuple[Path, Path]) -> None:
        source, destination = ends
        with closing(BtrfsStore(str(destination))) as store:
            uuid = at(store, "1").uuid
            with store.send(Diff(uuid), StreamOptions()) as reader:
                reader.readinto(memoryview(bytearray(100)))
                done = buttersink("--delete", directory(source), directory(destination))

        assert done.status == 3
        assert "1 can't be deleted: it is being sent" in done.stderr
        assert sorted(p.name for p in destination.iterdir()) == ["1", "2", "4"]

    def test_deletes_exactly_what_the_source_has_not(self, ends: tuple[Path, Path]) -> None:
        done = sync(*ends, "--delete")

        assert done.paths("delete") == ["1", "3"]
        assert done.the("finished")["deleted"] == 2
        assert sorted(os.listdir(ends[1])) == ["2", "4"]
        for name in "24":
            assert_same_tree(ends[0] / name, ends[1] / name)

    def test_needs_the_option(self, ends: tuple[Path, Path]) -> None:
        before = subvolumes(ends[1])

        assert sync(*ends).paths("delete") == []
        assert subvolumes(ends[1]) == before

    def test_is_shown_whole_by_a_dry_run_which_deletes_nothing(
        self, ends: tuple[Path, Path], fs_b: LoopFs
    ) -> None:
        leave_partial(ends[1])
        before = subvolumes(ends[1]), transaction(fs_b)

        shown = sync(*ends, "--delete", "--dry-run")
        text = buttersink("-n", "-d", *map(directory, ends))
        assert (subvolumes(ends[1]), transaction(fs_b)) == before
        real = sync(*ends, "--delete")

        assert shown.the("planned")["steps"] == real.the("planned")["steps"]
        deleted = [event["step"]["path"] for event in real.named("deleted")]
        cleaned = [event["step"]["path"] for event in real.named("cleaned")]
        assert deleted == shown.paths("delete") == ["1", "3"]
        assert cleaned == shown.paths("clean")
        lines = [line for line in text.stdout.splitlines() if "  " in line]
        assert [line.split()[-5:][0] for line in lines if line.startswith("delete")] == ["1", "3"]
        assert any(line.startswith("remove partial") for line in lines)

    def test_spares_what_was_excluded(self, ends: tuple[Path, Path]) -> None:
        done = sync(*ends, "--delete", "--exclude", "[34]", "--exclude", "nothing")

        assert done.paths("delete") == ["1"]
        assert done.paths("send") == []
        assert sorted(os.listdir(ends[1])) == ["2", "3", "4"]

    def test_spares_writable_subvolumes_and_all_else(self, ends: tuple[Path, Path]) -> None:
        create_subvolume(ends[1] / "work")
        (ends[1] / "work" / "file").write_bytes(b"mine")
        (ends[1] / "directory").mkdir()
        (ends[1] / "file").write_bytes(b"mine")

        sync(*ends, "--delete")

        assert sorted(os.listdir(ends[1])) == ["2", "4", "directory", "file", "work"]
        assert (ends[1] / "work" / "file").read_bytes() == b"mine"

    def test_spares_what_lies_outside_the_destination(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        simple_history(fs_a, 1)
        create_subvolume(fs_b.path / "live")
        (fs_b.path / "dst").mkdir()
        for path in ("outside", "dst/inside", "dst2"):
            snapshot_read_only(fs_b.path / "live", fs_b.path / path)

        done = sync(fs_a.path / "snaps", fs_b.path / "dst", "--delete")

        assert done.paths("delete") == ["inside"]
        assert sorted(os.listdir(fs_b.path)) == ["dst", "dst2", "live", "outside"]

    def test_does_not_happen_after_something_went_wrong(
        self, ends: tuple[Path, Path], fs_b: LoopFs
    ) -> None:
        live = ends[0].parent / "live"
        (ends[0] / "in").mkdir()
        snapshot_read_only(live, ends[0] / "in" / "5")
        (ends[1] / "in").mkdir()
        run("mount", "-t", "tmpfs", "none", ends[1] / "in")

        done = buttersink("--json", "-d", *map(directory, ends))

        assert done.status == 3
        assert done.the("failed")["step"]["path"] == "in/5"
        assert "nothing was deleted" in done.the("warned")["message"]
        assert done.the("finished")["undeleted"] == 2
        assert {"1", "3"} <= set(os.listdir(fs_b.path))

    def test_reaches_snapshots_within_directories(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        simple_history(fs_a, 2)
        sync(fs_a.path, fs_b.path)
        delete(fs_a.path / "snaps" / "1")

        assert sync(fs_a.path, fs_b.path, "-d").paths("delete") == ["snaps/1"]
        assert os.listdir(fs_b.path / "snaps") == ["2"]


class TestASafetyRule:
    def test_refuses_to_delete_all_but_one(self, ends: tuple[Path, Path]) -> None:
        before = subvolumes(ends[1])

        refused(buttersink("-d", ends[0] / "2", directory(ends[1])), 1, "--force")

        assert subvolumes(ends[1]) == before
        done = buttersink("-d", "--force", ends[0] / "2", directory(ends[1]))
        assert done.status == 0
        assert sorted(os.listdir(ends[1])) == ["2", "4"], "what the source has is not deleted"

    def test_refuses_to_delete_everything_for_an_empty_source(
        self, ends: tuple[Path, Path], fs_a: LoopFs
    ) -> None:
        (fs_a.path / "empty").mkdir()
        before = subvolumes(ends[1])
        empty = directory(fs_a.path / "empty")

        refused(buttersink("-d", empty, directory(ends[1])), 1, "there are no snapshots in")
        refused(buttersink(empty, directory(ends[1])), 1, "subvolume snapshot -r")

        assert subvolumes(ends[1]) == before
        assert buttersink("-d", "--force", empty, directory(ends[1])).status == 0
        assert os.listdir(ends[1]) == []

    def test_refuses_to_lose_all_of_many_for_a_source_that_has_none_of_them(
        self, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        for fs in (fs_a, fs_b):
            create_subvolume(fs.path / "live")
        snapshot_read_only(fs_a.path / "live", fs_a.path / "mine")
        names = [f"{number:02}" for number in range(10)]
        for name in names:
            snapshot_read_only(fs_b.path / "live", fs_b.path / name)

        refused(
            buttersink("-d", directory(fs_a.path), directory(fs_b.path)), 1, "check that these are"
        )

        assert sorted(os.listdir(fs_b.path)) == [*names, "live"]
        done = sync(fs_a.path, fs_b.path, "-d", "--force")
        assert done.paths("delete") == names

    def test_refuses_a_destination_that_contains_the_source(self, fs_a: LoopFs) -> None:
        simple_history(fs_a, 1)
        snapshot_read_only(fs_a.path / "live", fs_a.path / "another")

        refused(
            buttersink("-d", directory(fs_a.path / "snaps"), directory(fs_a.path)),
            1,
            "contains the source",
        )

        assert (fs_a.path / "another").is_dir()


class TestAPartial:
    def test_is_listed_and_never_taken_for_a_snapshot(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        partial = leave_partial(fs_a.path)

        listed = buttersink("--json", directory(fs_a.path)).the("listed")

        assert [found["path"] for found in listed["partials"]] == [partial.name]
        assert listed["snapshots"] == []
        assert buttersink(directory(fs_a.path), directory(fs_b.path)).status == 1

    def test_is_removed_by_the_listing_with_delete(self, fs_a: LoopFs) -> None:
        partials = [leave_partial(fs_a.path)]
        (fs_a.path / "below").mkdir()
        partials.append(leave_partial(fs_a.path / "below"))
        lookalike = fs_a.path / ".buttersink-mine.part"
        create_subvolume(lookalike)

        shown = buttersink("--json", "-n", "-d", directory(fs_a.path))
        assert all(partial.is_dir() for partial in partials)
        done = buttersink("--json", "-d", directory(fs_a.path))

        names = sorted(str(partial.relative_to(fs_a.path)) for partial in partials)
        assert shown.paths("clean") == done.paths("clean") == names
        assert (shown.status, done.status) == (0, 0)
        assert not any(partial.exists() for partial in partials)
        assert lookalike.is_dir()
        assert subvolumes(fs_a.path).count("\n") == 1

    def test_is_removed_first_by_a_sync_with_delete(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        simple_history(fs_a, 1)
        partial = leave_partial(fs_b.path)

        sync(fs_a.path / "snaps", fs_b.path)
        assert partial.is_dir(), "only with --delete"
        done = sync(fs_a.path / "snaps", fs_b.path, "-d")

        assert done.paths("clean") == [partial.name]
        assert os.listdir(fs_b.path) == ["1"]

    def test_of_a_snapshot_that_is_wanted_is_replaced_without_being_asked(
        self, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        simple_history(fs_a, 1)
        (uuid,) = [
            found["uuid"]
            for found in buttersink("--json", directory(fs_a.path)).the("listed")["snapshots"]
        ]
        leave_partial(fs_b.path).rename(fs_b.path / f".buttersink-{uuid}.part")
        create_subvolume(fs_b.path / f".buttersink-{uuid}.new")

        sync(fs_a.path / "snaps", fs_b.path)

        assert describe(fs_b.path / "1") == describe(fs_a.path / "snaps" / "1")
        assert os.listdir(fs_b.path) == ["1"]
