"""What new files would inherit from the top directory waits; its times are set last."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

import pytest

from buttersink.btrfs.applying.applier import Pending
from buttersink.btrfs.file_calls import (
    file_flags,
    lookup_inode,
    open_beneath,
    set_file_flags,
)
from support.applying import (
    ACCESS_ACL,
    COMPRESSION,
    DEFAULT_ACL,
    acl,
    applying,
    new_subvolume,
)

if TYPE_CHECKING:
    from pathlib import Path

    from buttersink.btrfs.applying.applier import Applier
    from support.loopfs import LoopFs

pytestmark = pytest.mark.kernel

DATA = memoryview(b"toast")
NOCOMP, NOCOW = 0x400, 0x800000
IMMUTABLE, APPEND = 0x10, 0x20
NODATACOW_INODE = 1 << 1
"""BTRFS_INODE_NODATACOW."""
IMMUTABLE_INODE = 1 << 6
"""BTRFS_INODE_IMMUTABLE."""
HOUR = 3600 * 10**9


@pytest.fixture
def top(fs_a: LoopFs) -> Path:
    return new_subvolume(fs_a.path)


def flags_of(path: Path) -> int:
    """Return the FS_*_FL flags."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return file_flags(fd)
    finally:
        os.close(fd)


def set_flags(path: Path, flags: int) -> None:
    """Set the FS_*_FL flags."""
    fd = os.open(path, os.O_RDONLY)
    try:
        set_file_flags(fd, flags)
    finally:
        os.close(fd)


def xattrs(path: Path) -> dict[str, bytes]:
    """Return the extended attributes."""
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


def make_all_kinds(applier: Applier) -> None:
    """Make something of each kind whose attributes can be seen, as the kernel's send does."""
    applier.mkfile(b"o257-7-0")
    applier.rename(b"o257-7-0", b"file")
    applier.write(b"file", 0, DATA)
    applier.mkdir(b"o258-7-0")
    applier.rename(b"o258-7-0", b"directory")


def assert_nothing_inherited(top: Path) -> None:
    """Check what `make_all_kinds` has made."""
    for name in ("file", "directory"):
        assert xattrs(top / name) == {}
        assert flags_of(top / name) & (NOCOMP | NOCOW) == 0
    assert stat.S_IMODE((top / "file").stat().st_mode) == 0o600
    assert stat.S_IMODE((top / "directory").stat().st_mode) == 0o700


def test_a_new_snapshot_gets_what_the_stream_says_and_its_files_do_not(top: Path) -> None:
    with applying(top) as applier:
        applier.set_xattr(b"", DEFAULT_ACL.encode(), memoryview(acl()))
        applier.set_xattr(b"", COMPRESSION.encode(), memoryview(b"zstd"))
        applier.utimes(b"", atime=HOUR, mtime=2 * HOUR)
        make_all_kinds(applier)
        assert xattrs(top) == {}
        applier.finish()
    assert xattrs(top) == {DEFAULT_ACL: acl(), COMPRESSION: b"zstd"}
    assert (top.stat().st_atime_ns, top.stat().st_mtime_ns) == (HOUR, 2 * HOUR)
    assert_nothing_inherited(top)


def test_what_the_place_gave_to_a_new_snapshot_is_taken_off(fs_a: LoopFs) -> None:
    """A new subvolume gets the properties of the subvolume that it is made in."""
    os.setxattr(fs_a.path, COMPRESSION, b"lzo")
    top = new_subvolume(fs_a.path)
    assert xattrs(top) == {COMPRESSION: b"lzo"}
    with applying(top) as applier:
        make_all_kinds(applier)
        applier.finish()
    assert xattrs(top) == {}
    assert_nothing_inherited(top)


def test_a_copy_of_the_parent_gets_back_what_it_had(top: Path) -> None:
    os.setxattr(top, DEFAULT_ACL, acl())
    os.setxattr(top, ACCESS_ACL, acl())
    os.setxattr(top, COMPRESSION, b"lzo")
    os.utime(top, ns=(HOUR, 2 * HOUR))
    before = xattrs(top)
    with applying(top, incremental=True) as applier:
        make_all_kinds(applier)
        applier.finish()
    assert xattrs(top) == before
    assert (top.stat().st_atime_ns, top.stat().st_mtime_ns) == (HOUR, 2 * HOUR)
    assert_nothing_inherited(top)


@pytest.mark.parametrize("flags", [NOCOW, NOCOMP])
def test_a_copy_of_the_parent_gets_back_its_flags(top: Path, flags: int) -> None:
    set_flags(top, flags)
    with applying(top, incremental=True) as applier:
        assert flags_of(top) & (NOCOW | NOCOMP) == 0
        make_all_kinds(applier)
        applier.finish()
    assert flags_of(top) & (NOCOW | NOCOMP) == flags
    assert_nothing_inherited(top)


def test_flags_of_the_stream_count_more_than_those_of_the_parent(top: Path) -> None:
    set_flags(top, NOCOMP)
    with applying(top, incremental=True) as applier:
        applier.fileattr(b"", NODATACOW_INODE)
        make_all_kinds(applier)
        applier.finish()
    assert flags_of(top) & (NOCOW | NOCOMP) == NOCOW
    assert_nothing_inherited(top)


def test_what_the_stream_takes_away_stays_away(top: Path) -> None:
    os.setxattr(top, DEFAULT_ACL, acl())
    os.setxattr(top, COMPRESSION, b"lzo")
    with applying(top, incremental=True) as applier:
        applier.remove_xattr(b"", DEFAULT_ACL.encode())
        applier.remove_xattr(b"", COMPRESSION.encode())
        applier.finish()
    assert xattrs(top) == {}
    assert flags_of(top) == 0


def test_what_the_stream_changes_is_changed(top: Path) -> None:
    os.setxattr(top, DEFAULT_ACL, acl())
    os.setxattr(top, COMPRESSION, b"lzo")
    os.utime(top, ns=(1, 2))
    with applying(top, incremental=True) as applier:
        applier.set_xattr(b"", DEFAULT_ACL.encode(), memoryview(acl(named=5)))
        applier.set_xattr(b"", COMPRESSION.encode(), memoryview(b"zstd"))
        applier.utimes(b"", atime=HOUR, mtime=HOUR)
        applier.utimes(b"", atime=HOUR, mtime=3 * HOUR)
        applier.mkdir(b"late")
        applier.finish()
    assert xattrs(top) == {DEFAULT_ACL: acl(named=5), COMPRESSION: b"zstd"}
    assert (top.stat().st_atime_ns, top.stat().st_mtime_ns) == (HOUR, 3 * HOUR)


def test_the_group_of_a_set_group_id_directory_goes_no_further_than_the_owner(top: Path) -> None:
    """New files have it for a moment; the kernel sends CHOWN and CHMOD for each of them."""
    os.chown(top, 0, 34)
    top.chmod(0o2755)
    with applying(top, incremental=True) as applier:
        applier.mkdir(b"directory")
        applier.chown(b"directory", 0, 0)
        applier.chmod(b"directory", 0o755)
        applier.finish()
    status = (top / "directory").stat()
    assert (status.st_gid, stat.S_IMODE(status.st_mode)) == (0, 0o755)


def test_another_applier_goes_on_where_one_has_stopped(top: Path) -> None:
    os.setxattr(top, DEFAULT_ACL, acl())
    set_flags(top, NOCOW)
    os.utime(top, ns=(HOUR, HOUR))
    with applying(top, incremental=True) as first:
        first.set_xattr(b"", COMPRESSION.encode(), memoryview(b"zstd"))
        first.mkfile(b"first")
        first.fileattr(b"first", IMMUTABLE_INODE)
        left = json.loads(json.dumps(first.pending().as_json()))
    assert xattrs(top) == {}
    with applying(top, incremental=True, pending=Pending.from_json(left)) as second:
        make_all_kinds(second)
        second.remove_xattr(b"", COMPRESSION.encode())
        second.finish()
    assert xattrs(top) == {DEFAULT_ACL: acl()}
    assert flags_of(top) & NOCOW
    assert top.stat().st_mtime_ns == HOUR
    assert_nothing_inherited(top)
    assert flags_of(top / "first") & IMMUTABLE
    set_flags(top / "first", 0)


def test_what_is_left_to_do_survives_json(top: Path) -> None:
    with applying(top, incremental=True) as applier:
        nothing = applier.pending()
        applier.set_xattr(b"", DEFAULT_ACL.encode(), memoryview(acl()))
        applier.fileattr(b"", NODATACOW_INODE)
        applier.utimes(b"", atime=-1, mtime=1)
        left = applier.pending()
    for pending in (nothing, left, Pending(), Pending(inodes={257: 64}, inherited=NOCOW)):
        assert Pending.from_json(json.loads(json.dumps(pending.as_json()))) == pending


@pytest.mark.parametrize("value", [{}, {"xattrs": []}, {**Pending().as_json(), "times": [1]}])
def test_what_is_no_record_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="record"):
        Pending.from_json(value)


@pytest.mark.parametrize("flag", [IMMUTABLE, APPEND], ids=["immutable", "append-only"])
def test_what_the_parent_had_protected_is_changed_and_protected_again(top: Path, flag: int) -> None:
    for name in ("kept", "gone", "moved", "linked"):
        (top / name).write_bytes(b"butter")
    (top / "directory").mkdir()
    (top / "directory" / "old").touch()
    protected = ["kept", "gone", "moved", "linked", "directory"]
    for name in protected:
        set_flags(top / name, flag)
    try:
        with applying(top, incremental=True) as applier:
            applier.write(b"kept", 0, DATA)
            applier.truncate(b"kept", 5)
            applier.flush()
            applier.chmod(b"kept", 0o640)
            applier.chown(b"kept", 12, 34)
            applier.set_xattr(b"kept", b"trusted.x", DATA)
            applier.utimes(b"kept", atime=1, mtime=2)
            applier.unlink(b"gone")
            applier.rename(b"moved", b"directory/moved")
            applier.link(b"directory/name", b"linked")
            applier.unlink(b"directory/old")
            applier.mkdir(b"directory/new")
            applier.set_xattr(b"directory", b"trusted.x", DATA)
            applier.finish()
        assert (top / "kept").read_bytes() == DATA
        assert (top / "kept").stat().st_mtime_ns == 2
        assert sorted(os.listdir(top)) == ["directory", "kept", "linked"]
        assert sorted(os.listdir(top / "directory")) == ["moved", "name", "new"]
        for name in ("kept", "linked", "directory", "directory/moved"):
            assert flags_of(top / name) & flag, name
        assert not flags_of(top / "directory" / "new") & flag
    finally:
        for name in ("kept", "linked", "directory", "directory/moved"):
            if (top / name).exists():
                set_flags(top / name, 0)


def test_an_inode_is_found_by_its_number(top: Path) -> None:
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / os.fsdecode(b"\xff")).touch()
    fd = os.open(top, os.O_RDONLY)
    try:
        for path in (b"", b"a", b"a/b", b"a/b/\xff"):
            inode = os.stat(os.path.join(os.fsencode(top), path)).st_ino
            assert lookup_inode(fd, inode) == path
        with pytest.raises(FileNotFoundError):
            lookup_inode(fd, 10_000)
        inner = open_beneath(fd, b"a/b", os.O_RDONLY)
        assert not os.get_inheritable(inner)
        os.close(inner)
    finally:
        os.close(fd)
