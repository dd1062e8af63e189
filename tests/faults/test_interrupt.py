"""Interrupted by SIGINT or SIGTERM at any moment: one line, a clean destination, no child left."""

from __future__ import annotations

import re
import signal
from random import Random
from typing import TYPE_CHECKING

import pytest

from support.arrivals import Arrivals, moving_history
from support.command import directory
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.processes import Background, working_seconds

if TYPE_CHECKING:
    from pathlib import Path

    from support.command import Argument, Run
    from support.loopfs import LoopFs

MIB = 1 << 20
INTERRUPTS = 8
TOO_OFTEN = 100
STOPPED = "error: interrupted: nothing half-done counts; the next run goes on from here"


@pytest.fixture
def arrivals(fs_a: LoopFs, fs_b: LoopFs) -> Arrivals:
    return Arrivals(moving_history(fs_a, 5, size=4 * MIB), fs_b.path / "backup")


def assert_interrupted(done: Run) -> None:
    """Fail unless a run told in one line that it was interrupted, besides what it had done."""
    assert done.status == 130, done
    told = done.stderr.splitlines()
    assert told[-1] == STOPPED, done
    assert all(re.match(r"sent |\d+ sent", line) for line in told[:-1]), done


def interrupted(run: Background, number: signal.Signals, *, whole_group: bool) -> bool:
    """Interrupt a run; fail unless it ends as it should, or has ended well just before.

    Returns:
        Whether it was still time to interrupt it.
    """
    if whole_group:
        run.send_all(number)
    else:
        run.send(number)
    done = run.wait()
    assert not run.survivors(), done
    if done.status == 0:
        return False
    assert_interrupted(done)
    return True


@pytest.mark.parametrize("whole_group", [True, False], ids=["the group", "the process"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_transfer_may_be_interrupted_at_any_moment(
    arrivals: Arrivals, number: signal.Signals, *, whole_group: bool
) -> None:
    rng = Random(number)
    upto = working_seconds(*arrivals.ends)
    arrivals.reset()
    interrupts = 0
    for _ in range(TOO_OFTEN):
        with Background(*arrivals.ends) as run:
            run.wait_for_handlers()
            moment = rng.uniform(0, upto)
            if not run.lives_for(moment):
                upto = min(upto, moment)
            elif interrupted(run, number, whole_group=whole_group):
                interrupts += 1
        arrived = arrivals.check()
        assert not arrivals.leftovers()
        if interrupts == INTERRUPTS:
            arrivals.converge()
            return
        if len(arrived) > 2:
            arrivals.reset()
    raise AssertionError(f"only {interrupts} runs could be interrupted")


def test_a_second_signal_does_not_disturb_the_cleaning_up(arrivals: Arrivals) -> None:
    with Background("--bwlimit", "1M", *arrivals.ends) as run:
        run.wait_for_receiver()
        for _ in range(5):
            run.send_all(signal.SIGINT)
            run.send_all(signal.SIGTERM)
        assert_interrupted(run.wait())
        assert not run.survivors()

    arrivals.check()
    assert not arrivals.leftovers()
    arrivals.converge()


def many_files(fs: LoopFs) -> Path:
    """Make a snapshot that takes a while to measure."""
    live = fs.path / "live"
    create_subvolume(live)
    for number in range(40):
        (live / f"{number}").mkdir()
        for name in range(300):
            (live / f"{number}" / f"{name}").touch()
    (fs.path / "snaps").mkdir()
    snapshot_read_only(live, fs.path / "snaps" / "many files")
    return fs.path / "snaps"


def test_measuring_may_be_interrupted_at_any_moment(fs_a: LoopFs, fs_b: LoopFs) -> None:
    snaps = many_files(fs_a)
    commands: tuple[tuple[Argument, ...], ...] = (
        (directory(snaps),),
        ("--dry-run", directory(snaps), directory(fs_b.path)),
    )
    rng = Random(0)
    for command in commands:
        upto = working_seconds(*command)
        interrupts = 0
        for _ in range(TOO_OFTEN):
            with Background(*command) as run:
                run.wait_for_handlers()
                if run.lives_for(rng.uniform(0, upto)):
                    interrupts += interrupted(run, signal.SIGINT, whole_group=True)
            if interrupts == INTERRUPTS // 2:
                break
        assert interrupts == INTERRUPTS // 2
