"""The worlds whose stores are served over ssh: by a stand-in with pipes, and by a real sshd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buttersink.model import Mode
from buttersink.stores.ssh.command import Remote
from buttersink.stores.ssh.opening import open_ssh
from contract.worlds import BtrfsEnd, BtrfsWorld
from support.processes import PATIENCE_SECONDS

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from buttersink.stores.ssh.store import SshStore


class SshEnd(BtrfsEnd):
    """A directory of a btrfs file system that is mounted here, reached by way of ssh."""

    def __init__(self, path: Path, stores: ExitStack, *, ssh_command: str, port: int) -> None:
        super().__init__(path, stores)
        self._ssh_command = ssh_command
        self._port = port

    def open(self) -> SshStore:
        remote = Remote(
            host="127.0.0.1",
            port=self._port,
            directory=str(self._path),
            ssh_command=self._ssh_command,
        )
        store = open_ssh(remote, Mode.WRITE, name=str(self._path), stall_seconds=PATIENCE_SECONDS)
        self._stores.callback(store.close)
        return store

    def beside(self) -> SshEnd:
        return SshEnd(self._beside(), self._stores, ssh_command=self._ssh_command, port=self._port)


class SshWorld(BtrfsWorld):
    """As `BtrfsWorld`, but each store is a server at the other end of a connection.

    Args:
        scratch: An empty directory.
        ssh_command: What connects.
        port: Where to.
    """

    lists_outside = False
    outlives_interrupts = False

    def __init__(self, scratch: Path, *, ssh_command: str, port: int) -> None:
        super().__init__(scratch)
        self._ssh_command = ssh_command
        self._port = port

    def _end(self, path: Path) -> SshEnd:
        return SshEnd(path, self._stores, ssh_command=self._ssh_command, port=self._port)
