"""Runs by way of ssh of which any process is killed, or which are interrupted, at any moment."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from itertools import cycle, islice
from random import Random
from typing import TYPE_CHECKING

import pytest

from support.arrivals import Arrivals, moving_history
from support.command import buttersink
from support.far_arrivals import FarArrivals, Part, Route
from support.lossy_ssh import lossy_ssh_command
from support.processes import Background, working_seconds
from support.ssh_ends import Shell, piped, secure
from support.sshd import sshd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.command import Run
    from support.loopfs import LoopFs
    from support.sshd import Sshd

MIB = 1 << 20
ONCE = ("--retries", "0")
"""A link that is lost stays so."""
RATE = "60M"
TRANSFER_SECONDS = 0.15
"""What a transfer takes at that rate, about."""
KILLS = {Route.UPLOAD: 12, Route.DOWNLOAD: 12, Route.RELAY: 6}
SSHD_KILLS = 5
INTERRUPTS = 3
TOO_OFTEN = 100
"""Runs after which it is clear that none gets killed any more."""
STOPPED = "error: interrupted: nothing half-done counts; the next run goes on from here"
INTERRUPTED_IN_MADE_CODE = """
import signal
from buttersink.signals import stopped_once_by
try:
    with stopped_once_by(signal.SIGTERM):
        exec("import os, signal, time; os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)")
except KeyboardInterrupt:
    raise SystemExit(130)
"""


@pytest.fixture(scope="module")
def secure_shell() -> Iterator[Sshd]:
    with sshd() as server:
        yield server


@pytest.fixture
def arrivals(fs_a: LoopFs, fs_b: LoopFs) -> Arrivals:
    return Arrivals(moving_history(fs_a, 4, size=8 * MIB), fs_b.path / "backup")


@pytest.fixture
def through_pipes(tmp_path: Path) -> Shell:
    """A way on which ssh and the server are two processes, as they are with a real one."""
    shell = piped(tmp_path)
    return Shell(shell.host, lossy_ssh_command(shell.ssh_command))


def writer(route: Route) -> Part:
    """Return who writes to the destination, and cleans up there if anything goes wrong."""
    return Part.CLIENT if route is Route.DOWNLOAD else Part.SERVER


class Killer:
    """Kills one process of each run at a random moment."""

    def __init__(self, far: FarArrivals, seed: int) -> None:
        self._far = far
        self._rng = Random(seed)
        self._upto = working_seconds("--bwlimit", RATE, *far.command)
        far.settle()
        far.arrivals.reset()

    def kill_one(self, part: Part) -> bool:
        """Start a run, and kill who plays this part; return whether the run was hit by that.

        Whatever is left of it must end by itself, and what has arrived must be whole.
        """
        far, before = self._far, self._far.arrivals.abandoned()
        with Background("--bwlimit", RATE, *ONCE, *far.command) as run:
            self._wait_for_moment(run)
            if found := far.wait_for(part, run):
                with suppress(ProcessLookupError):
                    os.kill(self._rng.choice(found), signal.SIGKILL)
            done = run.wait()
            far.settle()
            run.wait_for_all()
        far.arrivals.check()
        if part is not writer(far.route):
            assert far.arrivals.abandoned() <= before, (part, done)
        assert_told(done, part, far)
        return done.status != 0

    def _wait_for_moment(self, run: Background) -> None:
        """Wait until any moment of a run, or of a transfer in it."""
        run.wait_for_handlers()
        fresh, upto = not self._far.arrivals.here(), self._upto
        if self._rng.random() < 0.5:
            self._far.wait_for(Part.RECEIVER, run)
            fresh, upto = False, TRANSFER_SECONDS
        moment = self._rng.uniform(0, upto)
        if not run.lives_for(moment) and fresh:
            self._upto = moment  # it was slow when that was measured

    def kill_often(self, parts: list[Part], kills: int) -> None:
        """Kill these in turn, and then let a run converge."""
        left = list(islice(cycle(parts), kills))
        for _ in range(TOO_OFTEN):
            if self.kill_one(left[-1]):
                left.pop()
            if not left:
                self._far.converge()
                return
            arrivals = self._far.arrivals
            if arrivals.here() == set(arrivals.originals):
                self._far.converge()
                arrivals.reset()
        raise AssertionError(f"these could not be killed: {left}")


def assert_told(done: Run, part: Part, far: FarArrivals) -> None:
    """Fail unless a run that lost one of its processes ended in order, with the cause."""
    if part is Part.CLIENT:
        assert done.status in {0, -signal.SIGKILL}, done
        return
    assert done.status in {0, 1, 3}, done
    assert "Traceback" not in done.stderr, done
    errors = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert len(errors) == (done.status != 0), done
    if errors and not (part is Part.RECEIVER and far.route is Route.DOWNLOAD):
        login = far.shell.host.partition(":")[0]
        assert f"{login}: " in errors[0], done


@pytest.mark.parametrize("route", Route)
def test_any_process_may_be_killed_at_any_moment(
    arrivals: Arrivals, through_pipes: Shell, route: Route
) -> None:
    killer = Killer(FarArrivals(arrivals, through_pipes, route), seed=1)

    killer.kill_often([writer(route), *Part], KILLS[route])


@pytest.mark.parametrize("route", [Route.UPLOAD, Route.DOWNLOAD])
def test_any_process_may_be_killed_at_any_moment_with_a_real_ssh(
    arrivals: Arrivals, secure_shell: Sshd, route: Route
) -> None:
    killer = Killer(FarArrivals(arrivals, secure(secure_shell), route), seed=2)

    killer.kill_often([writer(route), *Part], SSHD_KILLS)


@pytest.mark.parametrize("options", [(), ("--delete",)], ids=["plainly", "with --delete"])
@pytest.mark.parametrize("route", Route)
def test_what_was_half_done_is_done_anew(
    arrivals: Arrivals, through_pipes: Shell, route: Route, options: tuple[str, ...]
) -> None:
    far = FarArrivals(arrivals, through_pipes, route)
    with Background("--bwlimit", "1M", *ONCE, *far.command) as run:
        far.wait_for(Part.RECEIVER, run)
        for pid in far.pids(writer(route), run):
            os.kill(pid, signal.SIGKILL)
        assert run.wait().status != 0
        far.settle()
    assert not arrivals.check()
    assert len(arrivals.leftovers()) == 1

    far.converge(*options)


def test_what_was_half_done_goes_on_request(arrivals: Arrivals, through_pipes: Shell) -> None:
    far = FarArrivals(arrivals, through_pipes, Route.UPLOAD)
    with Background("--bwlimit", "1M", *ONCE, *far.command) as run:
        far.wait_for(Part.RECEIVER, run)
        (server,) = far.pids(Part.SERVER, run)
        os.kill(server, signal.SIGKILL)
        assert run.wait().status == 3
        far.settle()
    *_, destination = far.command

    done = buttersink("--delete", *far.shell.options, destination)

    assert done.status == 0, done
    assert not arrivals.leftovers()


class TestAnInterrupt:
    """By Ctrl-C it reaches all processes on this side; from a service manager perhaps only one."""

    @pytest.mark.parametrize("whole_group", [True, False], ids=["the group", "the process"])
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
    @pytest.mark.parametrize("route", [Route.UPLOAD, Route.DOWNLOAD])
    def test_at_any_moment_is_told_in_one_line_and_leaves_nothing(
        self,
        arrivals: Arrivals,
        tmp_path: Path,
        route: Route,
        number: signal.Signals,
        *,
        whole_group: bool,
    ) -> None:
        # The server is in the group, too, as there is no ssh in between.
        far = FarArrivals(arrivals, piped(tmp_path), route)
        interrupt_often(far, number, INTERRUPTS, whole_group=whole_group)

    def test_in_the_middle_of_code_that_is_being_made_gives_the_same_status(self) -> None:
        command = [sys.executable, "-c", INTERRUPTED_IN_MADE_CODE]
        done = subprocess.run(command, check=False, capture_output=True)
        assert (done.returncode, done.stderr) == (130, b"")

    @pytest.mark.parametrize("route", [Route.UPLOAD, Route.DOWNLOAD])
    def test_ends_a_real_ssh_and_the_server_behind_it(
        self, arrivals: Arrivals, secure_shell: Sshd, route: Route
    ) -> None:
        far = FarArrivals(arrivals, secure(secure_shell), route)
        interrupt_often(far, signal.SIGINT, 2, whole_group=True)
        interrupt_often(far, signal.SIGTERM, 2, whole_group=False)


def interrupt_often(
    far: FarArrivals, number: signal.Signals, count: int, *, whole_group: bool
) -> None:
    """Interrupt runs at random moments, and then let one converge."""
    rng = Random(number)
    upto = working_seconds("--bwlimit", RATE, *far.command)
    far.arrivals.reset()
    interrupts = 0
    for _ in range(TOO_OFTEN):
        fresh = not far.arrivals.here()
        with Background("--bwlimit", RATE, *ONCE, *far.command) as run:
            run.wait_for_handlers()
            moment = rng.uniform(0, upto)
            if run.lives_for(moment):
                interrupts += interrupted(run, number, whole_group=whole_group)
            elif fresh:
                upto = moment
            far.settle()
        arrived = far.arrivals.check()
        assert not far.arrivals.abandoned()
        if interrupts == count:
            far.converge()
            return
        if len(arrived) > 2:
            far.arrivals.reset()
    raise AssertionError(f"only {interrupts} runs could be interrupted")


def interrupted(run: Background, number: signal.Signals, *, whole_group: bool) -> bool:
    """Interrupt a run; return whether it was still time for that."""
    if whole_group:
        run.send_all(number)
    else:
        run.send(number)
    done = run.wait()
    run.wait_for_all()
    if done.status == 0:
        return False
    assert done.status == 130, done
    *told, last = done.stderr.splitlines()
    assert last == STOPPED, done
    assert all(re.match(r"sent |\d+ sent", line) for line in told), done
    return True
