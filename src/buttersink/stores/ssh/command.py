"""Which words start the server on another host. Pure: nothing is run."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from buttersink.errors import UsageError
from buttersink.receiving import Receiving
from buttersink.text import escape

if TYPE_CHECKING:
    from buttersink.model import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A directory on another host, and the programs that lead there.

    Attributes:
        host: A name, an address, or what the user's ssh configuration knows it by; an IPv6
            address without brackets.
        user: Who logs in there; None lets ssh decide.
        port: None lets ssh decide.
        directory: Absolute path there.
        ssh_command: The program that connects, with options; split into words as a POSIX shell
            would, but no shell ever sees it.
        remote_command: What runs buttersink there; likewise.
        receiving: How streams are to be received there.
    """

    host: str
    user: str | None = None
    port: int | None = None
    directory: str
    ssh_command: str = "ssh"
    remote_command: str = "sudo buttersink"
    receiving: Receiving = field(default_factory=Receiving)

    @property
    def login(self) -> str:
        """The host, and the user if one was named, as ssh takes them."""
        return self.host if self.user is None else f"{self.user}@{self.host}"


def argv(remote: Remote, mode: Mode) -> list[str]:
    """Return the words that start the server of `remote` in a mode.

    ssh joins the words of the remote command with spaces and gives them to a shell there, so each
    is quoted for it. Plain words stay as they are: what sshd (a forced command) and sudo see is
    `sudo buttersink --server --mode r /path/`.

    Raises:
        UsageError: The commands can't be split, the host or user would be taken for an option,
            or the directory is not one that can be named without a doubt.
    """
    return [*_login(remote), *map(shlex.quote, server_words(remote, mode))]


def server_words(remote: Remote, mode: Mode) -> list[str]:
    """Return the words that run on the other host, as the program there gets them.

    Raises:
        UsageError: As of `argv`.
    """
    program = _split(remote.remote_command, "--remote-command")
    if program[0].startswith("-"):  # ssh looks for options behind the host, too
        raise UsageError(
            f"--remote-command {escape(remote.remote_command)} names no program",
            "options of ssh belong into --ssh-command",
        )
    return [*program, "--server", "--mode", mode.letter, _normalised(remote)]


def trial(remote: Remote) -> str:
    """Return a command line for a person to try whether ssh gets there at all.

    Raises:
        UsageError: As of `argv`.
    """
    return shlex.join([*_login(remote), "true"])


def _login(remote: Remote) -> list[str]:
    for word in (remote.host, remote.login):
        # OpenSSH would take a -- in front, but not every program that can stand in for it.
        if not word or word.startswith("-") or "\0" in word:
            raise UsageError(f"{escape(word)!r} is no host to reach by ssh")
    # No terminal, whatever the user's configuration says: it would change the bytes.
    words = [*_split(remote.ssh_command, "--ssh-command"), "-T"]
    if remote.port is not None:
        words += ["-p", str(remote.port)]
    return [*words, remote.login]


def _split(command: str, option: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(
            f"{option} {escape(command)}: {str(error).lower()}",
            "it is split into words as a shell would",
        ) from error
    if not words or not words[0] or "\0" in command:
        raise UsageError(f"{option} {escape(command)!r} names no program")
    return words


def _normalised(remote: Remote) -> str:
    """Return the directory as the server wants it: absolute, each part once, a slash at the end."""
    directory = remote.directory
    if not directory.startswith("/") or "\0" in directory:
        raise UsageError(
            f"{escape(directory)!r} on {escape(remote.host)} is no absolute path",
            "directories on other hosts are named from / on",
        )
    parts = [part for part in directory.split("/") if part not in {"", "."}]
    if ".." in parts:
        # What .. means depends on symbolic links, which only the other host knows.
        raise UsageError(
            f"{escape(directory)} on {escape(remote.host)}: .. can't be used there",
            "name the directory itself",
        )
    return "/" + "".join(f"{part}/" for part in parts)
