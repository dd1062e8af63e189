"""Killed with SIGKILL many times in one transfer: it gets on, and little is sent twice."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from itertools import cycle
from random import Random
from typing import TYPE_CHECKING

import pytest

from support.demanding import NAMES, Amount, Whole, demanding_snapshots
from support.journeys import INTERVAL, ON_THE_WAY, Journey, Route
from support.loopfs import run as run_program
from support.processes import Background
from support.resuming import names

if TYPE_CHECKING:
    from pathlib import Path

    from support.loopfs import LoopFs

MIB = 1 << 20
AMOUNT = Amount(large=64 * MIB, small=1500)
RATE = "40M"
SECONDS = 0.3
"""At that rate about three intervals."""
KILLS = 10
TOO_OFTEN = 60


@pytest.mark.parametrize("route", Route)
def test_a_transfer_goes_on_however_often_one_of_its_processes_is_killed(
    fs_a: LoopFs, backup: Path, tmp_path: Path, route: Route
) -> None:
    snaps = demanding_snapshots(fs_a, AMOUNT)
    whole = Whole(snaps)
    for name in NAMES[:2]:
        (tmp_path / name).mkdir()
        journey = Journey.begin(snaps / name, backup, route, tmp_path / name)
        kill_often(journey, Random(f"{route} {name}"))
        whole.check(name, backup / name, flags=True)
    assert names(backup) == set(NAMES[:2])


def kill_often(journey: Journey, rng: Random) -> None:
    """Kill the processes of runs in turn, and then let one come to its end."""
    parts = cycle(journey.route.parts)
    kills = 0
    for _ in range(TOO_OFTEN):
        if kills == KILLS:
            break
        part, kept, work = next(parts), journey.kept(), journey.work()
        with Background(*journey.command("--retries", "0", "--bwlimit", RATE)) as run:
            journey.wait_for_stream(run, work)
            run.lives_for(rng.uniform(0, SECONDS))
            for pid in journey.pids(part, run):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            done = run.wait()
            run.wait_for_all()
        journey.settle()
        if names(journey.backup) & {journey.source.name}:  # it was too early, or too late
            run_program("btrfs", "-q", "subvolume", "delete", journey.backup / journey.source.name)
            kills = 0
            continue
        assert "Traceback" not in done.stderr, done
        kills += 1
        now = journey.kept()
        assert now >= kept
        if journey.route is not Route.NEITHER:
            reached = kept + journey.passed()
            assert reached - now <= INTERVAL + ON_THE_WAY, (part, done)
    assert kills == KILLS
    done = journey.run()
    assert done.status == 0, done
