"""How servers on other hosts are reached: what the user chose, as a frozen value. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ldexp
from typing import Final

DEFAULT_SSH_COMMAND: Final = "ssh"
DEFAULT_REMOTE_COMMAND: Final = "sudo buttersink"
DEFAULT_STALL_SECONDS: Final = 60.0
DEFAULT_RETRIES: Final = 8

_MOST_DOUBLINGS: Final = 30
"""Of a pause: more of them would make numbers that are of no use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often a link that was lost is dialled again, and after which pauses.

    Attributes:
        retries: Attempts for each loss; 0 for none.
        first_pause_seconds: Before the first of them. Each later one is twice as long ...
        longest_pause_seconds: ... but never longer than this.
    """

    retries: int = DEFAULT_RETRIES
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 30.0

    def pause_seconds(self, attempt: int) -> float:
        """Return how long to wait before an attempt; they count from 1."""
        doublings = min(attempt - 1, _MOST_DOUBLINGS)
        return min(ldexp(self.first_pause_seconds, doublings), self.longest_pause_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Linking:
    """The user's choices about links to other hosts.

    Attributes:
        ssh_command: The program that connects, with options.
        remote_command: What runs buttersink there.
        stall_seconds: A link on which nothing comes for so long is given up.
        patience: What is done about a link that is lost during a run.
    """

    ssh_command: str = DEFAULT_SSH_COMMAND
    remote_command: str = DEFAULT_REMOTE_COMMAND
    stall_seconds: float = DEFAULT_STALL_SECONDS
    patience: Patience = field(default_factory=Patience)
