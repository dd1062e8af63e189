"""A store on another host whose link is lost, and got back."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import BusyError, RefusedError, UnavailableError
from buttersink.model import Mode
from buttersink.stores.btrfs import BtrfsStore
from buttersink.stores.ssh.command import Remote
from buttersink.stores.ssh.opening import open_ssh
from support.arrivals import moving_history
from support.lossy_ssh import lossy_ssh_command
from support.processes import PATIENCE_SECONDS, processes, wait_until
from support.ssh_ends import piped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buttersink.stores.ssh.store import SshStore
    from support.loopfs import LoopFs


@pytest.fixture
def directory(fs_a: LoopFs) -> Path:
    return moving_history(fs_a, 2, size=1 << 12)


@pytest.fixture
def store(directory: Path, tmp_path: Path) -> Iterator[SshStore]:
    """Return a store whose ssh and server are two processes."""
    remote = Remote(
        host="nas",
        directory=str(directory),
        ssh_command=lossy_ssh_command(piped(tmp_path).ssh_command),
    )
    store = open_ssh(remote, Mode.WRITE, name="nas", stall_seconds=PATIENCE_SECONDS)
    yield store
    store.close()


def servers(directory: Path) -> set[int]:
    """Return the servers of a directory."""
    return {p.pid for p in processes() if _serves(p.pid, directory) and p.parent != os.getpid()}


def ssh_of(directory: Path) -> int:
    """Return the process of ours that leads to them."""
    (pid,) = (p.pid for p in processes() if _serves(p.pid, directory) and p.parent == os.getpid())
    return pid


def _serves(pid: int, directory: Path) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return {b"--server", os.fsencode(f"{directory}/")} <= set(words)


def lose(store: SshStore, pid: int) -> None:
    """Kill a process of the link, and let the store notice."""
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(UnavailableError):
        store.flush()


def is_locked(directory: Path) -> bool:
    other = BtrfsStore(str(directory))
    try:
        with other.lock():
            return False
    except BusyError:
        return True
    finally:
        other.close()


@pytest.mark.parametrize("victim", ["ssh", "server"])
def test_what_was_lost_comes_back(store: SshStore, directory: Path, victim: str) -> None:
    before = store.inventory()
    assert not store.lost
    (server,) = servers(directory)
    lose(store, ssh_of(directory) if victim == "ssh" else server)
    assert store.lost
    with pytest.raises(UnavailableError, match="the connection is lost"):
        store.inventory()
    assert store.lost

    store.reconnect()

    assert not store.lost
    assert store.inventory() == before
    assert store.free_bytes()
    wait_until(lambda: len(servers(directory)) == 1, "the old server had ended")


def test_the_lock_comes_back_with_it(store: SshStore, directory: Path) -> None:
    with store.lock():
        lose(store, ssh_of(directory))
        wait_until(lambda: not servers(directory), "the old server had ended")
        assert not is_locked(directory)
        store.reconnect()
        assert is_locked(directory)
    assert not is_locked(directory)


def test_a_lock_that_was_let_go_does_not_come_back(store: SshStore, directory: Path) -> None:
    with store.lock():
        pass
    lose(store, ssh_of(directory))
    store.reconnect()
    assert not is_locked(directory)


def test_it_stays_lost_as_long_as_the_old_server_holds_the_lock(
    store: SshStore, directory: Path
) -> None:
    with store.lock():
        (old,) = servers(directory)
        os.kill(old, signal.SIGSTOP)
        try:
            lose(store, ssh_of(directory))
            with pytest.raises(BusyError):
                store.reconnect()
            assert store.lost
        finally:
            os.kill(old, signal.SIGCONT)
        wait_until(lambda: old not in servers(directory), "the old server had ended")
        store.reconnect()
        assert is_locked(directory)
    assert store.inventory().snapshots


def test_a_directory_that_has_gone_does_not_come_back(store: SshStore, directory: Path) -> None:
    lose(store, ssh_of(directory))
    directory.rename(directory.with_name("moved"))
    with pytest.raises(RefusedError, match="is not what it was before the connection was lost"):
        store.reconnect()
    assert store.lost
    directory.with_name("moved").rename(directory)
    store.reconnect()
    assert not store.lost
