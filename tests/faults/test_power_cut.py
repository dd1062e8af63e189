"""The power fails at any moment: on the disk, too, only whole snapshots have their names.

The destination's disk is a file on another btrfs. A clone of that file is the disk at one
moment: every write that was made before is on it, and none that came later. (A disk that loses
writes which it has acknowledged before a flush is not played here.)
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING

import pytest

from buttersink.model import Receiver
from support.arrivals import Arrivals, moving_history
from support.kernel_calls import clone
from support.loopfs import LoopFs, unmount
from support.loopfs import run as run_program
from support.processes import Background, working_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import MakeFs

MIB = 1 << 20
CUTS = 8
CUTS_IN_A_RUN = 3
TOO_OFTEN = 100
"""Runs after which it is clear that no more cuts can be made."""
_IOC_START_SYNC = 0x80089418
_IOC_WAIT_SYNC = 0x40089416


def commit_without_data(path: Path) -> None:
    """Commit the transaction, but do not write out data first: BTRFS_IOC_START_SYNC, WAIT_SYNC.

    The kernel does this by itself every 30 seconds. To do it more often makes a cut worse:
    the names that were given just before are on the disk.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        transaction = fcntl.ioctl(fd, _IOC_START_SYNC, bytes(8))
        fcntl.ioctl(fd, _IOC_WAIT_SYNC, transaction)
    finally:
        os.close(fd)


def cut(image: Path, copy: Path) -> Path:
    """Keep what is on a disk right now."""
    with image.open("rb") as original, copy.open("xb") as kept:
        clone(original.fileno(), kept.fileno())
    return copy


@contextmanager
def powered_up(image: Path, at: Path) -> Iterator[Path]:
    """Mount a disk as it was when the power was cut."""
    at.mkdir(exist_ok=True)
    run_program("mount", "-t", "btrfs", "-o", "loop", image, at)
    try:
        yield at
    finally:
        unmount(os.fspath(at))


@pytest.mark.parametrize(
    ("receiver", "seed"),
    [(Receiver.OWN, 0), (Receiver.OWN, 1), (Receiver.BTRFS_PROGS, 0)],
    ids=lambda value: value.value if isinstance(value, Receiver) else None,
)
def test_the_power_may_fail_at_any_moment(
    make_fs: MakeFs, scratch: Path, receiver: Receiver, seed: int
) -> None:
    source = moving_history(make_fs(label="source"), 5, size=3 * MIB)
    outer = make_fs(label="outer", size="6G")
    with LoopFs.create(outer.path, size="1G", label="inner") as inner:
        arrivals = Arrivals(source, inner.path / "backup", receiver=receiver)
        images = list(cuts(arrivals, inner.image, outer.path, Random(seed)))

    half_done = 0
    for image in images:
        with powered_up(image, scratch / "mnt") as mounted:
            then = arrivals.moved_to(mounted / "backup")
            then.check()
            half_done += bool(then.leftovers())
            then.converge()
    assert half_done, "the cuts came too early or too late to tell anything"


def cuts(arrivals: Arrivals, image: Path, directory: Path, rng: Random) -> Iterator[Path]:
    """Transfer again and again, and meanwhile, at random moments, keep what is on the disk."""
    upto = working_seconds(*arrivals.command)
    done = 0
    for _ in range(TOO_OFTEN):
        arrivals.reset()
        with Background(*arrivals.command) as run:
            run.wait_for_handlers()
            now = 0.0
            for moment in sorted(rng.uniform(0, upto) for _ in range(CUTS_IN_A_RUN)):
                if not run.lives_for(moment - now):
                    upto = min(upto, moment)  # it was slow when that was measured
                    break
                now = moment
                if rng.random() < 0.7:
                    commit_without_data(arrivals.destination)
                yield cut(image, directory / f"cut {done}")
                done += 1
            assert run.wait().status == 0
        arrivals.check()
        if done >= CUTS:
            return
    raise AssertionError(f"only {done} cuts could be made")
