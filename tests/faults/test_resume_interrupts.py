"""A run that is interrupted while a checkpoint is made, stopped by a service manager, or frozen."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from support.command import buttersink
from support.demanding import NAMES, Amount, Whole, demanding_snapshots
from support.processes import Background, wait_until
from support.resuming import LEAST_KEPT, kept_bytes, names, received_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from support.command import Ends
    from support.loopfs import LoopFs

MIB = 1 << 20
INTERRUPTS = 6


@pytest.fixture
def snaps(fs_a: LoopFs) -> Path:
    return demanding_snapshots(fs_a, Amount(large=40 * MIB, small=100))


def marks(backup: Path) -> set[str]:
    """Return the names of what is kept, or about to be."""
    return {path.name for path in backup.glob(".buttersink-*.part/mark-*")}


def send_each(run: Background, number: signal.Signals) -> None:
    """Send a signal to each process of a run, in whatever process group it is."""
    for process in run.survivors():
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


@pytest.mark.parametrize("what", ["json", "snapshot"])
def test_an_interrupt_while_a_checkpoint_is_made_ends_the_run(
    snaps: Path, backup: Path, ends: Ends, what: str
) -> None:
    whole = Whole(snaps)
    for _ in range(INTERRUPTS):
        kept = kept_bytes(backup)
        with Background("--checkpoint", "1M", "--bwlimit", "40M", *ends) as run:
            before = marks(backup)

            def new(run: Background = run, before: set[str] = before) -> bool:
                found = marks(backup) - before
                return run.ended() or any(
                    name.endswith("json") == (what == "json") for name in found
                )

            wait_until(new, "a checkpoint was made")
            if run.ended():
                break
            run.send_all(signal.SIGINT)
            done = run.wait()  # this fails if it does not end
            run.wait_for_all()
        assert done.status == 130, done
        assert kept_bytes(backup) >= kept or names(backup) & set(NAMES)
    done = buttersink(*ends)
    assert done.status == 0, done
    for name in NAMES:
        whole.check(name, backup / name, flags=True)
    assert names(backup) == set(NAMES)


def test_a_stop_of_all_processes_at_once_keeps_what_has_come(backup: Path, ends: Ends) -> None:
    """A service manager sends SIGTERM to each process of a service."""
    with Background("--bwlimit", "10M", *ends) as run:
        enough = 3 * LEAST_KEPT
        wait_until(lambda: run.ended() or received_bytes(backup) > enough, "some was received")
        send_each(run, signal.SIGTERM)
        done = run.wait()
        run.wait_for_all()
    assert done.status == 130, done
    assert kept_bytes(backup) >= LEAST_KEPT


def test_a_run_that_was_stopped_for_a_while_goes_on(snaps: Path, backup: Path, ends: Ends) -> None:
    """By Ctrl-Z, or with the whole machine. The kernel begins its stream anew then, in the middle.

    The ioctl BTRFS_IOC_SEND is restarted as other system calls are, though it has written already.
    """
    whole = Whole(snaps)
    with Background("--bwlimit", "20M", *ends) as run:
        for _ in range(3):
            run.wait_for_handlers()
            if not run.lives_for(0.5):
                break
            send_each(run, signal.SIGSTOP)
            wait_until(
                lambda: not any(p.state in "RSD" for p in run.survivors()), "all stood still"
            )
            send_each(run, signal.SIGCONT)
        done = run.wait()
    assert done.status == 0, done
    for name in NAMES:
        whole.check(name, backup / name, flags=True)
