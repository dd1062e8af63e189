"""However a file system is mounted, and however its directories are named, it is the same one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from support.command import Argument, buttersink, directory, sync
from support.history import simple_history
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run
from support.subvolume_facts import identity, subvolumes
from support.tree import assert_same_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import MakeFs
    from support.loopfs import LoopFs


def uuids(path: Argument) -> dict[str, str]:
    """Return the identities that a listing shows, by path."""
    listed = buttersink("--json", directory(path)).the("listed")
    return {snapshot["path"]: snapshot["uuid"] for snapshot in listed["snapshots"]}


def mounted_again(fs: LoopFs, scratch: Path) -> Path:
    return fs.mount_again(scratch / "again") / "snaps"


def mounted_with_a_space(fs: LoopFs, scratch: Path) -> Path:
    return fs.mount_again(scratch / "my backup\tdisk\n") / "snaps"


def bound_at_the_top(fs: LoopFs, scratch: Path) -> Path:
    return fs.mount_again(scratch / "bound", bind=fs.path) / "snaps"


def bound_at_the_directory(fs: LoopFs, scratch: Path) -> Path:
    return fs.mount_again(scratch / "bound", bind=fs.path / "snaps")


def bound_into_itself(fs: LoopFs, _scratch: Path) -> Path:
    return fs.mount_again(fs.path / "mirror", bind=fs.path / "snaps")


def bound_read_only(fs: LoopFs, scratch: Path) -> Path:
    bound = fs.mount_again(scratch / "bound", bind=fs.path / "snaps")
    run("mount", "-o", "remount,bind,ro", bound)
    return bound


def reached_by_a_link(fs: LoopFs, scratch: Path) -> Path:
    (scratch / "link").symlink_to(fs.path / "snaps")
    return scratch / "link"


@pytest.fixture
def elsewhere(scratch: Path) -> Path:
    """Return a directory for mount points."""
    path = scratch / "mounts"
    path.mkdir()
    return path


@pytest.mark.parametrize(
    "mounted",
    [
        mounted_again,
        mounted_with_a_space,
        bound_at_the_top,
        bound_at_the_directory,
        bound_into_itself,
        bound_read_only,
        reached_by_a_link,
    ],
)
class TestASecondMount:
    def test_is_known_as_the_same_and_as_good_a_source(
        self,
        fs_a: LoopFs,
        fs_b: LoopFs,
        elsewhere: Path,
        mounted: Callable[[LoopFs, Path], Path],
    ) -> None:
        snapshots = simple_history(fs_a, 2)
        second = mounted(fs_a, elsewhere)
        before = subvolumes(fs_a.path)

        listed = uuids(second)
        refused = buttersink(directory(fs_a.path / "snaps"), directory(second))
        sync(second, fs_b.path)

        assert list(listed) == ["1", "2"]
        assert listed == uuids(fs_a.path / "snaps")
        assert refused.status == 2
        assert refused.stderr == "error: source and destination are the same directory\n"
        assert subvolumes(fs_a.path) == before
        for snapshot in snapshots:
            assert_same_tree(snapshot, fs_b.path / snapshot.name)


class TestMounts:
    def test_of_one_file_system_adopt_from_each_other(self, fs_a: LoopFs, elsewhere: Path) -> None:
        simple_history(fs_a, 2)
        again = fs_a.mount_again(elsewhere / "again")
        (again / "copies").mkdir()

        done = sync(fs_a.path / "snaps", again / "copies")

        assert done.paths("adopt") == ["1", "2"]
        assert done.the("finished")["sent_bytes"] == 0
        assert identity(fs_a.path / "copies" / "1") == identity(fs_a.path / "snaps" / "1")

    def test_of_one_subvolume_each_sync_like_file_systems(
        self, fs_a: LoopFs, fs_b: LoopFs, elsewhere: Path
    ) -> None:
        """As distributions mount them: @ and @snapshots, with no mount of the top level."""
        for name in ("@", "@snapshots"):
            create_subvolume(fs_a.path / name)
            create_subvolume(fs_b.path / name)
        snapshot_read_only(fs_a.path / "@", fs_a.path / "@snapshots" / "1")
        (fs_a.path / "@" / "file").write_bytes(b"data")
        source = fs_a.mount_again(elsewhere / "a", options="subvol=@snapshots")
        target = fs_b.mount_again(elsewhere / "b", options="subvol=@snapshots")
        run("umount", fs_a.path)
        run("umount", fs_b.path)

        sync(source, target)
        snapshots = fs_a.mount_again(elsewhere / "top") / "@"
        snapshot_read_only(snapshots, elsewhere / "top" / "@snapshots" / "2")
        done = sync(source, target)

        assert done.paths("keep") == ["1"]
        assert [step["parent"]["path"] for step in done.steps("send")] == ["1"]
        assert_same_tree(source / "2", target / "2")

    def test_of_a_subvolume_use_parents_that_it_does_not_show(
        self, fs_a: LoopFs, fs_b: LoopFs, elsewhere: Path
    ) -> None:
        simple_history(fs_a, 2)
        for name in ("shown", "hidden"):
            create_subvolume(fs_b.path / name)
        assert buttersink(fs_a.path / "snaps" / "1", directory(fs_b.path / "hidden")).status == 0
        target = fs_b.mount_again(elsewhere / "b", options="subvol=shown")
        run("umount", fs_b.path)

        done = buttersink("--json", fs_a.path / "snaps" / "2", directory(target))

        (sent,) = done.steps("send")
        assert done.status == 0
        assert sent["parent"]["uuid"] == identity(fs_a.path / "snaps" / "1")
        assert_same_tree(fs_a.path / "snaps" / "2", target / "2")
        assert os.listdir(target) == ["2"]

    def test_of_a_snapshot_are_no_directory_of_snapshots(
        self, fs_a: LoopFs, elsewhere: Path
    ) -> None:
        simple_history(fs_a, 1)
        mounted = fs_a.mount_again(elsewhere / "1", options="subvol=snaps/1,ro")

        done = buttersink(directory(mounted))

        assert done.status == 2
        assert "is itself a snapshot" in done.stderr

    def test_of_another_file_system_in_the_way_are_not_written_to(
        self, make_fs: MakeFs, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        simple_history(fs_a, 1)
        (fs_b.path / "snaps").mkdir()
        fs_c = make_fs(label="c")
        fs_c.mount_again(fs_b.path / "snaps")

        done = buttersink(directory(fs_a.path), directory(fs_b.path))

        assert done.status == 3
        assert "something is mounted in the way" in done.stderr
        assert os.listdir(fs_c.path) == []

    def test_of_a_device_by_another_name_are_no_different(
        self, fs_a: LoopFs, fs_b: LoopFs, scratch: Path
    ) -> None:
        simple_history(fs_a, 1)
        run("umount", fs_a.path)
        again = scratch / "loop"
        again.mkdir()
        loop = run("losetup", "--find", "--show", fs_a.image).strip()
        link = scratch / "disk by another name"
        link.symlink_to(loop)
        try:
            run("mount", link, again)
            sync(again / "snaps", fs_b.path)
        finally:
            run("umount", again)
            run("losetup", "--detach", loop)

        assert list(uuids(fs_b.path)) == ["1"]


class TestDirectories:
    def test_may_be_named_in_every_way(self, fs_a: LoopFs) -> None:
        simple_history(fs_a, 1)
        for below, named in (
            ("", "snaps/"),
            ("", "./snaps/"),
            ("", ".//snaps//"),
            ("snaps", "./"),
            ("snaps", "../snaps/"),
            ("snaps/1", "../"),
            ("", "file://{}/snaps/"),
            ("", "btrfs://{}/snaps/"),
            ("", "BTRFS://{}//snaps///"),
            ("", "{}//snaps/"),
            ("", "{}/live/../snaps/"),
        ):
            done = buttersink("--json", named.format(fs_a.path), cwd=fs_a.path / below)

            assert done.status == 0, done.stderr
            assert [s["path"] for s in done.the("listed")["snapshots"]] == ["1"], named

    def test_of_the_destination_need_no_slash(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        simple_history(fs_a, 1)
        for number, named in enumerate(
            ("to{}", "to{}/", "./to{}", "{top}//to{}", "file://{top}/to{}")
        ):
            (fs_b.path / f"to{number}").mkdir()
            text = named.format(number, top=fs_b.path)

            done = buttersink(directory(fs_a.path / "snaps"), text, cwd=fs_b.path)

            assert done.status == 0, done.stderr
            assert os.listdir(fs_b.path / f"to{number}") == ["1"], named

    def test_of_one_snapshot_may_be_relative(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        simple_history(fs_a, 2)
        for number, named in enumerate(("1", "./1", "{}/snaps/1", "file://{}//snaps//1")):
            to = fs_b.path / str(number)

            done = buttersink(named.format(fs_a.path), to, "--create", cwd=fs_a.path / "snaps")

            assert done.status == 0, done.stderr
            assert os.listdir(to) == ["1"], named
