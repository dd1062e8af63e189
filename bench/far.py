"""Another host to send to and receive from: this one, by way of a real sshd on the loopback."""

from __future__ import annotations

import json
import os
import shlex
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.ground import program
from bench.running import Run, script, watched
from support.sshd import sshd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.sshd import Sshd

_POLL_SECONDS = 0.01
_PATIENCE_SECONDS = 30.0
_CHILDREN = slice(13, 15)
"""Of the fields after the name in /proc/PID/stat: cutime and cstime, see proc(5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What a run of ButterSink took.

    Attributes:
        whole: Seconds of all of it.
        moving: Seconds in which streams were moved, without starting, listing and planning.
        cpu: Seconds of the processor, on both hosts.
        nbytes: Size of the streams.
    """

    whole: float
    moving: float
    cpu: float
    nbytes: int


class Far:
    """The other host.

    Args:
        server: Its sshd.
        port: Where to reach it, if not at its own.
    """

    def __init__(self, server: Sshd, *, port: int = 0) -> None:
        self.server = server
        self.port = port or server.port

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator[Far]:
        """Run it for a block."""
        with sshd() as server:
            yield cls(server)

    def through(self, port: int) -> Far:
        """Return the same host, reached by way of a proxy."""
        return Far(self.server, port=port)

    def url(self, directory: Path) -> str:
        """Return the end that is a directory there."""
        return self.server.url(f"{directory}/", port=self.port)

    def ssh(self, command: str) -> str:
        """Return what a shell needs to run a command there, with the same options as ours."""
        host = f"-p {self.port} {self.server.user}@127.0.0.1"
        return f"{self.server.ssh_command} -T {host} {shlex.quote(command)}"

    def logged_in(self) -> float:
        """Return the seconds that it takes to connect and do nothing."""
        return self.run(self.ssh("true")).seconds

    def run(self, text: str) -> Run:
        """Run a shell script; its processor time includes that of the other host."""
        before = self._cpu_seconds()
        done = script(text, environment={})
        return replace(done, cpu_seconds=done.cpu_seconds + self._cpu_seconds() - before)

    def synced(self, source: str, destination: str, *options: str, wrapper: str = "") -> Synced:
        """Run ButterSink, and see how long it was moving streams.

        Args:
            source: An end, as the user writes it.
            destination: Likewise.
            options: More of them.
            wrapper: Words that run ssh, in front of it.
        """
        before = self._cpu_seconds()
        done = self.buttersink("--json", *options, source, destination, wrapper=wrapper)
        moved = [
            event
            for event in map(json.loads, done.output.splitlines())
            if event["event"] == "transfer_done"
        ]
        return Synced(
            whole=done.seconds,
            moving=sum(event["seconds"] for event in moved),
            cpu=done.cpu_seconds + self._cpu_seconds() - before,
            nbytes=sum(event["sent_bytes"] for event in moved),
        )

    def buttersink(self, *arguments: str, wrapper: str = "") -> Run:
        """Run ButterSink with ends there; the processor time is that of this side alone."""
        ssh_command = f"{wrapper} {self.server.ssh_command}".lstrip()
        return watched(
            *(program("buttersink"), "--ssh-command", ssh_command, *arguments), environment={}
        )

    def _cpu_seconds(self) -> float:
        """Return the processor time of all connections so far, once they have ended.

        A process accounts for its children when it takes note of their end; so it all arrives
        at the main process of sshd.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self.server.far_side():
            if time.monotonic() > deadline:
                raise RuntimeError("a connection to the other host does not end")
            time.sleep(_POLL_SECONDS)
        with open(f"/proc/{self.server.pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return sum(map(int, fields[_CHILDREN])) / os.sysconf("SC_CLK_TCK")
