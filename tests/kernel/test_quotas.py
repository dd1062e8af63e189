"""What quota groups say of subvolumes, and when they are not to be believed."""

from __future__ import annotations

import fcntl
import os
import struct
from typing import TYPE_CHECKING

import pytest

from buttersink.btrfs.subvolumes import (
    Quota,
    QuotaState,
    quota_state,
    read_quotas,
)
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run
from support.subvolume_reading import (
    commit,
    listed,
    opened,
    subvolume_at,
)

if TYPE_CHECKING:
    from support.loopfs import LoopFs

QUOTA_CTL = 0xC0109428
QUOTA_ENABLE = 1


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
