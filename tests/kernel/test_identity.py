"""A snapshot is the same snapshot wherever it goes, and a changed one is not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from buttersink.model import Diff, StreamOptions
from buttersink.stores.btrfs import BtrfsStore
from buttersink.stream.format import Attribute, decode_attributes
from support.command import Run, buttersink, directory, sync
from support.history import History, simple_history
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run
from support.streams import captured, commands
from support.subvolume_facts import (
    identity,
    make_read_only,
    make_writable,
    own_uuid,
    show,
    snapshot_writable,
    subvolumes,
)
from support.tree import assert_same_tree

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeFs
    from support.loopfs import LoopFs


def parents(run: Run) -> dict[str, str | None]:
    """Return the path of the parent by the path of what is sent."""
    return {s["path"]: s["parent"] and s["parent"]["path"] for s in run.steps("send")}


class TestRestoredSnapshots:
    def test_go_round_from_a_to_b_to_c_and_back_as_increments(self, make_fs: MakeFs) -> None:
        a, b, c = (make_fs(label=label) for label in "abc")
        (a.path / "snaps").mkdir()
        history = History(11, a.path / "live")
        for name in ("1", "2"):
            history.step(80)
            history.snapshot(a.path / "snaps" / name)

        sync(a.path / "snaps", b.path)
        sync(b.path, c.path)
        live = snapshot_writable(c.path / "2", c.path / "live")
        (live / "made on c").write_bytes(b"new")
        snapshot_read_only(live, c.path / "3")
        back = sync(c.path, a.path / "snaps")
        onward = sync(a.path / "snaps", b.path)

        assert parents(back) == parents(onward) == {"3": "2"}
        assert back.paths("keep") == ["1", "2"]
        assert back.the("planned")["size"]["bytes"] < 2000
        for name in ("1", "2", "3"):
            assert len({identity(p / name) for p in (a.path / "snaps", b.path, c.path)}) == 1
            assert_same_tree(a.path / "snaps" / name, b.path / name)
            assert_same_tree(c.path / name, b.path / name)
        for one, other in (
            (a.path / "snaps", b.path),
            (b.path, c.path),
            (c.path, a.path / "snaps"),
        ):
            assert sync(one, other).paths("send") == []

    def test_serve_as_parents_of_what_the_original_adds(self, make_fs: MakeFs) -> None:
        a, b, c = (make_fs(label=label) for label in "abc")
        simple_history(a, 1)
        sync(a.path / "snaps", b.path)
        sync(b.path, c.path)
        (a.path / "live" / "new").write_bytes(b"new")
        snapshot_read_only(a.path / "live", a.path / "snaps" / "2")

        assert parents(sync(a.path / "snaps", c.path)) == {"2": "1"}
        assert_same_tree(a.path / "snaps" / "2", c.path / "2")

    def test_that_plain_btrfs_programs_received_count_the_same(
        self, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        first, second = simple_history(fs_a, 2)
        stream = fs_a.path / "stream"
        run("btrfs", "--quiet", "send", "-f", stream, first)
        run("btrfs", "--quiet", "receive", "-f", stream, fs_b.path)

        done = sync(fs_a.path / "snaps", fs_b.path)

        assert done.paths("keep") == ["1"]
        assert parents(done) == {"2": "1"}
        assert_same_tree(second, fs_b.path / "2")

    def test_serve_plain_btrfs_programs_as_parents(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        first, second = simple_history(fs_a, 2)
        assert buttersink(first, directory(fs_b.path)).status == 0
        stream = fs_a.path / "stream"

        run("btrfs", "--quiet", "send", "-p", first, "-f", stream, second)
        run("btrfs", "--quiet", "receive", "-f", stream, fs_b.path)

        assert_same_tree(second, fs_b.path / "2")

    def test_that_were_renamed_or_moved_are_not_sent_again(
        self, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        simple_history(fs_a, 2)
        sync(fs_a.path / "snaps", fs_b.path)
        (fs_b.path / "1").rename(fs_b.path / "renamed")

        again = sync(fs_a.path / "snaps", fs_b.path)

        assert again.paths("keep") == ["renamed", "2"]
        assert sorted(os.listdir(fs_b.path)) == ["2", "renamed"]


class TestOneFileSystem:
    def test_as_source_and_destination_takes_no_bytes_and_keeps_identities(
        self, fs_a: LoopFs
    ) -> None:
        snapshots = simple_history(fs_a, 3)
        (fs_a.path / "copies").mkdir()

        done = sync(fs_a.path / "snaps", fs_a.path / "copies")
        before = subvolumes(fs_a.path)
        again = sync(fs_a.path / "snaps", fs_a.path / "copies")

        assert done.paths("adopt") == ["1", "2", "3"]
        assert done.the("finished")["sent_bytes"] == 0
        assert again.the("finished")["present"] == 3
        assert subvolumes(fs_a.path) == before
        for snapshot in snapshots:
            copy = fs_a.path / "copies" / snapshot.name
            assert identity(copy) == identity(snapshot) == own_uuid(snapshot)
            assert show(copy, "Flags") == "readonly"
            assert_same_tree(snapshot, copy)

    def test_that_has_received_ones_elsewhere_puts_them_in_place(
        self, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        simple_history(fs_a, 3)
        for name in ("old", "new"):
            (fs_b.path / name).mkdir()
        assert buttersink(fs_a.path / "snaps" / "1", directory(fs_b.path / "old")).status == 0

        done = sync(fs_a.path / "snaps", fs_b.path / "new")

        assert done.paths("adopt") == ["1"]
        assert parents(done) == {"2": "1", "3": "2"}
        for name in ("1", "2", "3"):
            assert_same_tree(fs_a.path / "snaps" / name, fs_b.path / "new" / name)
            assert identity(fs_b.path / "new" / name) == identity(fs_a.path / "snaps" / name)
        assert sorted(os.listdir(fs_b.path / "old")) == ["1"]
        assert sync(fs_a.path / "snaps", fs_b.path / "new").the("finished")["present"] == 3

    def test_whose_copies_are_adopted_ones_is_a_good_source(
        self, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        simple_history(fs_a, 2)
        (fs_a.path / "copies").mkdir()
        sync(fs_a.path / "snaps", fs_a.path / "copies")
        run("btrfs", "--quiet", "subvolume", "delete", "--commit-after", fs_a.path / "snaps" / "1")

        done = sync(fs_a.path / "copies", fs_b.path)

        assert done.the("finished")["transferred"] == 2
        assert identity(fs_b.path / "1") == identity(fs_a.path / "copies" / "1")
        assert sync(fs_a.path / "snaps", fs_b.path).paths("keep") == ["2"]

    def test_never_loses_another_snapshot_of_the_same_identity(self, fs_a: LoopFs) -> None:
        simple_history(fs_a, 1)
        run(
            "btrfs",
            "--quiet",
            "subvolume",
            "snapshot",
            "-r",
            fs_a.path / "snaps" / "1",
            fs_a.path / "x",
        )
        (fs_a.path / "copies").mkdir()

        done = sync(fs_a.path / "snaps", fs_a.path / "copies", "--delete")

        assert done.paths("delete") == []
        assert (fs_a.path / "x").is_dir()


class TestOneIdentityAtTwoPaths:
    def test_is_one_snapshot_which_is_sent_once(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        simple_history(fs_a, 1)
        sync(fs_a.path / "snaps", fs_b.path)
        (fs_b.path / "again").mkdir()
        run(
            "btrfs",
            "--quiet",
            "subvolume",
            "snapshot",
            "-r",
            fs_b.path / "1",
            fs_b.path / "again" / "1",
        )
        assert identity(fs_b.path / "1") == identity(fs_b.path / "again" / "1")

        (listed,) = buttersink("--json", directory(fs_b.path)).the("listed")["snapshots"]
        back = sync(fs_b.path, fs_a.path / "snaps")

        assert listed["paths"] == ["1", "again/1"]
        assert back.paths("keep") == ["1"]
        assert back.paths("send") == []

    def test_is_deleted_at_both_when_the_source_has_lost_it(
        self, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        simple_history(fs_a, 2)
        sync(fs_a.path / "snaps", fs_b.path)
        run("btrfs", "--quiet", "subvolume", "snapshot", "-r", fs_b.path / "1", fs_b.path / "again")
        run("btrfs", "--quiet", "subvolume", "delete", "--commit-after", fs_a.path / "snaps" / "1")

        done = sync(fs_a.path / "snaps", fs_b.path, "--delete")

        assert done.paths("delete") == ["1", "again"]
        assert os.listdir(fs_b.path) == ["2"]


@pytest.fixture
def flipped(fs_a: LoopFs, fs_b: LoopFs) -> Path:
    """Return a received snapshot on `fs_b` that was changed behind everybody's back."""
    simple_history(fs_a, 2)
    sync(fs_a.path / "snaps", fs_b.path)
    path = fs_b.path / "1"
    make_writable(path)
    (path / "log").write_bytes(b"changed")
    make_read_only(path)
    assert identity(path) == identity(fs_a.path / "snaps" / "1"), "the kernel believes it"
    return path


class TestAReceivedSnapshotThatWasChanged:
    def test_is_reported_and_counts_as_another(
        self, fs_a: LoopFs, fs_b: LoopFs, flipped: Path
    ) -> None:
        run = buttersink("--json", directory(fs_b.path))

        (problem,) = run.the("listed")["problems"]
        assert problem["path"] == "1"
        assert "changed after it was received" in problem["message"]
        assert "counts as a snapshot of its own" in problem["message"]
        assert run.the("warned")["message"].endswith(problem["message"])
        uuids = {s["path"]: s["uuid"] for s in run.the("listed")["snapshots"]}
        assert uuids == {"1": own_uuid(flipped), "2": identity(fs_a.path / "snaps" / "2")}

    def test_is_not_taken_for_what_it_was(self, fs_a: LoopFs, fs_b: LoopFs, flipped: Path) -> None:
        done = buttersink("--json", directory(fs_a.path / "snaps"), directory(fs_b.path))

        assert done.status == 3
        (skip,) = done.steps("skip")
        assert (skip["path"], skip["reason"]) == ("1", "path_taken")
        assert (flipped / "log").read_bytes() == b"changed"

        flipped.rename(fs_b.path / "changed")
        again = sync(fs_a.path / "snaps", fs_b.path)
        assert again.paths("send") == ["1"]
        assert_same_tree(fs_a.path / "snaps" / "1", fs_b.path / "1")

    def test_is_no_parent_of_what_builds_on_the_good_one(
        self, fs_a: LoopFs, fs_b: LoopFs, flipped: Path
    ) -> None:
        run("btrfs", "--quiet", "subvolume", "delete", "--commit-after", fs_b.path / "2")
        flipped.rename(fs_b.path / "changed")

        done = sync(fs_a.path / "snaps", fs_b.path)

        assert parents(done) == {"1": None, "2": "1"}
        for name in ("1", "2"):
            assert_same_tree(fs_a.path / "snaps" / name, fs_b.path / name)

    def test_does_not_hide_the_good_copy(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        simple_history(fs_a, 1)
        (fs_b.path / "dst").mkdir()
        sync(fs_a.path / "snaps", fs_b.path / "dst")
        bad = fs_b.path / "bad"
        run("btrfs", "--quiet", "subvolume", "snapshot", "-r", fs_b.path / "dst" / "1", bad)
        make_writable(bad)
        (bad / "log").write_bytes(b"changed")
        make_read_only(bad)
        (fs_a.path / "live" / "new").write_bytes(b"new")
        snapshot_read_only(fs_a.path / "live", fs_a.path / "snaps" / "2")

        done = sync(fs_a.path / "snaps", fs_b.path / "dst")

        assert done.paths("keep") == ["1"]
        assert parents(done) == {"2": "1"}
        assert_same_tree(fs_a.path / "snaps" / "2", fs_b.path / "dst" / "2")

    def test_arrives_beside_the_good_one_each_with_its_content(
        self, make_fs: MakeFs, fs_a: LoopFs, fs_b: LoopFs, flipped: Path
    ) -> None:
        fs_c = make_fs(label="c")
        flipped.rename(fs_b.path / "changed")
        sync(fs_a.path / "snaps", fs_b.path)

        done = sync(fs_b.path, fs_c.path)

        assert sorted(done.paths("send")) == ["1", "2", "changed"]
        assert identity(fs_c.path / "changed") == own_uuid(fs_b.path / "changed")
        assert identity(fs_c.path / "1") == identity(fs_a.path / "snaps" / "1")
        for name in ("1", "2", "changed"):
            assert_same_tree(fs_b.path / name, fs_c.path / name)
        assert sync(fs_b.path, fs_c.path).paths("send") == []

    @pytest.mark.parametrize("version", [1, 2])
    def test_is_named_by_its_own_uuid_in_the_stream(
        self, fs_b: LoopFs, flipped: Path, version: int
    ) -> None:
        own, second = UUID(own_uuid(flipped)), UUID(identity(fs_b.path / "2"))
        store = BtrfsStore(f"{fs_b.path}/")
        try:
            store.inventory()
            options = StreamOptions(version=version)
            heads = [
                commands(captured(store, diff, options))[0]
                for diff in (Diff(own), Diff(own, second), Diff(second, own))
            ]
        finally:
            store.close()

        told = [decode_attributes(memoryview(body), version) for _, body in heads]
        assert [UUID(bytes=bytes(head[Attribute.UUID])) for head in told] == [own, own, second]
        assert Attribute.CLONE_UUID not in told[0]
        assert [UUID(bytes=bytes(head[Attribute.CLONE_UUID])) for head in told[1:]] == [second, own]

    def test_that_was_only_flipped_is_still_what_it_was(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        simple_history(fs_a, 1)
        sync(fs_a.path / "snaps", fs_b.path)
        make_writable(fs_b.path / "1")
        make_read_only(fs_b.path / "1")

        again = sync(fs_a.path / "snaps", fs_b.path)

        assert again.paths("keep") == ["1"]
        assert again.named("warned") == []


class TestASnapshotThatWasReplaced:
    def test_is_reported_not_replaced_and_the_others_go_on(
        self, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        simple_history(fs_a, 3)
        create_subvolume(fs_b.path / "live")
        (fs_b.path / "live" / "mine").write_bytes(b"of the destination")
        snapshot_read_only(fs_b.path / "live", fs_b.path / "2")
        uuid = own_uuid(fs_b.path / "2")

        done = buttersink("--json", directory(fs_a.path / "snaps"), directory(fs_b.path))

        assert done.status == 3
        (skip,) = done.steps("skip")
        assert (skip["path"], skip["reason"]) == ("2", "path_taken")
        assert "another snapshot" in skip["detail"]
        assert own_uuid(fs_b.path / "2") == uuid
        assert parents(done) == {"1": None, "3": "1"}
        assert_same_tree(fs_a.path / "snaps" / "3", fs_b.path / "3")

    def test_comes_with_the_run_after_the_one_that_deletes_the_old_one(
        self, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        simple_history(fs_a, 2)
        sync(fs_a.path / "snaps", fs_b.path)
        run("btrfs", "--quiet", "subvolume", "delete", "--commit-after", fs_a.path / "snaps" / "1")
        snapshot_read_only(fs_a.path / "live", fs_a.path / "snaps" / "1")

        first = buttersink("--json", "-d", directory(fs_a.path / "snaps"), directory(fs_b.path))
        second = sync(fs_a.path / "snaps", fs_b.path, "-d")

        assert (first.status, first.paths("delete")) == (3, ["1"])
        assert "run again" in first.steps("skip")[0]["detail"]
        assert second.paths("send") == ["1"]
        assert identity(fs_b.path / "1") == identity(fs_a.path / "snaps" / "1")
