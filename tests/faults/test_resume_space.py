"""A destination that gets full keeps what has come; once there is room, a transfer goes on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from support.command import buttersink
from support.demanding import NAMES, Amount, Whole, demanding_snapshots
from support.loopfs import run as run_program
from support.resuming import kept_bytes, names, partial
from support.ssh_ends import piped

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeFs
    from support.command import Argument
    from support.loopfs import LoopFs

MIB = 1 << 20
SMALL_DISK = "256M"
"""About 175 MiB of it are for data."""
FIRST, *_ = NAMES


def fill(fs: LoopFs, path: Path, *, leaving: int) -> None:
    """Leave so many bytes free."""
    run_program("btrfs", "filesystem", "sync", fs.path)
    usage = run_program("btrfs", "filesystem", "usage", "--raw", fs.path)
    free = re.search(r"Free \(estimated\):\s+(\d+)", usage)
    assert free
    path.write_bytes(bytes(int(free[1]) - leaving))
    run_program("btrfs", "filesystem", "sync", fs.path)


def enlarge(fs: LoopFs, size: str) -> None:
    """Make the disk larger, and the file system on it."""
    run_program("truncate", "--size", size, fs.image)
    run_program("losetup", "--set-capacity", fs.device)
    run_program("btrfs", "filesystem", "resize", "max", fs.path)


@pytest.fixture
def snaps(fs_a: LoopFs) -> Path:
    return demanding_snapshots(fs_a, Amount(large=60 * MIB, small=300))


@pytest.mark.parametrize("enlarged", [False, True], ids=["something is deleted", "it is enlarged"])
@pytest.mark.parametrize("far", [False, True], ids=["local", "to ssh"])
def test_once_there_is_room_the_next_run_goes_on(
    snaps: Path, make_fs: MakeFs, tmp_path: Path, *, far: bool, enlarged: bool
) -> None:
    whole = Whole(snaps)
    fs = make_fs(size=SMALL_DISK, label="small")
    backup, ballast = fs.path / "backup", fs.path / "ballast"
    backup.mkdir()
    fill(fs, ballast, leaving=40 * MIB)
    shell = piped(tmp_path)
    there: tuple[Argument, ...] = (f"{backup}/",)
    if far:
        there = (*shell.options, shell.end(backup).url)
    options = ("--checkpoint", "4M", "--estimate")

    full = buttersink(*options, f"{snaps}/{FIRST}", *there)

    assert full.status == 3, full
    assert "No space left on device" in full.stderr
    assert "hint: free some space at the destination and run again" in full.stderr
    kept = kept_bytes(backup)
    assert kept > 16 * MIB
    assert names(backup) == {partial(backup).path}
    again = buttersink(*options, f"{snaps}/{FIRST}", *there)
    assert again.status == 3, again
    assert kept_bytes(backup) >= kept

    if enlarged:
        enlarge(fs, "1G")
    else:
        ballast.unlink()
    kept = kept_bytes(backup)
    done = buttersink("--json", f"{snaps}/{FIRST}", *there)

    assert done.status == 0, done
    assert done.the("finished")["resumed_bytes"] >= kept
    assert names(backup) == {FIRST}
    whole.check(FIRST, backup / FIRST)
