"""The bad links of the tests: what they pass on, exactly to the byte."""

from __future__ import annotations

import shlex
import socket
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.link_faults import LinkFault, Trouble, WaitingFaults, Way
from support.link_proxy import LinkProxy
from support.lossy_ssh import lossy_ssh_command
from support.pipe_ssh import pipe_ssh_command
from support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENDINGS = (Trouble.CLOSE, Trouble.RESET)
ENOUGH = bytes(range(256)) * 40


@contextmanager
def connected(
    *faults: LinkFault, delay: float = 0.0
) -> Iterator[tuple[LinkProxy, socket.socket, socket.socket]]:
    """Yield a proxy and both ends of a connection through it: the client's and the server's."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        LinkProxy(listener.getsockname()[1], delay=delay) as proxy,
    ):
        proxy.inject(*faults)
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            server, _ = listener.accept()
            with server:
                # Else what a test does to the proxy could come before the connection.
                wait_until(lambda: proxy.connections == 1, "the proxy passes on")
                yield proxy, client, server


def read_to_end(connection: socket.socket) -> tuple[bytes, Trouble]:
    """Return all that comes, and how it ends."""
    read = bytearray()
    while True:
        try:
            piece = connection.recv(1000)
        except ConnectionResetError:
            return bytes(read), Trouble.RESET
        if not piece:
            return bytes(read), Trouble.CLOSE
        read += piece


def read_exactly(connection: socket.socket, count: int) -> bytes:
    read = bytearray()
    while len(read) < count:
        piece = connection.recv(count - len(read))
        assert piece, f"ended after {len(read)} bytes"
        read += piece
    return bytes(read)


def faults() -> st.SearchStrategy[LinkFault]:
    return st.builds(
        LinkFault,
        st.sampled_from(Trouble),
        st.sampled_from(Way),
        st.integers(min_value=0),
        st.floats(min_value=0, allow_nan=False),
    )


@given(faults())
def test_a_fault_survives_being_written_as_text(fault: LinkFault) -> None:
    assert LinkFault.parse(str(fault)) == fault


def test_faults_wait_for_their_byte_and_happen_once() -> None:
    early, late = (LinkFault(Trouble.STALL, Way.BACK, after) for after in (3, 8))
    waiting = WaitingFaults(late, early)
    assert waiting.room(Way.THERE, 0) is None
    assert waiting.room(Way.BACK, 1) == 2
    assert waiting.take_due(Way.BACK, 2) is None
    assert waiting.take_due(Way.THERE, 100) is None
    assert waiting.take_due(Way.BACK, 3) == early
    assert waiting.room(Way.BACK, 3) == 5
    assert waiting.take_due(Way.BACK, 100) == late
    assert waiting.take_due(Way.BACK, 100) is None
    assert len(waiting) == 0


def test_a_good_link_passes_on_everything_and_both_ends() -> None:
    with connected() as (proxy, client, server):
        client.sendall(ENOUGH)
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(server) == (ENOUGH, Trouble.CLOSE)
        server.sendall(b"thanks")
        server.close()
        assert read_to_end(client) == (b"thanks", Trouble.CLOSE)
        assert (proxy.passed(Way.THERE), proxy.passed(Way.BACK)) == (len(ENOUGH), 6)
        wait_until(lambda: proxy.open_connections == 0, "the proxy let go")


@pytest.mark.parametrize("ending", ENDINGS)
@given(after=st.integers(1, len(ENOUGH)))
def test_a_link_ends_there_after_exactly_so_many_bytes(ending: Trouble, after: int) -> None:
    with connected(LinkFault(ending, Way.THERE, after)) as (proxy, client, server):
        client.sendall(ENOUGH)
        assert read_to_end(server) == (ENOUGH[:after], ending)
        assert read_to_end(client) == (b"", ending)
        assert proxy.passed(Way.THERE) == after


@pytest.mark.parametrize("ending", ENDINGS)
@given(after=st.integers(1, len(ENOUGH)))
def test_a_link_ends_back_after_exactly_so_many_bytes(ending: Trouble, after: int) -> None:
    with connected(LinkFault(ending, Way.BACK, after)) as (proxy, client, server):
        server.sendall(ENOUGH)
        assert read_to_end(client) == (ENOUGH[:after], ending)
        assert read_to_end(server) == (b"", ending)
        assert proxy.passed(Way.BACK) == after


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_link_may_end_before_the_first_byte(ending: Trouble, way: Way) -> None:
    with connected(LinkFault(ending, way, 0)) as (_, client, server):
        assert read_to_end(server) == (b"", ending)
        assert read_to_end(client) == (b"", ending)


@pytest.mark.parametrize("way", Way)
def test_a_stalled_link_passes_on_nothing_either_way_until_it_is_healed(way: Way) -> None:
    with connected(LinkFault(Trouble.STALL, way, 10)) as (proxy, client, server):
        sender, reader = (client, server) if way is Way.THERE else (server, client)
        sender.sendall(ENOUGH)
        assert read_exactly(reader, 10) == ENOUGH[:10]
        wait_until(lambda: proxy.waiting_faults == 0, "the link stalled")
        reader.sendall(b"answer")
        for end in (sender, reader):
            end.settimeout(0.02)
            with pytest.raises(TimeoutError):
                end.recv(1)
            end.settimeout(None)
        assert (proxy.passed(way), proxy.open_connections) == (10, 1)
        proxy.heal()
        assert read_exactly(reader, len(ENOUGH) - 10) == ENOUGH[10:]
        assert read_exactly(sender, 6) == b"answer"


def test_a_link_that_stalls_one_way_goes_on_the_other() -> None:
    fault = LinkFault(Trouble.STALL_ONE_WAY, Way.THERE, 10)
    with connected(fault) as (proxy, client, server):
        client.sendall(ENOUGH)
        assert read_exactly(server, 10) == ENOUGH[:10]
        server.sendall(ENOUGH)
        assert read_exactly(client, len(ENOUGH)) == ENOUGH
        assert proxy.passed(Way.THERE) == 10


def test_a_stall_may_pass_by_itself() -> None:
    fault = LinkFault(Trouble.STALL, Way.THERE, 10, seconds=0.02)
    with connected(fault) as (_, client, server):
        client.sendall(ENOUGH)
        assert read_exactly(server, len(ENOUGH)) == ENOUGH


def test_neither_end_hears_over_a_stalled_link_that_the_other_has_gone() -> None:
    with connected() as (proxy, client, server):
        proxy.stall()
        client.close()
        server.settimeout(0.02)
        with pytest.raises(TimeoutError):
            server.recv(1)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_link_can_be_cut_at_any_time(ending: Trouble) -> None:
    with connected() as (proxy, client, server):
        client.sendall(b"first")
        assert read_exactly(server, 5) == b"first"
        proxy.cut(ending)
        assert read_to_end(server) == (b"", ending)
        assert read_to_end(client) == (b"", ending)


def test_what_one_end_breaks_is_broken_for_the_other() -> None:
    with connected() as (_, client, server):
        server.sendall(b"unread")
        client.recv(1)
        client.close()  # with bytes unread, which resets
        assert read_to_end(server) == (b"", Trouble.RESET)


def test_a_healed_link_forgets_what_was_still_to_come() -> None:
    with connected(LinkFault(Trouble.CLOSE, Way.THERE, 10)) as (proxy, client, server):
        proxy.heal()
        client.sendall(ENOUGH)
        assert read_exactly(server, len(ENOUGH)) == ENOUGH


def test_any_number_of_bytes_are_on_their_way_over_a_slow_link() -> None:
    size = 8 << 20
    with connected() as (proxy, client, server):
        proxy.delay = 3600.0
        client.settimeout(60.0)
        client.sendall(bytes(size))
        assert proxy.passed(Way.THERE) == 0
        server.settimeout(0.02)
        with pytest.raises(TimeoutError):
            server.recv(1)


def test_a_slow_link_passes_on_everything_in_order() -> None:
    with connected(delay=0.01) as (_, client, server):
        sender = threading.Thread(target=client.sendall, args=(ENOUGH * 100,))
        sender.start()
        assert read_exactly(server, len(ENOUGH) * 100) == ENOUGH * 100
        sender.join()
        server.sendall(b"answer")
        assert read_exactly(client, 6) == b"answer"


def test_a_fault_befalls_only_one_of_several_connections() -> None:
    with connected() as (proxy, client, _):
        proxy.inject(LinkFault(Trouble.CLOSE, Way.THERE, 3))
        client.sendall(b"four")
        assert read_to_end(client) == (b"", Trouble.CLOSE)
        with socket.create_connection(("127.0.0.1", proxy.port)) as other:
            other.sendall(b"four")
            wait_until(lambda: proxy.passed(Way.THERE) == 3 + 4, "the other passed")
        assert proxy.connections == 2


def test_a_client_of_a_server_that_is_not_there_finds_the_connection_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with LinkProxy(port) as proxy, socket.create_connection(("127.0.0.1", proxy.port)) as client:
        assert read_to_end(client) == (b"", Trouble.CLOSE)


class LossySsh:
    """The stand-in for ssh by pipe over a bad link."""

    def __init__(self, directory: Path) -> None:
        self._by_pipe = pipe_ssh_command(directory)

    def __call__(
        self, command: str, *faults: LinkFault, delay: float = 0.0, given: bytes = b""
    ) -> tuple[int, bytes, bytes]:
        """Run a command on the far side; return its status, output and errors."""
        ssh = lossy_ssh_command(self._by_pipe, *faults, delay=delay)
        done = subprocess.run(
            [*shlex.split(ssh), "-T", "nas", command], input=given, capture_output=True, check=False
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def lossy_ssh(tmp_path: Path) -> LossySsh:
    """Return the stand-in."""
    return LossySsh(tmp_path)


def test_a_pipe_without_faults_is_like_none(lossy_ssh: LossySsh) -> None:
    assert lossy_ssh("cat; echo done >&2; exit 3", given=ENOUGH) == (3, ENOUGH, b"done\n")
    assert lossy_ssh("cat", delay=0.005, given=ENOUGH) == (0, ENOUGH, b"")


def test_a_far_side_that_does_not_read_on_ends_a_pipe_well(lossy_ssh: LossySsh) -> None:
    assert lossy_ssh("head -c 1", given=bytes(1 << 20)) == (0, b"\0", b"")


def test_a_far_side_that_is_killed_looks_as_by_ssh(lossy_ssh: LossySsh) -> None:
    assert lossy_ssh("kill -9 $$") == (255, b"", b"")


@pytest.mark.parametrize("after", [0, 1, 4095, 100_000])
@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (Trouble.CLOSE, b"Connection to 127.0.0.1 closed by remote host.\r\n"),
        (Trouble.RESET, b"client_loop: send disconnect: Broken pipe\r\n"),
    ],
)
def test_a_lost_pipe_back_gives_exactly_so_many_bytes_and_ends_like_ssh(
    lossy_ssh: LossySsh, ending: Trouble, words: bytes, after: int
) -> None:
    fault = LinkFault(ending, Way.BACK, after)
    assert lossy_ssh("exec cat /dev/zero", fault) == (255, bytes(after), words)


@pytest.mark.parametrize("after", [0, 1, 4095, 100_000])
def test_the_far_side_of_a_lost_pipe_gets_exactly_so_many_bytes_and_an_end(
    lossy_ssh: LossySsh, tmp_path: Path, after: int
) -> None:
    got, whole = tmp_path / "got", tmp_path / "whole"
    fault = LinkFault(Trouble.CLOSE, Way.THERE, after)
    status, _, _ = lossy_ssh(f"cat >{got} && mv {got} {whole}", fault, given=bytes(200_000))
    assert status == 255
    wait_until(whole.exists, "the far side saw an end")
    assert whole.read_bytes() == bytes(after)


def test_a_stalled_pipe_ends_with_its_client(tmp_path: Path) -> None:
    ssh = lossy_ssh_command(pipe_ssh_command(tmp_path), LinkFault(Trouble.STALL, Way.THERE, 0))
    command = [*shlex.split(ssh), "nas", "cat"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    with process.stdin as stdin:
        stdin.write(b"unheard")
        stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)
    process.stdout.close()
    process.wait(timeout=60)
