"""How servers on other hosts are reached: what the user chose, as a frozen value. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DEFAULT_SSH_COMMAND: Final = "ssh"
DEFAULT_REMOTE_COMMAND: Final = "sudo buttersink"
DEFAULT_STALL_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Linking:
    """The user's choices about links to other hosts.

    Attributes:
        ssh_command: The program that connects, with options.
        remote_command: What runs buttersink there.
        stall_seconds: A link on which nothing comes for so long is given up.
    """

    ssh_command: str = DEFAULT_SSH_COMMAND
    remote_command: str = DEFAULT_REMOTE_COMMAND
    stall_seconds: float = DEFAULT_STALL_SECONDS
