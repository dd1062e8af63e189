"""What is read from a real file system: the same through any mount, and what the kernel says."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import pytest

from buttersink.btrfs.subvolumes import (
    Quota,
    QuotaState,
    Subvolume,
    changed_since_received,
    directory_path,
    file_system_id,
    lineage,
    list_subvolumes,
    quota_state,
    read_quotas,
)
from support.history import many_snapshots
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.loopfs import LoopFs

SUBVOL_SETFLAGS = 0x4008941A
QUOTA_CTL = 0xC0109428
QUOTA_ENABLE = 1
CLOCK_REALTIME_COARSE = 5


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def listed(path: Path) -> tuple[Subvolume, ...]:
    with opened(path) as fd:
        return list_subvolumes(fd)


def paths(path: Path) -> list[str]:
    return [subvolume.path for subvolume in listed(path)]


def subvolume_at(path: Path) -> Subvolume:
    """Return the facts of a subvolume, found by its id rather than by its path."""
    shown = run("btrfs", "inspect-internal", "rootid", path)
    return next(s for s in listed(path) if s.treeid == int(shown))


def lineage_of(path: Path) -> str | None:
    with opened(path) as fd:
        return lineage(fd, subvolume_at(path).treeid)


def is_changed(path: Path) -> bool:
    with opened(path) as fd:
        return changed_since_received(fd, subvolume_at(path))


def receive(snapshot: Path, directory: Path, *, parent: Path | None = None) -> Path:
    """Copy a snapshot with plain `btrfs send` and `btrfs receive`."""
    since: tuple[str | Path, ...] = ("-p", parent) if parent else ()
    sent = subprocess.run(
        ["btrfs", "--quiet", "send", *since, snapshot], stdout=subprocess.PIPE, check=True
    )
    subprocess.run(["btrfs", "--quiet", "receive", directory], input=sent.stdout, check=True)
    return directory / snapshot.name


def commit(fs: LoopFs) -> None:
    run("btrfs", "filesystem", "sync", fs.path)


def flip(path: Path, *, readonly: bool) -> None:
    """Change the read-only flag by the bare ioctl, as old btrfs-progs do."""
    with opened(path) as fd:
        fcntl.ioctl(fd, SUBVOL_SETFLAGS, struct.pack("=Q", 2 if readonly else 0))


def wait_for_a_tick() -> None:
    """Wait until the clock that the kernel reads times of inodes from has gone on."""
    before = time.clock_gettime(CLOCK_REALTIME_COARSE)
    while time.clock_gettime(CLOCK_REALTIME_COARSE) <= before:
        time.sleep(0.001)


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


def overwrite_one_byte(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"!")


class Received(NamedTuple):
    """A received snapshot, and where its file system is mounted."""

    fs: LoopFs
    path: Path


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda top: (top / "file").write_text("other"),
    "content of the same size": lambda top: overwrite_one_byte(top / "big"),
    "truncation": lambda top: os.truncate(top / "big", 1),
    "new file": lambda top: (top / "new").write_text("new"),
    "new empty file": lambda top: (top / "new").touch(),
    "new directory": lambda top: (top / "directory" / "new").mkdir(),
    "new link": lambda top: os.link(top / "file", top / "directory" / "link"),
    "new nested subvolume": lambda top: create_subvolume(top / "directory" / "nested"),
    "chmod of a file": lambda top: (top / "file").chmod(0o600),
    "chmod of a directory": lambda top: (top / "directory").chmod(0o700),
    "chmod of the top": lambda top: top.chmod(0o700),
    "chown of a link": lambda top: os.chown(top / "link", 1, 1, follow_symlinks=False),
    "attribute": lambda top: os.setxattr(top / "file", "user.name", b"value"),
    "deletion": lambda top: (top / "directory" / "inner").unlink(),
    "rename": lambda top: (top / "file").rename(top / "renamed"),
    "rename within a directory": lambda top: (top / "directory" / "inner").rename(
        top / "directory" / "renamed"
    ),
}


class TestChangedSinceReceived:
    @pytest.fixture
    def received(self, fs_a: LoopFs, fs_b: LoopFs) -> Received:
        live = fs_a.path / "live"
        create_subvolume(live)
        (live / "directory").mkdir()
        (live / "directory" / "inner").write_text("inner")
        (live / "file").write_text("file")
        (live / "big").write_bytes(os.urandom(16 << 20))
        (live / "link").symlink_to("file")
        for number in range(500):  # more than one leaf, so that not all of the tree is rewritten
            (live / f"file {number}").write_text("some")
        snapshot_read_only(live, fs_a.path / "snapshot")
        return Received(fs_b, receive(fs_a.path / "snapshot", fs_b.path))

    def test_is_false_at_first_and_once_its_data_is_on_disk(self, received: Received) -> None:
        assert not is_changed(received.path)
        commit(received.fs)
        assert not is_changed(received.path)
        facts = subvolume_at(received.path)
        assert facts.generation > facts.rtransid, "data was to be written out after receipt"

    def test_is_false_while_and_after_snapshots_are_taken_of_it(self, received: Received) -> None:
        copies = [received.fs.path / f"copy {number}" for number in range(3)]
        for copy in copies:
            snapshot_read_only(received.path, copy)
            run("btrfs", "--quiet", "subvolume", "snapshot", received.path, f"{copy} writable")
            (received.fs.path / f"{copy} writable" / "file").write_text("not in the snapshot")
            commit(received.fs)

        assert not any(map(is_changed, [received.path, *copies]))

    def test_is_false_of_an_increment(self, fs_a: LoopFs, received: Received) -> None:
        (fs_a.path / "live" / "file").write_text("later")
        snapshot_read_only(fs_a.path / "live", fs_a.path / "next")
        following = receive(fs_a.path / "next", received.fs.path, parent=fs_a.path / "snapshot")
        commit(received.fs)

        assert not is_changed(following)
        assert not is_changed(received.path)

    def test_is_false_after_a_remount_and_reading(self, received: Received) -> None:
        run("umount", received.fs.path)
        run("mount", "-o", "loop,strictatime", received.fs.image, received.fs.path)
        for path in (received.path, received.path / "directory"):
            os.listdir(path)
        (received.path / "big").read_bytes()
        commit(received.fs)

        assert not is_changed(received.path)

    def test_is_false_after_a_balance(self, received: Received) -> None:
        run("btrfs", "balance", "start", "--full-balance", received.fs.path)

        assert not is_changed(received.path)

    @pytest.mark.parametrize("change", CHANGES)
    def test_is_true_after_a_change(self, received: Received, change: str) -> None:
        before = subvolume_at(received.path)
        flip(received.path, readonly=False)
        wait_for_a_tick()
        CHANGES[change](received.path)
        flip(received.path, readonly=True)
        commit(received.fs)

        assert subvolume_at(received.path).received_uuid == before.received_uuid
        assert is_changed(received.path)

    def test_is_true_of_a_snapshot_of_the_changed_one(self, received: Received) -> None:
        before = subvolume_at(received.path)
        flip(received.path, readonly=False)
        wait_for_a_tick()
        overwrite_one_byte(received.path / "big")
        copies = [received.fs.path / "copy", received.fs.path / "copy of the copy"]
        snapshot_read_only(received.path, copies[0])
        snapshot_read_only(copies[0], copies[1])

        for copy in copies:
            assert subvolume_at(copy).received_uuid == before.received_uuid
            assert is_changed(copy)

    def test_is_false_if_nothing_was_changed_while_it_was_writable(
        self, received: Received
    ) -> None:
        flip(received.path, readonly=False)
        flip(received.path, readonly=True)

        assert not is_changed(received.path)

    def test_is_false_of_what_was_deleted_meanwhile(self, received: Received) -> None:
        snapshot_read_only(received.path, received.fs.path / "copy")
        facts = subvolume_at(received.fs.path / "copy")
        run("btrfs", "--quiet", "subvolume", "delete", received.fs.path / "copy")

        with opened(received.fs.path) as fd:
            assert not changed_since_received(fd, facts)


class TestQuotas:
    @pytest.fixture
    def fs(self, fs_a: LoopFs) -> LoopFs:
        """Return a file system with a subvolume and two snapshots, in many extents."""
        create_subvolume(fs_a.path / "live")
        for name in ("1", "2"):
            with (fs_a.path / "live" / "file").open("ab") as file:
                for number in range(4000):
                    os.pwrite(file.fileno(), name.encode() * 4096, number * 8192)
            snapshot_read_only(fs_a.path / "live", fs_a.path / name)
        commit(fs_a)
        return fs_a

    def test_that_are_off_are_empty_and_stay_off(self, fs: LoopFs) -> None:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="quotas not enabled"):
                run("btrfs", "qgroup", "show", fs.path)
            with opened(fs.path) as fd:
                assert quota_state(fd) is QuotaState.OFF
                assert read_quotas(fd) == {}

    def test_that_are_on_are_what_btrfs_progs_show(self, fs: LoopFs) -> None:
        run("btrfs", "quota", "enable", fs.path)
        run("btrfs", "quota", "rescan", "-w", fs.path)
        (fs.path / "live" / "more").write_bytes(os.urandom(1 << 20))
        shown = run("btrfs", "qgroup", "show", "--raw", "--sync", fs.path)

        with opened(fs.path) as fd:
            found = read_quotas(fd)
            assert quota_state(fd) is QuotaState.ON
        rows = [line.split()[:3] for line in shown.splitlines() if line.startswith("0/")]
        assert found == {
            int(group.removeprefix("0/")): Quota(int(referenced), int(exclusive))
            for group, referenced, exclusive in rows
        }
        assert found.keys() == {s.treeid for s in listed(fs.path)}
        assert found[subvolume_at(fs.path / "live").treeid].exclusive > 1 << 20

    def test_say_nothing_until_all_is_counted(self, fs: LoopFs) -> None:
        with opened(fs.path) as fd:
            seen: list[dict[int, Quota]] = []
            fcntl.ioctl(fd, QUOTA_CTL, bytearray(struct.pack("=QQ", QUOTA_ENABLE, 0)))
            while not seen or not seen[-1]:
                seen.append(read_quotas(fd))
            run("btrfs", "quota", "rescan", "-w", fs.path)
            final = read_quotas(fd)

        assert final
        assert all(numbers == final for numbers in seen if numbers)

    def test_that_are_inconsistent_are_not_told(self, fs: LoopFs) -> None:
        run("btrfs", "quota", "enable", fs.path)
        run("btrfs", "quota", "rescan", "-w", fs.path)
        member = f"0/{subvolume_at(fs.path / '1').treeid}"
        run("btrfs", "qgroup", "create", "1/0", fs.path)
        run("btrfs", "qgroup", "assign", "--no-rescan", member, "1/0", fs.path)
        commit(fs)

        with opened(fs.path) as fd:
            assert quota_state(fd) is QuotaState.UNRELIABLE
            assert read_quotas(fd) == {}
            run("btrfs", "quota", "rescan", "-w", fs.path)
            assert quota_state(fd) is QuotaState.ON
            assert read_quotas(fd)
