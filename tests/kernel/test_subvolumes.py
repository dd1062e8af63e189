"""What is read from a real file system: the same through any mount, and what the kernel says."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import pytest

from buttersink.btrfs.subvolumes import (
    directory_path,
    file_system_id,
    lineage,
)
from support.history import many_snapshots
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run
from support.subvolume_reading import (
    lineage_of,
    listed,
    opened,
    receive,
    subvolume_at,
    wait_for_a_tick,
)

if TYPE_CHECKING:
    from support.loopfs import LoopFs


def paths(path: Path) -> list[str]:
    return [subvolume.path for subvolume in listed(path)]


class Mount(NamedTuple):
    """A further mount; its name, with spaces, is also that of the mount point.

    Attributes:
        bind: The directory of the first mount that is bound, else the device is mounted.
        shows: Path of the directory that is seen there.
    """

    name: str
    options: str = ""
    bind: str | None = None
    shows: str = ""


class TestAnyMount:
    @pytest.fixture
    def fs(self, fs_a: LoopFs) -> LoopFs:
        create_subvolume(fs_a.path / "live")
        (fs_a.path / "live" / "inside").mkdir()
        create_subvolume(fs_a.path / "live" / "inside" / "nested")
        (fs_a.path / "plain" / "deeper").mkdir(parents=True)
        snapshot_read_only(fs_a.path / "live", fs_a.path / "plain" / "snapshot")
        return fs_a

    @pytest.mark.parametrize(
        "mount",
        [
            Mount("a bind mount of the root", bind="."),
            Mount("a bind mount of a directory", bind="plain/deeper", shows="plain/deeper"),
            Mount("a bind mount in a subvolume", bind="live/inside", shows="live/inside"),
            Mount("a second mount of the device"),
            Mount("a mount of a subvolume", options="subvol=live", shows="live"),
            Mount("a mount of a snapshot", options="subvol=plain/snapshot", shows="plain/snapshot"),
            Mount("a mount at a name\nwith a newline", options="subvol=live", shows="live"),
            Mount("a bind mount at a name\nwith a newline", bind="plain", shows="plain"),
        ],
        ids=lambda mount: mount.name,
    )
    def test_shows_the_same_facts(self, fs: LoopFs, scratch: Path, mount: Mount) -> None:
        expected = listed(fs.path)
        bind = None if mount.bind is None else fs.path / mount.bind
        at = fs.mount_again(scratch / mount.name, options=mount.options, bind=bind)

        assert listed(at) == expected
        assert [s.path for s in expected] == ["", "live", "live/inside/nested", "plain/snapshot"]
        with opened(at) as fd, opened(fs.path) as top_fd:
            assert file_system_id(fd) == file_system_id(top_fd)
            assert directory_path(fd, {s.treeid: s for s in expected}) == mount.shows

    def test_of_a_file_system_whose_top_level_is_not_mounted_shows_all(
        self, fs: LoopFs, scratch: Path
    ) -> None:
        expected = listed(fs.path)
        at = fs.mount_again(scratch / "at", options="subvol=live")
        run("umount", fs.path)

        assert listed(at) == expected

    def test_shows_the_id_that_mkfs_gave(self, fs: LoopFs, fs_b: LoopFs) -> None:
        ids = []
        for some in (fs, fs_b):
            with opened(some.path) as fd:
                ids.append(file_system_id(fd))
        assert ids == [
            UUID(run("blkid", "-p", "-s", "UUID", "-o", "value", some.image).strip())
            for some in (fs, fs_b)
        ]

    def test_of_another_kind_of_file_system_has_no_id(self) -> None:
        with opened(Path("/proc")) as fd, pytest.raises(OSError) as caught:  # noqa: PT011 - errno
            file_system_id(fd)
        assert caught.value.errno == errno.ENOTTY


class TestListing:
    def test_of_a_new_file_system_holds_the_top_level(self, fs_a: LoopFs) -> None:
        (top,) = listed(fs_a.path)
        assert (top.treeid, top.path, top.readonly) == (5, "", False)

    def test_agrees_with_btrfs_progs(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        create_subvolume(fs_a.path / "live")
        original = fs_a.path / "original"
        snapshot_read_only(fs_a.path / "live", original)
        received = receive(original, fs_b.path)
        copy = fs_b.path / "copy"
        snapshot_read_only(received, copy)
        for path in (fs_a.path / "live", original, received, copy):
            lines = run("btrfs", "subvolume", "show", path).splitlines()
            shown = {
                name.strip(): value.strip() for name, _, value in (s.partition(":") for s in lines)
            }
            facts = subvolume_at(path)
            assert {
                "UUID": str(facts.uuid or "-"),
                "Parent UUID": str(facts.parent_uuid or "-"),
                "Received UUID": str(facts.received_uuid or "-"),
                "Subvolume ID": str(facts.treeid),
                "Generation": str(facts.generation),
                "Gen at creation": str(facts.otransid),
                "Send transid": str(facts.stransid),
                "Receive transid": str(facts.rtransid),
                "Flags": "readonly" if facts.readonly else "-",
            }.items() <= shown.items()
            assert facts.path == path.name
            assert f"{facts.otime.astimezone():%Y-%m-%d %H:%M:%S %z}" == shown["Creation time"]

    @pytest.mark.parametrize(
        "name", [b" ", b" a ", b"a\nb", b"-rf", b"\xff\xfe", b"caf\xe9", b"\x1b[31m", b"x" * 255]
    )
    def test_keeps_every_byte_of_a_path(self, fs_a: LoopFs, name: bytes) -> None:
        top = os.fsencode(fs_a.path)
        os.mkdir(top + b"/" + name)
        path = name + b"/" + name
        create_subvolume(os.fsdecode(top + b"/" + path))
        create_subvolume(os.fsdecode(top + b"/" + path + b"/" + name))

        assert [os.fsencode(p) for p in paths(fs_a.path)] == [b"", path, path + b"/" + name]

    def test_is_sorted_by_the_bytes_of_the_path(self, fs_a: LoopFs) -> None:
        names = [b"Z", b"a", b"a b", b"\xc3\xa9", b"\xff", "\U0001f9c8".encode(), b"a-b", b"b"]
        for name in names:
            create_subvolume(fs_a.path / os.fsdecode(name))

        assert [os.fsencode(p) for p in paths(fs_a.path)] == sorted([b"", *names])

    def test_finds_a_subvolume_at_any_depth(self, fs_a: LoopFs) -> None:
        name = "x" * 255
        fds = [os.open(fs_a.path, os.O_RDONLY)]
        for _ in range(20):  # deeper than the longest path that a system call takes
            os.mkdir(name, dir_fd=fds[-1])
            fds.append(os.open(name, os.O_RDONLY, dir_fd=fds[-1]))
        bottom = f"/proc/self/fd/{fds[-1]}"
        create_subvolume(f"{bottom}/deep")
        create_subvolume(f"{bottom}/deep/deeper")
        deep = "/".join([name] * 20 + ["deep"])

        assert paths(fs_a.path) == ["", deep, f"{deep}/deeper"]
        for fd in fds:
            os.close(fd)

    def test_follows_a_directory_that_is_renamed(self, fs_a: LoopFs) -> None:
        (fs_a.path / "one" / "two").mkdir(parents=True)
        create_subvolume(fs_a.path / "one" / "two" / "live")
        (fs_a.path / "one").rename(fs_a.path / "three")

        assert paths(fs_a.path) == ["", "three/two/live"]

    def test_of_a_thousand_snapshots_holds_each_once(self, fs_a: LoopFs) -> None:
        made = [p.relative_to(fs_a.path) for p in many_snapshots(fs_a, 1000)]
        found = listed(fs_a.path)

        assert {s.path for s in found if s.readonly} == set(map(str, made))
        assert len({s.treeid for s in found}) == len({s.uuid for s in found}) == 1002

    def test_leaves_out_what_is_deleted_but_not_cleaned_up(self, fs_a: LoopFs) -> None:
        for name in ("stays", "goes"):
            create_subvolume(fs_a.path / name)
        with opened(fs_a.path / "goes"):  # the kernel can't clean up what is open
            run("btrfs", "--quiet", "subvolume", "delete", fs_a.path / "goes")
            assert "DELETED" in run("btrfs", "subvolume", "list", "-d", fs_a.path)

            assert paths(fs_a.path) == ["", "stays"]


class TestLineage:
    @pytest.fixture
    def live(self, fs_a: LoopFs) -> Path:
        create_subvolume(fs_a.path / "live")
        return fs_a.path / "live"

    def test_is_shared_by_all_snapshots_of_a_subvolume(self, fs_a: LoopFs, live: Path) -> None:
        snapshot_read_only(live, fs_a.path / "1")
        (live / "new").write_text("new")
        snapshot_read_only(live, fs_a.path / "2")
        run("btrfs", "--quiet", "subvolume", "snapshot", fs_a.path / "1", fs_a.path / "branch")
        snapshot_read_only(fs_a.path / "branch", fs_a.path / "3")

        found = {lineage_of(fs_a.path / name) for name in ("live", "1", "2", "3", "branch")}
        assert len(found - {None}) == len(found) == 1

    def test_outlives_what_it_came_from(self, fs_a: LoopFs, live: Path) -> None:
        before = lineage_of(live)
        snapshot_read_only(live, fs_a.path / "1")
        snapshot_read_only(fs_a.path / "1", fs_a.path / "2")
        for gone in (live, fs_a.path / "1"):
            run("btrfs", "--quiet", "subvolume", "delete", "--commit-after", gone)

        assert lineage_of(fs_a.path / "2") == before

    def test_is_shared_by_received_increments(self, fs_a: LoopFs, fs_b: LoopFs, live: Path) -> None:
        for name in ("1", "2"):
            (live / name).write_text(name)
            snapshot_read_only(live, fs_a.path / name)
        first = receive(fs_a.path / "1", fs_b.path)
        second = receive(fs_a.path / "2", fs_b.path, parent=fs_a.path / "1")

        assert lineage_of(first) == lineage_of(second)

    def test_differs_between_subvolumes_that_share_nothing(
        self, fs_a: LoopFs, fs_b: LoopFs, live: Path
    ) -> None:
        snapshot_read_only(live, fs_a.path / "1")
        for name in ("2", "3"):
            wait_for_a_tick()
            create_subvolume(fs_a.path / name)
        assert len({lineage_of(fs_a.path / name) for name in (".", "1", "2", "3")}) == 4

        twice = []
        for name in ("one", "other"):  # the same snapshot, received in full each time
            (fs_b.path / name).mkdir()
            wait_for_a_tick()
            twice.append(receive(fs_a.path / "1", fs_b.path / name))
        assert lineage_of(twice[0]) != lineage_of(twice[1])

    def test_of_what_was_deleted_meanwhile_is_unknown(self, fs_a: LoopFs, live: Path) -> None:
        treeid = subvolume_at(live).treeid
        run("btrfs", "--quiet", "subvolume", "delete", live)

        with opened(fs_a.path) as fd:
            assert lineage(fd, treeid) is None
