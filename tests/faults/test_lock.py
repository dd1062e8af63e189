"""Two runs at one destination: one at a time, and what a killed one still writes is no harm."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from buttersink.model import Receiver
from support.arrivals import Arrivals, moving_history
from support.command import buttersink, directory
from support.processes import Background, processes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.loopfs import LoopFs

MIB = 1 << 20


@pytest.fixture
def arrivals(fs_a: LoopFs, fs_b: LoopFs, receiver: Receiver) -> Arrivals:
    source = moving_history(fs_a, 3, size=2 * MIB)
    return Arrivals(source, fs_b.path / "backup", receiver=receiver)


@pytest.fixture
def slow_run(arrivals: Arrivals) -> Iterator[Background]:
    """A run that is in the middle of its first transfer, and would be for long."""
    with Background("--bwlimit", "100K", *arrivals.command) as run:
        run.wait_for_receiver()
        yield run


def assert_refused(arrivals: Arrivals, *options: str) -> None:
    """Fail unless a run says in one line that another one is at work, and does nothing."""
    before = arrivals.leftovers()
    done = buttersink(*options, *arrivals.command)

    assert done.status == 1
    assert done.stderr == (
        f"error: another run is writing to {os.fsdecode(directory(arrivals.destination))} "
        f"(wait until it has ended, then run again)\n"
    )
    assert done.stdout == ""
    assert arrivals.leftovers() == before


def test_the_second_run_gives_up_and_destroys_nothing(
    arrivals: Arrivals, slow_run: Background
) -> None:
    assert_refused(arrivals)
    assert_refused(arrivals, "--delete", "--force")

    assert not slow_run.ended()
    assert slow_run.receiver()
    slow_run.send(signal.SIGINT)
    assert slow_run.wait().status == 130
    arrivals.converge()


def test_cleaning_up_waits_for_its_turn_like_any_run(
    arrivals: Arrivals, slow_run: Background
) -> None:
    before = arrivals.leftovers()

    done = buttersink("--delete", directory(arrivals.destination))

    assert done.status == 1
    assert "another run is writing to" in done.stderr
    assert arrivals.leftovers() == before
    assert slow_run.receiver()


def test_looking_is_not_kept_waiting(arrivals: Arrivals, slow_run: Background) -> None:
    listing = buttersink(directory(arrivals.destination))
    dry_run = buttersink("--dry-run", *arrivals.command)
    source = buttersink(directory(arrivals.source))

    assert (listing.status, dry_run.status, source.status) == (0, 0, 0), (listing, dry_run)
    assert slow_run.receiver()


def test_another_directory_of_the_same_file_system_is_free(
    arrivals: Arrivals, slow_run: Background, fs_b: LoopFs
) -> None:
    arrivals.moved_to(fs_b.path / "other").converge()

    assert slow_run.receiver()


def test_a_run_may_follow_right_after_another(arrivals: Arrivals) -> None:
    with Background(*arrivals.command) as first, Background(*arrivals.command) as second:
        done = [first.wait(), second.wait()]

    assert {run.status for run in done} <= {0, 1}
    assert 0 in {run.status for run in done}
    arrivals.converge()


@pytest.mark.parametrize("receiver", [Receiver.OWN], ids=["buttersink"])
def test_our_receiver_of_a_killed_run_keeps_nobody_waiting(
    arrivals: Arrivals, slow_run: Background
) -> None:
    host = slow_run.receiver_host()
    assert host is not None
    for pid in (host, slow_run.wait_for_receiver()):
        os.kill(pid, signal.SIGSTOP)
    slow_run.send(signal.SIGKILL)
    assert slow_run.wait().status == -signal.SIGKILL

    arrivals.converge()

    slow_run.wait_for_all()
    assert arrivals.check() == set(arrivals.originals)


@pytest.mark.parametrize("receiver", [Receiver.BTRFS_PROGS], ids=["btrfs-progs"])
def test_btrfs_receive_of_a_killed_run_holds_the_lock_until_it_ends(
    arrivals: Arrivals, slow_run: Background
) -> None:
    receiver = slow_run.wait_for_receiver()
    os.kill(receiver, signal.SIGSTOP)
    slow_run.send(signal.SIGKILL)
    assert slow_run.wait().status == -signal.SIGKILL
    assert [process.pid for process in slow_run.survivors()] == [receiver]

    assert_refused(arrivals)
    assert buttersink("--dry-run", *arrivals.command).status == 0
    assert receiver in {process.pid for process in processes()}

    os.kill(receiver, signal.SIGCONT)
    slow_run.wait_for_all()
    assert not arrivals.check()
    arrivals.converge()


def test_a_run_into_a_directory_above_leaves_alone_what_arrives_below(
    arrivals: Arrivals, slow_run: Background
) -> None:
    before = arrivals.leftovers()
    above = directory(arrivals.destination.parent)

    done = buttersink("--delete", "--force", *arrivals.command[:-1], above)

    assert done.status == 3
    assert "another run is receiving in .buttersink-" in done.stderr
    assert arrivals.leftovers() == before
    assert not slow_run.ended()
    slow_run.send(signal.SIGINT)
    assert slow_run.wait().status == 130
    arrivals.converge()
