"""A stand-in for ssh that runs the command on this machine: ssh by pipe.

It takes ssh's arguments, joins the words of the command with spaces as ssh does, and gives them to
a shell, in an environment as bare as sshd's. The shell takes its place: nothing is copied, and
whoever started the stand-in is the parent of the far side. A command that dies by a signal is seen
to do so, where ssh would exit with 255.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Final, NamedTuple

from support.far_programs import far_path, make_far_programs, remote_command, write_program

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PipedCall", "pipe_ssh_command", "piped_calls", "remote_command"]

_CALLS: Final = "calls"

_STAND_IN: Final = """\
refuse() {
    echo "ssh by pipe: $1" >&2
    exit 255
}
host=
while [ $# -gt 0 ]; do
    case $1 in
        --) shift; [ -z "$host" ] || break ;;
        -[FJilop]) [ $# -ge 2 ] || refuse "option $1 needs an argument"; shift 2; continue ;;
        -[FJilop]?* | -[46ACTaknqtvx]) shift; continue ;;
        -*) refuse "no option $1" ;;
    esac
    [ -z "$host" ] && [ $# -gt 0 ] || break
    host=$1
    shift
done
[ -n "$host" ] || refuse "no host"
[ $# -gt 0 ] || refuse "no command"
printf '%s\\0%s\\0' "$host" "$*" >>"$calls"
cd /
if [ -n "$forced" ]; then
    exec /usr/bin/env -i HOME=/ PATH="$path" SSH_ORIGINAL_COMMAND="$*" /bin/sh -c "$forced"
fi
exec /usr/bin/env -i HOME=/ PATH="$path" /bin/sh -c "$*"
"""


class PipedCall(NamedTuple):
    """A connection that was asked for."""

    host: str
    """With the user, if one was named."""
    command: str
    """As a shell on the far side gets it."""


def pipe_ssh_command(directory: Path, *, forced_command: str = "") -> str:
    """Make the stand-in and return what to give to --ssh-command.

    On its far side `buttersink` and `sudo buttersink` run this checkout's.

    Args:
        directory: Gets the files `ssh` and `calls`, each time anew, and the directory `bin`.
        forced_command: Runs whatever is asked for, with that in SSH_ORIGINAL_COMMAND, like
            command="..." in authorized_keys.
    """
    programs = directory / "bin"
    if not programs.exists():
        make_far_programs(directory)
    calls, stand_in = directory / _CALLS, directory / "ssh"
    calls.write_bytes(b"")
    settings = {"calls": str(calls), "path": far_path(programs), "forced": forced_command}
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in settings.items()]
    write_program(stand_in, "".join(["#!/bin/sh\n", *lines, _STAND_IN]))
    return shlex.quote(str(stand_in))


def piped_calls(directory: Path) -> list[PipedCall]:
    """Return the connections that were asked for, in order."""
    fields = (directory / _CALLS).read_bytes().split(b"\0")[:-1]
    names = [os.fsdecode(field) for field in fields]
    return [PipedCall(*pair) for pair in zip(names[::2], names[1::2], strict=True)]
