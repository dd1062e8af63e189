"""How streams are received: what the user chose, as a frozen value. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from buttersink.model import Receiver

CHECKPOINT_BYTES: Final = 256 << 20
CHECKPOINT_SECONDS: Final = 30.0
LEAST_CHECKPOINT_BYTES: Final = 1 << 20
"""What anybody may ask a server for: each takes a commit of its file system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often what has come is kept.

    Attributes:
        nbytes: After so many bytes of the stream,
        seconds: and at the latest after so many seconds, if anything came.
    """

    nbytes: int = CHECKPOINT_BYTES
    seconds: float = CHECKPOINT_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiving:
    """The user's choices about what makes subvolumes of streams.

    Attributes:
        receiver: What does that.
        pace: How often it makes a checkpoint, if it is our own.
    """

    receiver: Receiver = Receiver.OWN
    pace: Pace = field(default_factory=Pace)
