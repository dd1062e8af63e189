"""Interrupted by SIGINT or SIGTERM at any moment: one line, nothing useless and no child left."""

from __future__ import annotations

import re
import signal
from random import Random
from typing import TYPE_CHECKING

import pytest

from buttersink.model import Receiver
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
def arrivals(fs_a: LoopFs, fs_b: LoopFs, receiver: Receiver) -> Arrivals:
    source = moving_history(fs_a, 5, size=4 * MIB)
    return Arrivals(source, fs_b.path / "backup", receiver=receiver)


def assert_nothing_useless(arrivals: Arrivals) -> None:
    """Fail unless all that is left over is of use to the next run."""
    assert not arrivals.abandoned()
    if arrivals.receiver is Receiver.BTRFS_PROGS:
        assert not arrivals.leftovers()


def assert_interrupted(done: Run) -> None:
    """Fail unless a run told in one line that it was interrupted, besides what it had done."""
    assert done.status == 130, done
    told = done.stderr.splitlines()
    assert told[-1] == STOPPED, done
    assert all(re.match(r"resuming |sent |\d+ sent", line) for line in told[:-1]), done


def assert_alone(run: Background, done: Run) -> None:
    """Fail unless nothing of a run goes on, but for what has just seen that nobody needs it."""
    assert not run.receiver(), done
    run.wait_for_all()


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
    assert_alone(run, done)
    if done.status == 0:
        return False
    assert_interrupted(done)
    return True


@pytest.mark.parametrize(
    ("receiver", "whole_group"),
    [(Receiver.OWN, True), (Receiver.OWN, False), (Receiver.BTRFS_PROGS, True)],
    ids=["the group", "the process", "the group with btrfs receive"],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_transfer_may_be_interrupted_at_any_moment(
    arrivals: Arrivals, number: signal.Signals, *, whole_group: bool
) -> None:
    rng = Random(number)
    upto = working_seconds(*arrivals.command)
    arrivals.reset()
    interrupts = 0
    for _ in range(TOO_OFTEN):
        with Background(*arrivals.command) as run:
            run.wait_for_handlers()
            moment = rng.uniform(0, upto)
            if not run.lives_for(moment):
                upto = min(upto, moment)
            elif interrupted(run, number, whole_group=whole_group):
                interrupts += 1
        arrived = arrivals.check()
        assert_nothing_useless(arrivals)
        if interrupts == INTERRUPTS:
            arrivals.converge()
            return
        if len(arrived) > 2:
            arrivals.reset()
    raise AssertionError(f"only {interrupts} runs could be interrupted")


def test_a_second_signal_does_not_disturb_the_cleaning_up(arrivals: Arrivals) -> None:
    with Background("--bwlimit", "1M", *arrivals.command) as run:
        run.wait_for_receiver()
        for _ in range(5):
            run.send_all(signal.SIGINT)
            run.send_all(signal.SIGTERM)
        done = run.wait()
        assert_interrupted(done)
        assert_alone(run, done)

    arrivals.check()
    assert_nothing_useless(arrivals)
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
