"""Syncing as a user does it: nothing else is touched."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from support.arrivals import moving_history
from support.command import buttersink, directory, sync
from support.history import simple_history
from support.kernel_calls import create_subvolume
from support.loopfs import run
from support.resuming import run as interrupted
from support.subvolume_facts import subvolumes, transaction
from support.tree import assert_same_tree, describe

if TYPE_CHECKING:
    from support.loopfs import LoopFs

MIB = 1 << 20


class TestWhatIsNoSnapshot:
    def test_stays_untouched_at_both_ends(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        for fs in (fs_a, fs_b):
            create_subvolume(fs.path / "writable")
            (fs.path / "writable" / "file").write_bytes(b"in a writable subvolume")
            (fs.path / "directory").mkdir()
            (fs.path / "directory" / "file").write_bytes(b"plain")
        simple_history(fs_a, 2)
        mine = describe(fs_a.path)
        yours = describe(fs_b.path)

        sync(fs_a.path, fs_b.path)

        assert describe(fs_a.path) == mine
        after = describe(fs_b.path)
        assert {path: after[path] for path in yours if path != b"."} == {
            path: entry for path, entry in yours.items() if path != b"."
        }
        assert after.keys() - yours.keys() == {b"snaps"}
        assert (fs_b.path / "writable" / "file").read_bytes() == b"in a writable subvolume"

    def test_at_the_path_of_a_snapshot_is_reported_and_not_replaced(
        self, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        simple_history(fs_a, 5)
        snaps = fs_a.path / "snaps"
        (fs_b.path / "1").write_bytes(b"a file")
        (fs_b.path / "2").mkdir()
        (fs_b.path / "3").symlink_to("/nowhere")
        create_subvolume(fs_b.path / "4")
        before = describe(fs_b.path)

        done = buttersink("--json", directory(snaps), directory(fs_b.path))

        assert done.status == 3
        assert [(s["path"], s["reason"]) for s in done.steps("skip")] == [
            (name, "path_taken") for name in "1234"
        ]
        assert len(done.stderr.splitlines()) == 4
        assert done.the("finished")["failed"] == 4
        assert_same_tree(snaps / "5", fs_b.path / "5")
        after = describe(fs_b.path)
        assert {path: after[path] for path in before if path != b"."} == {
            path: entry for path, entry in before.items() if path != b"."
        }

    def test_in_place_of_a_directory_is_reported_and_not_replaced(
        self, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        simple_history(fs_a, 1)
        (fs_b.path / "snaps").symlink_to("/")

        done = buttersink("--json", directory(fs_a.path), directory(fs_b.path))

        assert done.status == 3
        assert done.paths("skip") == ["snaps/1"]
        assert os.readlink(fs_b.path / "snaps") == "/"


class TestWhatCanBeGoneOnWith:
    def test_is_looked_at_without_a_trace(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        snaps = moving_history(fs_a, 1, size=4 * MIB)
        interrupted(snaps, fs_b.path, 3 * MIB)
        run("btrfs", "subvolume", "sync", fs_b.path)  # until all that was deleted is
        before = transaction(fs_b), subvolumes(fs_b.path)

        listed = buttersink("--json", directory(fs_b.path)).the("listed")
        planned = buttersink("--json", "-n", directory(snaps), directory(fs_b.path)).the("planned")

        assert [partial["resumable"] is not None for partial in listed["partials"]] == [True]
        assert [step["resumable"] is not None for step in planned["steps"]] == [True]
        assert (transaction(fs_b), subvolumes(fs_b.path)) == before


class TestTheSource:
    def test_is_never_written_to(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        snapshots = simple_history(fs_a, 3)
        describe(fs_a.path)  # so that reading has set all access times
        before = transaction(fs_a), subvolumes(fs_a.path)

        sync(fs_a.path / "snaps", fs_b.path, "--delete")
        buttersink(directory(fs_a.path))
        buttersink("--dry-run", snapshots[0], directory(fs_b.path))

        assert (transaction(fs_a), subvolumes(fs_a.path)) == before
        assert sorted(os.listdir(fs_a.path)) == ["live", "snaps"]
        assert sorted(os.listdir(fs_a.path / "snaps")) == ["1", "2", "3"]

    def test_may_be_mounted_read_only(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        snapshots = simple_history(fs_a, 2)
        fs_a.remount("ro")

        sync(fs_a.path / "snaps", fs_b.path)

        assert_same_tree(snapshots[1], fs_b.path / "2")

    def test_may_have_been_remounted_since(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        snapshots = simple_history(fs_a, 1)
        sync(fs_a.path / "snaps", fs_b.path)
        run("umount", fs_a.path)
        run("mount", "-o", "loop", fs_a.image, fs_a.path)
        run(
            "btrfs",
            "--quiet",
            "subvolume",
            "snapshot",
            "-r",
            snapshots[0],
            fs_a.path / "snaps" / "2",
        )

        again = sync(fs_a.path / "snaps", fs_b.path)

        assert again.paths("keep") == ["1"]
        assert [step["parent"]["path"] for step in again.steps("send")] == ["1"]


class TestQuotas:
    def test_stay_off(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        simple_history(fs_a, 2)

        sync(fs_a.path / "snaps", fs_b.path, "--delete")
        buttersink(directory(fs_a.path))

        for fs in (fs_a, fs_b):
            with pytest.raises(RuntimeError, match="quota"):
                run("btrfs", "qgroup", "show", fs.path)

    def test_stay_on_with_no_rescan_and_no_group_of_ours(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        simple_history(fs_a, 2)
        for fs in (fs_a, fs_b):
            run("btrfs", "quota", "enable", fs.path)
            run("btrfs", "quota", "rescan", "-w", fs.path)
        before = qgroups(fs_a), transaction(fs_a)

        sync(fs_a.path / "snaps", fs_b.path)

        assert (qgroups(fs_a), transaction(fs_a)) == before
        listed = buttersink("--json", directory(fs_a.path)).the("listed")
        assert [s["total_bytes"] is not None for s in listed["snapshots"]] == [True, True]
        assert "no rescan" in run("btrfs", "quota", "rescan", "-s", fs_b.path)
        # The kernel makes one group for each subvolume, and keeps those of deleted ones.
        levels = {group.partition("/")[0] for group in qgroups(fs_b)}
        assert levels == {"0"}

    def test_that_are_known_make_estimates(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        simple_history(fs_a, 2)
        run("btrfs", "quota", "enable", fs_a.path)
        run("btrfs", "quota", "rescan", "-w", fs_a.path)

        planned = sync(fs_a.path / "snaps", fs_b.path, "--estimate").the("planned")

        assert planned["size"]["certainty"] == "estimate"
        assert planned["size"]["bytes"] > MIB


def qgroups(fs: LoopFs) -> dict[str, str]:
    """Return the numbers of each quota group."""
    shown = run("btrfs", "qgroup", "show", "--raw", fs.path)
    return dict(re.findall(r"^(\d+/\d+)\s+(.*)$", shown, re.MULTILINE))
