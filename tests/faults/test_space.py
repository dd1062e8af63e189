"""A destination that gets full: said clearly, left usable, and what fits still goes."""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from buttersink.model import Receiver
from support.arrivals import Arrivals
from support.command import buttersink
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.processes import Background, wait_until

if TYPE_CHECKING:
    from conftest import MakeFs
    from support.loopfs import LoopFs

MIB = 1 << 20
SMALL_DISK = "256M"
"""About 175 MiB of it are for data."""


FULL = {
    Receiver.OWN: r"WRITE of \d+, at byte \d+ of the stream",
    Receiver.BTRFS_PROGS: r"btrfs receive ended with status 1: writing to \d+ failed",
}
"""What is said of what could not be done, and for which file."""


def add_snapshot(fs: LoopFs, name: str, *, mib: int) -> None:
    """Make snaps/<name>, of random bytes, with nothing in common with any other."""
    live = fs.path / f"live {name}"
    create_subvolume(live)
    rng = Random(name)
    for number in range(0, mib, 10):
        (live / f"{number}").write_bytes(rng.randbytes(10 * MIB))
    (fs.path / "snaps").mkdir(exist_ok=True)
    snapshot_read_only(live, fs.path / "snaps" / name)


def received_bytes(destination: Path) -> int:
    """Return the sizes of all files, those of snapshots on their way among them."""
    total = 0
    for directory, _, names in os.walk(destination):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(directory, name).stat().st_size
    return total


@pytest.fixture
def source(fs_a: LoopFs) -> Path:
    """One that does not fit, between others that do."""
    add_snapshot(fs_a, "a small one", mib=20)
    add_snapshot(fs_a, "big", mib=200)
    add_snapshot(fs_a, "small ones", mib=30)
    return fs_a.path / "snaps"


def test_what_can_t_fit_is_not_begun(source: Path, make_fs: MakeFs) -> None:
    arrivals = Arrivals(source, make_fs(size=SMALL_DISK, label="b").path / "backup")

    done = buttersink(*arrivals.command)

    assert done.status == 3
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error"))
    told = re.search(r"could not send big: .* has (\d+) bytes free, .* takes (\d+) bytes$", error)
    assert told, error
    assert int(told[1]) < 200 * MIB < int(told[2]) < 201 * MIB
    assert "hint: free some space there and run again" in done.stderr
    assert arrivals.check() == {"a small one", "small ones"}
    assert not arrivals.leftovers()


@pytest.mark.parametrize(
    ("mount_options", "option"),
    [
        pytest.param("", "--estimate", id="nothing was measured"),
        pytest.param("compress=zstd", "-q", id="more may fit than seems, compressed"),
    ],
)
def test_what_turns_out_not_to_fit_gives_its_space_back_at_once(
    source: Path, make_fs: MakeFs, mount_options: str, option: str, receiver: Receiver
) -> None:
    fs = make_fs(size=SMALL_DISK, label="b", mount_options=mount_options)
    arrivals = Arrivals(source, fs.path / "backup", receiver=receiver)

    done = buttersink(option, *arrivals.command)

    assert done.status == 3
    errors = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert re.search(f"could not send big: {FULL[receiver]}: No space left on device$", errors[0])
    assert "hint: free some space at the destination and run again" in done.stderr
    assert arrivals.check() == {"a small one", "small ones"}
    assert not arrivals.leftovers()
    (fs.path / "backup" / "of somebody else").write_bytes(Random(0).randbytes(60 * MIB))


def test_once_there_is_space_the_next_run_succeeds(
    source: Path, make_fs: MakeFs, receiver: Receiver
) -> None:
    fs = make_fs(size="512M", label="b")
    (fs.path / "ballast").write_bytes(bytes(300 * MIB))
    arrivals = Arrivals(source, fs.path / "backup", receiver=receiver)
    assert buttersink("--estimate", *arrivals.command).status == 3
    assert "big" not in arrivals.check()

    (fs.path / "ballast").unlink()

    arrivals.converge()


def test_the_leftover_of_a_killed_run_gives_its_space_back_before_the_next_transfer(
    fs_a: LoopFs, make_fs: MakeFs, receiver: Receiver
) -> None:
    add_snapshot(fs_a, "half of the disk and more", mib=120)
    fs = make_fs(size=SMALL_DISK, label="b")
    arrivals = Arrivals(fs_a.path / "snaps", fs.path / "backup", receiver=receiver)
    with Background("--bwlimit", "100M", *arrivals.command) as run:
        wait_until(lambda: received_bytes(arrivals.destination) > 80 * MIB, "most of it was there")
        run.kill_all()
        assert run.wait().status == -signal.SIGKILL
        run.wait_for_all()
    assert arrivals.leftovers()
    assert not arrivals.check()

    arrivals.converge()
