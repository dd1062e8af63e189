"""Killed with SIGKILL at any moment: what arrived is whole, and the next run goes on from there."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import pytest

from buttersink.model import Receiver
from support.arrivals import Arrivals, moving_history
from support.processes import Background, wait_until, working_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.loopfs import LoopFs

MIB = 1 << 20
TOO_OFTEN = 200
"""Runs after which it is clear that none gets killed any more."""


@pytest.fixture
def arrivals(fs_a: LoopFs, fs_b: LoopFs, receiver: Receiver) -> Arrivals:
    source = moving_history(fs_a, 6, size=3 * MIB)
    return Arrivals(source, fs_b.path / "backup", receiver=receiver)


def kill_often(
    arrivals: Arrivals, *, seed: int, kills: int, kill: Callable[[Background], bool]
) -> int:
    """Kill runs at random moments and check the destination each time, then let one converge.

    Args:
        arrivals: What is transferred; to a destination that is empty at first.
        seed: Of the moments.
        kills: Number of runs that must have been killed.
        kill: Kills what it is about; tells whether it was still there.

    Returns:
        The number of kills that left something half-done behind.
    """
    rng = Random(seed)
    upto = working_seconds(*arrivals.command)
    arrivals.reset()
    done = half_done = 0
    for _ in range(TOO_OFTEN):
        fresh = not arrivals.here()
        moment = rng.uniform(0, upto)
        with Background(*arrivals.command) as run:
            run.wait_for_handlers()
            if not run.lives_for(moment):
                upto = moment if fresh else upto  # it was slow when that was measured
            elif kill(run):
                done += 1
                arrivals.check()
            run.wait()
            run.wait_for_all()
        arrived = arrivals.check()
        half_done += bool(arrivals.leftovers())
        if done == kills:
            arrivals.converge()
            return half_done
        if arrived == set(arrivals.originals):
            arrivals.converge()
            arrivals.reset()
    raise AssertionError(f"only {done} runs could be killed")


@pytest.mark.parametrize(
    ("receiver", "seed"),
    [*((Receiver.OWN, seed) for seed in range(3)), (Receiver.BTRFS_PROGS, 0)],
    ids=lambda value: value.value if isinstance(value, Receiver) else None,
)
def test_all_processes_of_a_run_may_be_killed_at_any_moment(arrivals: Arrivals, seed: int) -> None:
    def kill(run: Background) -> bool:
        run.kill_all()
        return run.wait().status == -signal.SIGKILL

    half_done = kill_often(arrivals, seed=seed, kills=12, kill=kill)

    assert half_done, "the kills came too early or too late to tell anything"


def test_the_main_process_alone_may_be_killed_at_any_moment(arrivals: Arrivals) -> None:
    def kill(run: Background) -> bool:
        run.send(signal.SIGKILL)
        return run.wait().status == -signal.SIGKILL

    assert kill_often(arrivals, seed=0, kills=10, kill=kill)


def test_the_receiving_program_may_be_killed_at_any_moment(arrivals: Arrivals) -> None:
    half_done = kill_often(
        arrivals, seed=0, kills=10, kill=partial(kill_helper, Background.receiver)
    )

    assert not half_done, "the run that lost its receiver should have cleaned up"


@pytest.mark.parametrize("receiver", [Receiver.OWN], ids=["buttersink"])
def test_the_program_that_makes_receivers_may_be_killed_at_any_moment(arrivals: Arrivals) -> None:
    half_done = kill_often(
        arrivals, seed=0, kills=3, kill=partial(kill_helper, Background.receiver_host)
    )

    assert not half_done


def test_what_one_receiver_has_left_does_not_disturb_the_other(arrivals: Arrivals) -> None:
    with Background("--bwlimit", "1M", "--checkpoint", "1M", *arrivals.command) as run:
        run.wait_for_receiver()
        if arrivals.receiver is Receiver.OWN:
            left = ".buttersink-*.part/mark-*"
            wait_until(lambda: [*arrivals.destination.glob(left)], "there was a checkpoint")
        run.kill_all()
        assert run.wait().status == -signal.SIGKILL
        run.wait_for_all()
    assert arrivals.leftovers()

    (arrivals.receiver,) = set(Receiver) - {arrivals.receiver}
    arrivals.converge()


def kill_helper(find: Callable[[Background], int | None], run: Background) -> bool:
    """Kill a process that a run has started; tell whether the run failed by that."""
    while (helper := find(run)) is None:
        if run.ended():
            return False
    with suppress(ProcessLookupError):
        os.kill(helper, signal.SIGKILL)
    done = run.wait()
    assert done.status in {0, 3}, done
    assert "Traceback" not in done.stderr, done
    return done.status == 3
