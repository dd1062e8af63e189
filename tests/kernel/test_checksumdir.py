"""`checksumdir` where it needs root and btrfs: a snapshot and its received copy are equal."""

from __future__ import annotations

import os
import socket
import stat
import struct
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buttersink.tools.checksumdir import main
from buttersink.tools.manifest import compare, write
from buttersink.tools.tree import scan
from support.loopfs import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import MakeFs
    from support.loopfs import LoopFs

NOBODY = 65534
MOMENT = 1_000_000_000_123_456_789

_ACL_USER_OBJ, _ACL_USER, _ACL_GROUP_OBJ, _ACL_MASK, _ACL_OTHER = 1, 2, 4, 16, 32


def acl(user: int) -> bytes:
    """Return rw-r--r-- with rw for `user` (include/uapi/linux/posix_acl_xattr.h)."""
    nobody = 0xFFFFFFFF
    rules = [
        (_ACL_USER_OBJ, 6, nobody),
        (_ACL_USER, 6, user),
        (_ACL_GROUP_OBJ, 4, nobody),
        (_ACL_MASK, 6, nobody),
        (_ACL_OTHER, 4, nobody),
    ]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *rule) for rule in rules)


def capability(number: int) -> bytes:
    """Return a permitted file capability, revision 2 (include/uapi/linux/capability.h)."""
    return struct.pack("<5I", 0x02000001, 1 << number, 0, 0, 0)


def make_tree(top: Path) -> None:
    """Fill `top` with one of everything."""
    (top / "dir" / "inner").mkdir(parents=True)
    (top / "empty").mkdir(mode=0o1777)
    (top / "file").write_bytes(b"content")
    (top / "dir" / "twin").hardlink_to(top / "file")
    (top / "link").symlink_to("target")
    (top / "dir" / "link twin").hardlink_to(top / "link")
    os.mkfifo(top / "pipe")
    os.mknod(top / "char", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    os.mknod(top / "block", stat.S_IFBLK | 0o640, os.makedev(240, 300))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(top / "socket"))
    (top / "program").write_bytes(b"#!/bin/true\n")
    os.chown(top / "program", 12, 34)
    (top / "program").chmod(0o6755)
    os.setxattr(top / "program", "security.capability", capability(10))
    os.setxattr(top / "file", "system.posix_acl_access", acl(1000))
    os.setxattr(top / "dir", "system.posix_acl_default", acl(1001))
    os.setxattr(top / "dir" / "inner", "user.empty", b"")
    os.setxattr(top / "dir" / "inner", "user.a=b", b"\0\xff \n")
    os.setxattr(top / "link", "trusted.of a link", b"1", follow_symlinks=False)
    (top / os.fsdecode(b"new\nline \xff")).write_bytes(os.urandom(3_000_000))
    (top / ("n" * 255)).write_bytes(b"")
    with (top / "sparse").open("wb") as file:
        file.truncate(5 << 20)
    for directory, subdirectories, files in os.walk(top, topdown=False):
        for name in (*files, *subdirectories):
            os.utime(Path(directory, name), ns=(MOMENT, MOMENT), follow_symlinks=False)


def digest(directory: Path) -> str:
    return write(scan(os.fspath(directory), jobs=2), lambda _: None)


def differences(expected: Path, found: Path) -> list[str]:
    return [str(each) for each in compare(scan(str(expected)), scan(str(found)))]


def snapshot(subvolume: Path, to: Path) -> Path:
    run("btrfs", "subvolume", "snapshot", "-r", subvolume, to)
    return to


def transfer(source: Path, destination: Path, *, parent: Path | None = None) -> Path:
    """Copy a snapshot with the programs of btrfs-progs."""
    since: tuple[str | Path, ...] = ("-p", parent) if parent else ()
    stream = subprocess.run(
        ["btrfs", "--quiet", "send", *since, source], check=True, stdout=subprocess.PIPE
    )
    subprocess.run(["btrfs", "--quiet", "receive", destination], check=True, input=stream.stdout)
    return destination / source.name


@pytest.fixture
def live(fs_a: LoopFs) -> Path:
    """Return a new subvolume."""
    run("btrfs", "subvolume", "create", fs_a.path / "live")
    return fs_a.path / "live"


class TestReceived:
    def test_a_received_snapshot_equals_its_source(
        self, live: Path, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        make_tree(live)
        one = snapshot(live, fs_a.path / "one")
        assert digest(one) == digest(live)
        received = transfer(one, fs_b.path)
        assert differences(one, received) == []
        assert digest(one) == digest(received)

    def test_so_does_one_that_was_received_as_an_increment(
        self, live: Path, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        make_tree(live)
        one = snapshot(live, fs_a.path / "one")
        (live / "dir" / "twin").unlink()
        (live / "dir").rename(live / "renamed")
        (live / "renamed" / "new").hardlink_to(live / "program")
        os.removexattr(live / "file", "system.posix_acl_access")
        two = snapshot(live, fs_a.path / "two")
        transfer(one, fs_b.path)
        received = transfer(two, fs_b.path, parent=one)
        assert differences(two, received) == []
        assert digest(two) == digest(received) != digest(one)

    def test_a_nested_subvolume_is_as_if_it_were_not_there(
        self, live: Path, fs_a: LoopFs, fs_b: LoopFs, capfd: pytest.CaptureFixture[str]
    ) -> None:
        make_tree(live)
        for nested in ("dir/nested", "nested"):
            run("btrfs", "subvolume", "create", live / nested)
            (live / nested / "inside").write_bytes(b"not sent")
        one = snapshot(live, fs_a.path / "one")
        received = transfer(one, fs_b.path)
        assert (one / "nested").is_dir()
        assert not (received / "nested").exists()
        assert digest(live) == digest(one) == digest(received)
        assert main([str(one)]) == 0
        assert capfd.readouterr().err == (
            f"checksumdir: left out of {one}, as nested subvolumes or mount points: "
            "dir/nested, nested\n"
        )

    def test_an_ordinary_empty_directory_counts(self, live: Path, fs_a: LoopFs) -> None:
        make_tree(live)
        one = snapshot(live, fs_a.path / "one")
        (live / "empty").rmdir()
        assert differences(one, live) == ["empty: missing (dir)"]

    def test_how_btrfs_stores_files_does_not_count(
        self, live: Path, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        make_tree(live)
        run("btrfs", "property", "set", live, "compression", "zstd")
        one = snapshot(live, fs_a.path / "one")
        received = transfer(one, fs_b.path)
        assert os.listxattr(one / "program") != os.listxattr(received / "program")
        assert differences(one, received) == []


def xattr(name: str, value: bytes, path: str) -> Callable[[Path], object]:
    return lambda top: os.setxattr(top / path, name, value, follow_symlinks=False)


def renumber(top: Path) -> None:
    (top / "char").unlink()
    os.mknod(top / "char", stat.S_IFCHR | 0o640, os.makedev(1, 5))
    os.utime(top / "char", ns=(MOMENT, MOMENT))


CHANGES: list[tuple[Callable[[Path], object], str]] = [
    (lambda top: os.chown(top / "link", 7, 0, follow_symlinks=False), "link: uid: 0 -> 7"),
    (lambda top: os.chown(top / "pipe", 0, 8), "pipe: gid: 0 -> 8"),
    (lambda top: os.chown(top, 9, 0), ".: uid: 0 -> 9"),
    (renumber, "char: device: 1:3 -> 1:5"),
    (
        xattr("security.capability", capability(11), "program"),
        r"program: xattr:security.capability: \x01\x00\x00\x02\x00\x04",
    ),
    (xattr("system.posix_acl_access", acl(1002), "file"), "xattr:system.posix_acl_access"),
    (xattr("user.empty", b"1", "dir/inner"), "dir/inner: xattr:user.empty:  -> 1"),
    (xattr("user.new", b"1", "."), ".: xattr:user.new: (none) -> 1"),
    (xattr("trusted.of a link", b"2", "link"), r"link: xattr:trusted.of\x20a\x20link: 1 -> 2"),
    (
        lambda top: os.removexattr(top / "dir/inner", "user.a=b"),
        r"dir/inner: xattr:user.a\x3db: \x00\xff\x20\x0a -> (none)",
    ),
]


class TestAttributes:
    @pytest.mark.parametrize(("change", "expected"), CHANGES)
    def test_every_change_changes_the_digest_and_is_named(
        self, live: Path, fs_a: LoopFs, change: Callable[[Path], object], expected: str
    ) -> None:
        make_tree(live)
        before = snapshot(live, fs_a.path / "before")
        change(live)
        assert digest(live) != digest(before)
        assert any(expected in line for line in differences(before, live))
        assert len(differences(before, live)) <= 2  # two names of the same file at most


class TestReading:
    def test_a_mount_point_is_left_out(self, live: Path, capfd: pytest.CaptureFixture[str]) -> None:
        make_tree(live)
        (live / "mounted").mkdir()
        run("mount", "-t", "tmpfs", "none", live / "mounted")
        try:
            (live / "mounted" / "inside").write_bytes(b"")
            assert main(["--manifest", str(live)]) == 0
        finally:
            run("umount", live / "mounted")
        shown = capfd.readouterr()
        assert "mounted" not in shown.out
        assert "left out" in shown.err
        assert "mounted" in shown.err

    def test_a_file_system_without_attributes_will_do(self, live: Path) -> None:
        run("mount", "-t", "ramfs", "none", live)
        try:
            (live / "file").write_bytes(b"content")
            assert [entry.xattrs for entry in scan(str(live))] == [(), ()]
        finally:
            run("umount", live)

    def test_reading_leaves_no_trace(self, make_fs: MakeFs) -> None:
        top = make_fs(mount_options="strictatime").path
        make_tree(top)
        # What links point to can't be read without a trace, except on what is read-only.
        paths = [path for path in (top, *top.rglob("*")) if not path.is_symlink()]
        before = [path.stat().st_atime_ns for path in paths]
        digest(top)
        assert [path.stat().st_atime_ns for path in paths] == before


@pytest.fixture
def open_tree(scratch: Path) -> Path:
    """Return a tree of root's that others may read, too."""
    scratch.chmod(0o755)
    (scratch / "dir").mkdir(mode=0o755)
    (scratch / "dir" / "file").write_bytes(b"for everybody")
    (scratch / "dir" / "file").chmod(0o644)
    return scratch


@contextmanager
def nobody() -> Iterator[None]:
    """Be a user without rights while the block lasts."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


class TestAsNobody:
    def test_it_reads_what_belongs_to_others(
        self, open_tree: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with nobody():
            assert main([str(open_tree)]) == 0
        assert capfd.readouterr() == (f"{digest(open_tree)}  {open_tree}\n", "")

    @pytest.mark.parametrize("name", ["dir/file", "dir"])
    def test_what_it_may_not_read_is_named_in_one_line(
        self, open_tree: Path, name: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        (open_tree / name).chmod(0)
        with nobody():
            assert main([str(open_tree)]) == 1
        reason = f"cannot read {open_tree}/{name}: Permission denied (run it as root)"
        assert capfd.readouterr() == ("", f"checksumdir: {reason}\n")
