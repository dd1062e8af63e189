"""Links that are lost in the middle of a run, which gets them back and goes on."""

from __future__ import annotations

import shlex
import signal
from random import Random
from typing import TYPE_CHECKING

import pytest

from support.arrivals import Arrivals, moving_history
from support.changing_ssh import DENIED, REFUSED, ChangingShell, failing, in_other_mounts
from support.far_arrivals import FarArrivals, Route
from support.link_faults import LinkFault, Trouble, Way
from support.link_proxy import LinkProxy
from support.link_spots import conversation, first_end, frames, is_confirmation, spots
from support.lossy_ssh import lossy_ssh_command
from support.pipe_ssh import pipe_ssh_command
from support.processes import Background, wait_until
from support.ssh_ends import Shell, piped
from support.sshd import sshd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.command import Run
    from support.link_spots import Spot
    from support.loopfs import LoopFs
    from support.sshd import Sshd

MIB = 1 << 20
ROUTES = [Route.UPLOAD, Route.DOWNLOAD]
CUTS = 3
"""How often the link of one run is cut; the pauses then take seven seconds at most."""


@pytest.fixture(scope="module")
def secure_shell() -> Iterator[Sshd]:
    with sshd() as server:
        yield server


@pytest.fixture
def arrivals(fs_a: LoopFs, fs_b: LoopFs) -> Arrivals:
    return Arrivals(moving_history(fs_a, 2, size=MIB), fs_b.path / "backup")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return piped(tmp_path)


def lossy(shell: Shell, *spots: Spot) -> list[str]:
    """Return what runs as ssh for connections that are cut there, one each, and for all others."""
    troubles = (Trouble.CLOSE, Trouble.RESET)
    cut = [
        lossy_ssh_command(shell.ssh_command, LinkFault(troubles[number % 2], *spot))
        for number, spot in enumerate(spots)
    ]
    return [*cut, shell.ssh_command]


def changing(tmp_path: Path, *ways: str) -> ChangingShell:
    (tmp_path / "changing").mkdir()
    return ChangingShell("nas", tmp_path / "changing", *ways)


def assert_came_back(done: Run, arrivals: Arrivals, *, connections: int) -> None:
    """Fail unless all has arrived in this very run, with so many connections."""
    assert done.status == 0, done
    assert arrivals.check() == set(arrivals.originals), done
    assert not arrivals.leftovers(), done
    assert len(done.named("redialling")) == connections - 1, done
    assert not done.named("failed"), done
    finished = done.the("finished")
    assert (finished["transferred"], finished["failed"]) == (len(arrivals.originals), 0), done


def data_spot(far: FarArrivals, tmp_path: Path) -> Spot:
    """Return a place in the middle of a stream."""
    traffic = conversation(far, tmp_path)
    way = Way.THERE if far.route is Route.UPLOAD else Way.BACK
    said = traffic.there if way is Way.THERE else traffic.back
    return spots(way, said, Random(1))["in DATA"]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("route", ROUTES)
def test_a_link_may_be_cut_again_and_again_anywhere_in_one_run(
    arrivals: Arrivals, shell: Shell, tmp_path: Path, route: Route, seed: int
) -> None:
    rng = Random(seed)
    far = FarArrivals(arrivals, shell, route)
    traffic = conversation(far, tmp_path)
    everywhere: list[Spot] = []
    certain: list[Spot] = []
    for way, said in ((Way.THERE, traffic.there), (Way.BACK, traffic.back)):
        found = spots(way, said, rng).values()
        everywhere += found
        # Another run says a little less, if its data is divided into fewer frames.
        last = len(said) * 9 // 10
        certain += [spot for spot in found if first_end(traffic, way) <= spot.after < last]
    cuts = [rng.choice(certain), *rng.sample(everywhere, CUTS - 1)]
    link = changing(tmp_path, *lossy(shell, *cuts))

    done = far.by(link.shell).run("--json")

    assert link.connections > 1, cuts
    assert_came_back(done, arrivals, connections=link.connections)


def test_a_snapshot_whose_confirmation_is_lost_is_not_sent_again(
    arrivals: Arrivals, shell: Shell, tmp_path: Path
) -> None:
    far = FarArrivals(arrivals, shell, Route.UPLOAD)
    back = conversation(far, tmp_path).back
    (*_, last) = (start for start, kind, said in frames(back) if is_confirmation(kind, said))
    fault = LinkFault(Trouble.CLOSE, Way.BACK, last + 2)
    way = changing(tmp_path, lossy_ssh_command(shell.ssh_command, fault), shell.ssh_command)

    done = far.by(way.shell).run("--json")

    assert_came_back(done, arrivals, connections=2)
    assert [event["step"]["path"] for event in done.named("transfer_done")] == ["0", "1"]


@pytest.mark.parametrize("trouble", Trouble)
@pytest.mark.parametrize("route", ROUTES)
def test_a_real_link_may_be_cut_or_stall_and_comes_back(
    arrivals: Arrivals, secure_shell: Sshd, route: Route, trouble: Trouble
) -> None:
    rng = Random(f"{route} {trouble}")
    with LinkProxy(secure_shell.port) as proxy:
        host = f"{secure_shell.user}@127.0.0.1:{proxy.port}"
        far = FarArrivals(arrivals, Shell(host, secure_shell.ssh_command), route)
        far.converge()
        arrivals.reset()
        way = Way.THERE if route is Route.UPLOAD else Way.BACK
        passed, before = proxy.passed(way), proxy.connections
        # Beyond what greeting takes, so that the run has begun.
        places = sorted(rng.randrange(passed // 4, passed * 9 // 10) for _ in range(2))
        proxy.inject(*(LinkFault(trouble, way, place) for place in places))

        done = far.run("--json", "--stall-timeout", "3")  # logging in takes long on a busy machine

        connections = proxy.connections - before
        assert connections > 1, done
        assert_came_back(done, arrivals, connections=connections)


class TestAHostThatDoesNotComeBack:
    @pytest.mark.parametrize("route", ROUTES)
    def test_is_dialled_as_often_as_was_said_and_then_told_as_lost(
        self, arrivals: Arrivals, shell: Shell, tmp_path: Path, route: Route
    ) -> None:
        far = FarArrivals(arrivals, shell, route)
        cut, _ = lossy(shell, data_spot(far, tmp_path))
        way = changing(tmp_path, cut, failing(REFUSED))

        done = far.by(way.shell).run("--json", "--retries", "2")

        assert done.status == 3, done
        told = done.named("redialling")
        assert [event["pause_seconds"] for event in told] == [1, 2]
        assert "Connection refused" in told[1]["message"]
        assert way.connections == 3
        (failed,) = done.named("failed")
        assert "nas: " in failed["message"]
        assert "refused" not in failed["message"]
        assert not arrivals.check()
        far.converge()

    def test_is_not_dialled_if_that_is_not_wanted(
        self, arrivals: Arrivals, shell: Shell, tmp_path: Path
    ) -> None:
        far = FarArrivals(arrivals, shell, Route.UPLOAD)
        way = changing(tmp_path, *lossy(shell, data_spot(far, tmp_path)))
        done = far.by(way.shell).run("--json", "--retries", "0")
        assert (done.status, way.connections, done.named("redialling")) == (3, 1, [])
        far.converge()

    def test_at_the_first_attempt_is_told_at_once(self, arrivals: Arrivals, tmp_path: Path) -> None:
        way = changing(tmp_path, failing(REFUSED))
        done = FarArrivals(arrivals, way.shell, Route.UPLOAD).run()
        assert (done.status, way.connections) == (1, 1)

    def test_since_it_lets_nobody_in_any_more_is_told_at_once(
        self, arrivals: Arrivals, shell: Shell, tmp_path: Path
    ) -> None:
        far = FarArrivals(arrivals, shell, Route.UPLOAD)
        cut, _ = lossy(shell, data_spot(far, tmp_path))
        way = changing(tmp_path, cut, failing(DENIED))
        done = far.by(way.shell).run()
        assert (done.status, way.connections) == (3, 2)
        assert "the host let nobody in: fred@nas: Permission denied" in done.stderr

    def test_but_another_directory_is_told_at_once(
        self, arrivals: Arrivals, shell: Shell, tmp_path: Path, fs_b: LoopFs
    ) -> None:
        far = FarArrivals(arrivals, shell, Route.UPLOAD)
        cut, _ = lossy(shell, data_spot(far, tmp_path))
        (fs_b.path / "other").mkdir()
        (tmp_path / "forced").mkdir()
        words = f"buttersink --server --mode a {shlex.quote(f'{fs_b.path}/other/')}"
        forced = pipe_ssh_command(tmp_path / "forced", forced_command=words)
        way = changing(tmp_path, cut, forced)
        done = far.by(way.shell).run()
        assert (done.status, way.connections) == (3, 2)
        assert "this key is for" in done.stderr or "not what it was" in done.stderr, done
        assert not list((fs_b.path / "other").iterdir())

    def test_but_another_file_system_is_told_at_once(
        self, arrivals: Arrivals, shell: Shell, tmp_path: Path, fs_a: LoopFs
    ) -> None:
        far = FarArrivals(arrivals, shell, Route.UPLOAD)
        cut, well = lossy(shell, data_spot(far, tmp_path))
        (fs_a.path / "other").mkdir()
        other = in_other_mounts(fs_a.path / "other", arrivals.destination, well)
        way = changing(tmp_path, cut, other)
        done = far.by(way.shell).run()
        assert (done.status, way.connections) == (3, 2)
        assert "is not what it was before the connection was lost" in done.stderr
        assert not list((fs_a.path / "other").iterdir())


def test_a_host_that_was_rebooted_is_the_same(
    arrivals: Arrivals, shell: Shell, tmp_path: Path
) -> None:
    far = FarArrivals(arrivals, shell, Route.UPLOAD)
    cut, well = lossy(shell, data_spot(far, tmp_path))
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("01234567-89ab-cdef-0123-456789abcdef\n", encoding="ascii")
    way = changing(tmp_path, cut, in_other_mounts(boot_id, "/proc/sys/kernel/random/boot_id", well))
    done = far.by(way.shell).run("--json")
    assert_came_back(done, arrivals, connections=2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_an_interrupt_ends_a_run_that_waits_for_a_host(
    arrivals: Arrivals, shell: Shell, tmp_path: Path, number: signal.Signals
) -> None:
    far = FarArrivals(arrivals, shell, Route.UPLOAD)
    cut, _ = lossy(shell, data_spot(far, tmp_path))
    way = changing(tmp_path, cut, failing(REFUSED))
    with Background(*far.by(way.shell).command) as run:
        wait_until(lambda: run.ended() or way.connections == 3, "it had dialled twice")
        run.send(number)
        done = run.wait()
    assert done.status == 130, done
    assert way.connections <= 4  # a moment later it was about to dial for the third time
    far.settle()
    far.converge()
