"""Something in place of ssh, such as the stand-in by pipe, over a link that stalls or is cut.

Runs a command, passes its standard input and output on, and when the link is lost ends like ssh
does (OpenSSH 9.2): with status 255 and a line on standard error. The command finds its standard
input at an end, and nobody to read its output. Far cheaper than a real sshd behind a proxy, with
two differences: bytes are those of the protocol, not of ssh's packets; and once the client ends
the stand-in, the far side hears of it even if the link stalls.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Final

from support.link import Link, PipeEnd
from support.link_faults import LinkFault, Trouble, WaitingFaults, Way

_TESTS: Final = Path(__file__).resolve().parent.parent
_LOST_STATUS: Final = 255
_WORDS: Final = {
    Trouble.CLOSE: "Connection to 127.0.0.1 closed by remote host.",
    Trouble.RESET: "client_loop: send disconnect: Broken pipe",
}


def lossy_ssh_command(ssh_command: str, *faults: LinkFault, delay: float = 0.0) -> str:
    """Return what to give to --ssh-command in place of `ssh_command`.

    Each connection has all the faults again, counted from its own beginning.

    Args:
        ssh_command: What is run, such as `pipe_ssh_command` gives.
        faults: What goes wrong; an `after` of 0 means that nothing gets through.
        delay: How many seconds each byte takes, either way.
    """
    words = [
        "/usr/bin/env",
        f"PYTHONPATH={_TESTS}",
        *(sys.executable, "-S", "-P", "-m", "support.lossy_ssh"),  # bare, so that it starts soon
        str(delay),
        *map(str, faults),
        "--",
    ]
    return f"{shlex.join(words)} {ssh_command}"


def main(arguments: list[str]) -> int:
    """Do it; return the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    split = arguments.index("--")
    delay, *faults = arguments[:split]
    command = arguments[split + 1 :]
    far_input, to_far = os.pipe()
    from_far, far_output = os.pipe()
    pid = os.posix_spawnp(
        command[0],
        command,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, far_input, 0),
            (os.POSIX_SPAWN_DUP2, far_output, 1),
        ],
        setsigdef=[signal.SIGPIPE],  # which the interpreter ignores
    )
    os.close(far_input)
    os.close(far_output)
    far = PipeEnd(from_far, to_far)
    link = Link(
        PipeEnd(0, 1),
        far,
        faults=WaitingFaults(*map(LinkFault.parse, faults)),
        delay=float(delay),
        ends=frozenset({Way.BACK}),
    )
    trouble = link.run()
    if trouble is not None:
        os.write(2, f"{_WORDS[trouble]}\r\n".encode())
        return _LOST_STATUS
    far.close()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if status >= 0 else _LOST_STATUS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
