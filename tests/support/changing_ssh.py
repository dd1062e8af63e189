"""Something in place of ssh that takes another way for each connection."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from support.far_programs import write_program
from support.ssh_ends import Shell

if TYPE_CHECKING:
    from pathlib import Path

_STAND_IN: Final = """\
#!/bin/sh
number=$(wc -c <{count})
printf x >>{count}
case $number in
{cases}
esac
"""

REFUSED: Final = "ssh: connect to host nas port 22: Connection refused"
DENIED: Final = "fred@nas: Permission denied (publickey)."


class ChangingShell:
    """A way to this machine that is another one for each connection.

    Args:
        host: The host as it is written in a URL.
        directory: An empty directory.
        ways: What runs as ssh, as for --ssh-command: for the first connection, the second, and
            so on; the last also for all that follow.
    """

    def __init__(self, host: str, directory: Path, *ways: str) -> None:
        self._count = directory / "count"
        self._count.write_bytes(b"")
        *firsts, last = ways
        cases = [f'{number}) exec {way} "$@" ;;' for number, way in enumerate(firsts)]
        text = _STAND_IN.format(
            count=shlex.quote(str(self._count)),
            cases="\n".join([*cases, f'*) exec {last} "$@" ;;']),
        )
        program = directory / "changing-ssh"
        write_program(program, text)
        self.shell = Shell(host, shlex.quote(str(program)))

    @property
    def connections(self) -> int:
        """How many there have been."""
        return len(self._count.read_bytes())


def failing(words: str) -> str:
    """Return what to run as an ssh that says these words and fails."""
    return f"sh -c {shlex.quote(f'echo {shlex.quote(words)} >&2; exit 255')}"


def in_other_mounts(mounted: Path | str, over: Path | str, ssh_command: str) -> str:
    """Return an ssh whose far side sees something else mounted over a file or directory."""
    script = f'mount --bind {shlex.quote(str(mounted))} {shlex.quote(str(over))} && exec "$@"'
    return f"unshare --mount sh -c {shlex.quote(script)} - {ssh_command}"
