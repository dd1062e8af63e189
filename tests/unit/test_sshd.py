"""The real sshd of the tests, and what bad links in front of it do to ssh."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from buttersink.version import __version__
from support.link_faults import LinkFault, Trouble, Way
from support.link_proxy import LinkProxy
from support.processes import processes, wait_until
from support.sshd import forced, sshd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.sshd import Sshd


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    """Return an sshd for all tests here."""
    with sshd() as server:
        yield server


def ssh(
    server: Sshd, *words: str, host: str = "127.0.0.1", port: int = 0, given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    command = [*shlex.split(server.ssh_command), "-p", str(port or server.port), host, *words]
    return subprocess.run(command, input=given, capture_output=True, check=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_runs_commands(server: Sshd, host: str) -> None:
    if f"on {host} port" not in server.log():
        pytest.skip(f"there is no {host} here")
    done = ssh(server, "cat; exit 7", host=host, given=b"hello")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"hello", b"")


@pytest.mark.parametrize("command", ["buttersink", "sudo buttersink", "sudo -n buttersink"])
def test_its_far_side_finds_this_checkout(server: Sshd, command: str) -> None:
    done = ssh(server, command, "--version")
    assert (done.stdout.decode(), done.stderr) == (f"buttersink {__version__}\n", b"")


def test_the_real_sudo_can_run_this_checkout(server: Sshd) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root is sure to be allowed")
    done = ssh(server, "/usr/bin/sudo", "-n", str(server.programs / "buttersink"), "--version")
    assert (done.stdout.decode(), done.stderr) == (f"buttersink {__version__}\n", b"")


def test_a_key_may_be_bound_to_a_command(server: Sshd) -> None:
    server.authorize("restrict", forced('echo "forced: $SSH_ORIGINAL_COMMAND"'))
    try:
        assert ssh(server, "rm", "-r", "'a  b'").stdout == b"forced: rm -r 'a  b'\n"
    finally:
        server.authorize()
    assert ssh(server, "echo hello").stdout == b"hello\n"


def test_lines_of_the_caller_win() -> None:
    with sshd("PubkeyAuthentication no") as server:
        done = ssh(server, "true")
        assert done.returncode == 255
        assert b"Permission denied" in done.stderr


def test_ssh_refuses_a_server_with_another_key(server: Sshd) -> None:
    with sshd() as other:
        done = ssh(server, "true", port=other.port)
        assert done.returncode == 255
        assert b"Host key verification failed" in done.stderr


def test_nothing_is_left_of_it() -> None:
    with sshd() as server:
        command = [*shlex.split(server.ssh_command), "-p", str(server.port), "127.0.0.1"]
        client = subprocess.Popen(
            [*command, "sleep 1000 & echo begun; wait"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert client.stdout
        with client.stdout as stdout:
            assert stdout.readline() == b"begun\n"
            far = {process.pid for process in server.far_side()}
        assert len(far) >= 3  # sshd's, the shell, and what that runs
    assert client.wait() == 255
    assert not far & {process.pid for process in processes()}
    assert not server.directory.exists()


def test_it_works_through_a_slow_link(server: Sshd) -> None:
    with LinkProxy(server.port, delay=0.005) as proxy:
        done = ssh(server, "cat", port=proxy.port, given=b"hello" * 10_000)
        assert (done.returncode, done.stdout) == (0, b"hello" * 10_000)
        assert proxy.passed(Way.THERE) > 50_000
        assert proxy.passed(Way.BACK) > 50_000


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("ending", [Trouble.CLOSE, Trouble.RESET])
@pytest.mark.parametrize("after", [0, 1000, 100_000])
def test_a_cut_link_ends_ssh_after_exactly_so_many_bytes(
    server: Sshd, way: Way, ending: Trouble, after: int
) -> None:
    with LinkProxy(server.port) as proxy:
        proxy.inject(LinkFault(ending, way, after))
        done = ssh(server, "cat", port=proxy.port, given=bytes(1 << 20))
        assert done.returncode == 255
        assert len(done.stdout) < 1 << 20
        assert proxy.passed(way) == after


def test_a_stalled_link_ends_neither_side_until_it_is_cut(server: Sshd) -> None:
    with LinkProxy(server.port) as proxy:
        proxy.inject(LinkFault(Trouble.STALL, Way.THERE, 100_000))
        command = [*shlex.split(server.ssh_command), "-p", str(proxy.port), "127.0.0.1", "cat"]
        client = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with client:
            with pytest.raises(subprocess.TimeoutExpired):
                client.communicate(bytes(1 << 20), timeout=0.5)
            wait_until(lambda: proxy.waiting_faults == 0, "the link stalled")
            assert server.far_side()
            proxy.cut()
            assert client.wait() == 255
        wait_until(lambda: not server.far_side(), "the far side ended")
