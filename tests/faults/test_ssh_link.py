"""Links that are cut or stall, at any byte, and far sides that hang, fail, or are only slow."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING

import pytest

from buttersink.wire.frames import PREAMBLE, Kind
from support.arrivals import Arrivals, moving_history
from support.command import buttersink
from support.damage import damage
from support.far_arrivals import FarArrivals, Part, Route
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.link_faults import LinkFault, Trouble, Way
from support.link_proxy import LinkProxy
from support.link_spots import conversation, frames, is_confirmation, spots
from support.loopfs import run as run_program
from support.lossy_ssh import lossy_ssh_command
from support.processes import Background, wait_until
from support.ssh_ends import Shell, piped
from support.sshd import sshd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import MakeFs
    from support.command import Run
    from support.loopfs import LoopFs
    from support.sshd import Sshd

MIB = 1 << 20
ONCE = ("--retries", "0")
"""A link that is lost stays so."""
STALL = ("--stall-timeout", "1", *ONCE)
LONG_SECONDS = 3.0
"""Three times what a silent side may take with that."""
ROUTES = [Route.UPLOAD, Route.DOWNLOAD]


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


def lossy(shell: Shell, *faults: LinkFault) -> Shell:
    """Return a way that is beset by these, or by none: ssh is a process of its own then."""
    return Shell(shell.host, lossy_ssh_command(shell.ssh_command, *faults))


def assert_lost(done: Run, far: FarArrivals) -> None:
    """Fail unless a run told once that its link was lost, and of which host."""
    assert done.status in {1, 3}, done.stderr
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error"))
    assert f"{far.shell.host.partition(':')[0]}: " in error, error
    assert error.isprintable()


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("route", ROUTES)
def test_a_link_may_be_cut_anywhere(
    arrivals: Arrivals, shell: Shell, tmp_path: Path, route: Route, way: Way
) -> None:
    far = FarArrivals(arrivals, shell, route)
    traffic = conversation(far, tmp_path)
    said = traffic.there if way is Way.THERE else traffic.back
    lost = 0
    for number, (name, spot) in enumerate(spots(way, said, Random(1)).items()):
        trouble = (Trouble.CLOSE, Trouble.RESET)[number % 2]
        done = far.by(lossy(shell, LinkFault(trouble, *spot))).run(*ONCE)
        arrived = arrivals.check()
        if done.status:
            lost += 1
            assert_lost(done, far)
        else:
            assert arrived == set(arrivals.originals), (name, done)
        assert not arrivals.abandoned(), (name, done)
        far.converge()
        arrivals.reset()
    assert lost > 5


@pytest.mark.parametrize(
    ("route", "trouble", "way", "name"),
    [
        (Route.UPLOAD, Trouble.STALL, Way.THERE, "in HELLO"),
        (Route.UPLOAD, Trouble.STALL, Way.THERE, "in DATA"),
        (Route.UPLOAD, Trouble.STALL_ONE_WAY, Way.THERE, "in the header of DATA"),
        (Route.UPLOAD, Trouble.STALL_ONE_WAY, Way.BACK, "in the header of REPLY"),
        (Route.UPLOAD, Trouble.STALL_ONE_WAY, Way.BACK, "in REPLY"),
        (Route.DOWNLOAD, Trouble.STALL, Way.BACK, "in DATA"),
        (Route.DOWNLOAD, Trouble.STALL_ONE_WAY, Way.BACK, "in DATA"),
        (Route.DOWNLOAD, Trouble.STALL_ONE_WAY, Way.BACK, "in ITEMS"),
        (Route.DOWNLOAD, Trouble.STALL_ONE_WAY, Way.THERE, "in REQUEST"),
    ],
)
def test_a_link_that_stalls_is_given_up_by_both_sides(
    arrivals: Arrivals,
    shell: Shell,
    tmp_path: Path,
    *,
    route: Route,
    trouble: Trouble,
    way: Way,
    name: str,
) -> None:
    far = FarArrivals(arrivals, shell, route)
    traffic = conversation(far, tmp_path)
    said = traffic.there if way is Way.THERE else traffic.back
    spot = spots(way, said, Random(1))[name]

    done = far.by(lossy(shell, LinkFault(trouble, *spot))).run(*STALL)

    assert_lost(done, far)
    arrivals.check()
    assert not arrivals.abandoned()
    far.converge()


@pytest.mark.parametrize("trouble", [Trouble.CLOSE, Trouble.RESET])
def test_a_snapshot_whose_confirmation_is_lost_is_there(
    arrivals: Arrivals, shell: Shell, tmp_path: Path, trouble: Trouble
) -> None:
    far = FarArrivals(arrivals, shell, Route.UPLOAD)
    back = conversation(far, tmp_path).back
    (*_, last) = (start for start, kind, said in frames(back) if is_confirmation(kind, said))
    for _ in range(10):  # the server may have said something more in between
        done = far.by(lossy(shell, LinkFault(trouble, Way.BACK, last + 2))).run(*ONCE)
        assert_lost(done, far)
        if arrivals.check() == set(arrivals.originals):
            break
        far.converge()
        arrivals.reset()
    assert arrivals.check() == set(arrivals.originals)
    assert "0 sent, 2 already there" in far.converge().stderr


@pytest.mark.parametrize("trouble", Trouble)
@pytest.mark.parametrize("route", ROUTES)
def test_a_real_link_may_be_cut_or_stall_at_any_byte(
    arrivals: Arrivals, secure_shell: Sshd, route: Route, trouble: Trouble
) -> None:
    rng = Random(f"{route} {trouble}")
    with LinkProxy(secure_shell.port) as proxy:
        host = f"{secure_shell.user}@127.0.0.1:{proxy.port}"
        far = FarArrivals(arrivals, Shell(host, secure_shell.ssh_command), route)
        far.converge()
        arrivals.reset()
        way = Way.THERE if route is Route.UPLOAD else Way.BACK
        proxy.inject(LinkFault(trouble, way, rng.randrange(proxy.passed(way) * 9 // 10)))

        done = far.run(*STALL)

        assert_lost(done, far)
        assert not proxy.waiting_faults
        arrivals.check()
        assert not arrivals.abandoned()
        far.converge()  # while sshd still has the connection that stalls


class TestAFarSideThatHangs:
    @pytest.mark.parametrize("share", [0.0, 0.5], ids=["from the start", "in an answer"])
    def test_is_given_up(
        self, arrivals: Arrivals, shell: Shell, tmp_path: Path, share: float
    ) -> None:
        far = FarArrivals(arrivals, shell, Route.DOWNLOAD)
        back = conversation(far, tmp_path).back
        start, items = next((at, said) for at, kind, said in frames(back) if kind is Kind.ITEMS)
        script = tmp_path / "hangs"
        (tmp_path / "said").write_bytes(back[: int(share * len(items)) + start * (share > 0)])
        script.write_text(f"cat {shlex.quote(str(tmp_path / 'said'))}; exec sleep 600")

        done = far.run(*STALL, "--remote-command", f"sh {shlex.quote(str(script))}")

        assert_lost(done, far)
        assert "nothing has come for 1 seconds" in done.stderr
        assert done.status == 1

    def test_takes_nothing_more_and_is_given_up(self, arrivals: Arrivals, shell: Shell) -> None:
        far = FarArrivals(arrivals, lossy(shell), Route.UPLOAD)
        with Background(*STALL, "--bwlimit", "500K", *far.command) as run:
            far.wait_for(Part.RECEIVER, run)
            (server,) = far.pids(Part.SERVER, run)
            os.kill(server, signal.SIGSTOP)
            done = run.wait()
            os.kill(server, signal.SIGCONT)
            far.settle()
        assert_lost(done, far)
        assert not arrivals.check()
        assert not arrivals.abandoned()
        far.converge()

    @pytest.mark.parametrize("command", ["false", "sh -c 'exit 255'", "sh -c 'kill -9 $$'"])
    def test_is_not_waited_for_if_ssh_ends_at_once(self, arrivals: Arrivals, command: str) -> None:
        far = FarArrivals(arrivals, Shell("nas", command), Route.UPLOAD)
        done = far.run()
        assert_lost(done, far)
        assert (done.status, arrivals.check()) == (1, set())

    def test_notices_a_client_that_hangs(self, arrivals: Arrivals, shell: Shell) -> None:
        far = FarArrivals(arrivals, lossy(shell), Route.UPLOAD)
        with Background(*STALL, "--bwlimit", "500K", *far.command) as run:
            far.wait_for(Part.RECEIVER, run)
            run.send(signal.SIGSTOP)
            wait_until(lambda: not far.pids(Part.SERVER, run), "the server had ended")
            arrivals.check()
            assert not arrivals.abandoned()
            run.send(signal.SIGCONT)
            assert_lost(run.wait(), far)
        far.settle()
        far.converge()


class TestASlowSideThatLives:
    @pytest.mark.parametrize("route", Route)
    def test_may_write_for_long(self, arrivals: Arrivals, shell: Shell, route: Route) -> None:
        far = FarArrivals(arrivals, shell, route)
        with Background(*STALL, "--bwlimit", "2M", *far.command) as run:
            (receiver,) = far.wait_for(Part.RECEIVER, run)
            os.kill(receiver, signal.SIGSTOP)
            time.sleep(LONG_SECONDS)
            os.kill(receiver, signal.SIGCONT)
            assert run.wait().status == 0
        assert arrivals.check() == set(arrivals.originals)

    @pytest.mark.parametrize("route", ROUTES)
    def test_may_wait_for_the_kernel_for_long(
        self, arrivals: Arrivals, shell: Shell, fs_b: LoopFs, route: Route
    ) -> None:
        far = FarArrivals(arrivals, shell, route)
        with Background(*STALL, *far.command) as run:
            with frozen(fs_b):
                run.wait_for_handlers()
                run.lives_for(LONG_SECONDS)
            assert run.wait().status == 0
        assert arrivals.check() == set(arrivals.originals)

    def test_greets_before_it_looks_at_what_it_serves(self, fs_a: LoopFs) -> None:
        words = ["--server", "--mode", "r", f"{fs_a.path}/"]
        command, pipe = [sys.executable, "-m", "buttersink", *words], subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(PREAMBLE)
            server.stdin.flush()
            assert server.stdout.read(len(PREAMBLE)) == PREAMBLE


@contextmanager
def frozen(fs: LoopFs) -> Iterator[None]:
    """Let everybody wait who changes a file system."""
    run_program("fsfreeze", "--freeze", fs.path)
    try:
        yield
    finally:
        run_program("fsfreeze", "--unfreeze", fs.path)


class TestAFarSideThatFails:
    def test_for_want_of_space_is_named_and_what_fits_still_goes(
        self, fs_a: LoopFs, make_fs: MakeFs, shell: Shell
    ) -> None:
        for name, mib in (("a", 20), ("big", 200), ("c", 20)):
            live = fs_a.path / f"live {name}"
            create_subvolume(live)
            for part in range(0, mib, 10):
                (live / f"{part}").write_bytes(Random(f"{name}{part}").randbytes(10 * MIB))
            (fs_a.path / "snaps").mkdir(exist_ok=True)
            snapshot_read_only(live, fs_a.path / "snaps" / name)
        small = make_fs(size="256M", label="small")
        arrivals = Arrivals(fs_a.path / "snaps", small.path / "backup")

        done = FarArrivals(arrivals, shell, Route.UPLOAD).run("--estimate")

        assert done.status == 3
        (error,) = (line for line in done.stderr.splitlines() if line.startswith("error"))
        assert re.search(r"could not send big: nas: WRITE of .*: No space left", error)
        assert "free some space" in done.stderr
        assert arrivals.check() == {"a", "c"}
        assert not arrivals.abandoned()

    @pytest.mark.parametrize("route", [Route.DOWNLOAD, Route.RELAY])
    def test_to_read_its_disk_says_so_and_nothing_of_that_stays(
        self, make_fs: MakeFs, fs_b: LoopFs, shell: Shell, route: Route
    ) -> None:
        fs = make_fs(size="512M", label="a")
        snaps = moving_history(fs, 2, size=MIB)
        create_subvolume(fs.path / "other")
        (fs.path / "other" / "file").write_bytes(Random(0).randbytes(MIB))
        snapshot_read_only(fs.path / "other", snaps / "other")
        arrivals = Arrivals(snaps, fs_b.path / "backup")
        damage(fs, snaps / "0" / "new 0" / "2")

        done = FarArrivals(arrivals, shell, route).run()

        assert done.status == 3
        (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
        assert error.startswith("error: could not send 0: nas: ")
        assert "sending 0: Input/output error" in error
        assert "btrfs scrub" in done.stderr
        assert arrivals.check() == {"other"}
        assert not arrivals.abandoned()

    @pytest.mark.parametrize("route", Route)
    def test_to_send_faithfully_sends_again_in_another_way(
        self, make_fs: MakeFs, fs_b: LoopFs, shell: Shell, route: Route
    ) -> None:
        """The kernel gets a small compressed file wrong that fallocate has made longer."""
        fs = make_fs(mount_options="compress=zstd", label="zstd")
        live = fs.path / "live"
        create_subvolume(live)
        (live / "file").write_bytes(b"hello" * 600)
        snapshot_read_only(live, fs.path / "flushed")
        run_program("fallocate", "--length", "4096", live / "file")
        (fs.path / "snaps").mkdir()
        snapshot_read_only(live, fs.path / "snaps" / "1")
        arrivals = Arrivals(fs.path / "snaps", fs_b.path / "backup")

        done = FarArrivals(arrivals, shell, route).converge()

        assert "it is sent again in another way" in done.stderr


def test_a_directory_that_is_missing_is_not_made_by_a_run_that_fails(
    arrivals: Arrivals, shell: Shell, fs_b: LoopFs
) -> None:
    broken = lossy(shell, LinkFault(Trouble.RESET, Way.BACK, len(PREAMBLE) + 3))
    source, _ = arrivals.ends
    done = buttersink("--create", *broken.options, source, broken.end(fs_b.path / "new").url)
    assert done.status == 1
    assert not (fs_b.path / "new").exists()
