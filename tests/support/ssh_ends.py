"""Directories of this machine as ends on another host, and what passes on the way to them."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from buttersink.wire.frames import PREAMBLE, FrameDecoder, Kind
from support.far_programs import write_program
from support.pipe_ssh import pipe_ssh_command
from support.stored_ends import SubvolumeEnd

if TYPE_CHECKING:
    from pathlib import Path

    from support.sshd import Sshd

_TAP: Final = """\
#!/bin/sh
seen=$(mktemp -d {directory}/connection-XXXXXX) || exit
tee "$seen/there" | {ssh_command} "$@" | tee "$seen/back"
"""


@dataclass(frozen=True, slots=True)
class Shell:
    """A way to this machine by ssh.

    Attributes:
        host: The host as it is written in a URL, with all that belongs to it.
        ssh_command: What leads there.
    """

    host: str
    ssh_command: str

    @property
    def options(self) -> tuple[str, ...]:
        """The options of the command that ends of this kind need."""
        return "--ssh-command", self.ssh_command

    def end(self, path: Path) -> SshEnd:
        """Return the end that a directory is by this way."""
        return SshEnd(path, self.host)


@dataclass(frozen=True, slots=True)
class SshEnd(SubvolumeEnd):
    """A directory of snapshots on btrfs, reached by ssh."""

    host: str

    @property
    def url(self) -> str:
        """See `End`."""
        return f"ssh://{self.host}{self.path}/"


def piped(directory: Path) -> Shell:
    """Return ssh by pipe; `piped_calls` of the directory tells what it was asked for."""
    return Shell("nas", pipe_ssh_command(directory))


def secure(server: Sshd) -> Shell:
    """Return the way by a real sshd."""
    return Shell(f"{server.user}@127.0.0.1:{server.port}", server.ssh_command)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What has passed on one connection, from its beginning to its end.

    Attributes:
        there: What the client said.
        back: What the server said.
    """

    there: bytes
    back: bytes

    @property
    def nbytes(self) -> int:
        """Number of bytes, both ways."""
        return len(self.there) + len(self.back)

    def asked(self) -> Counter[Kind]:
        """Return how many frames of each kind the client sent."""
        return _kinds(self.there)

    def answered(self) -> Counter[Kind]:
        """Return how many frames of each kind the server sent."""
        return _kinds(self.back)

    def data_bytes(self) -> int:
        """Return the bytes of streams that have passed, either way."""
        return sum(
            len(frame.payload)
            for said in (self.there, self.back)
            for frame in FrameDecoder().feed(memoryview(said)[len(PREAMBLE) :])
            if frame.kind is Kind.DATA
        )


class Tap:
    """Notes all that passes between the command and what it runs as ssh.

    Args:
        shell: A way that leads somewhere.
        directory: An empty directory.
    """

    def __init__(self, shell: Shell, directory: Path) -> None:
        self._directory = directory
        program = directory / "tapped-ssh"
        quoted = shlex.quote(str(directory))
        write_program(program, _TAP.format(directory=quoted, ssh_command=shell.ssh_command))
        self.shell = Shell(shell.host, shlex.quote(str(program)))

    def taken(self) -> list[Traffic]:
        """Return what has passed on each connection since the last time this was asked."""
        found = sorted(self._directory.glob("connection-*"), key=lambda path: path.stat().st_ctime)
        traffic = []
        for number, path in enumerate(found):
            traffic.append(Traffic((path / "there").read_bytes(), (path / "back").read_bytes()))
            path.rename(path.with_name(f"taken-{len(os.listdir(self._directory))}-{number}"))
        return traffic


def _kinds(said: bytes) -> Counter[Kind]:
    assert said.startswith(PREAMBLE)
    frames = FrameDecoder().feed(memoryview(said)[len(PREAMBLE) :])
    return Counter(frame.kind for frame in frames if frame.last)
