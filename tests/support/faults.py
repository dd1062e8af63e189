"""What a proxy is told to spoil, and when."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Side(Enum):
    """Which of the two messages of an exchange."""

    REQUEST = "request"
    RESPONSE = "response"


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer with an error of S3's; the server hears nothing of it."""

    status: int = 503
    code: str = "SlowDown"


@dataclass(frozen=True, slots=True)
class Cut:
    """Cut both connections when so many bytes of the body have passed.

    With an offset of 0 in the request the server hears nothing of it at all.
    """

    side: Side = Side.REQUEST
    offset: int = 0


@dataclass(frozen=True, slots=True)
class LoseAnswer:
    """Let the server do it, but cut the connection instead of passing on what it answers."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Pass on nothing for a while, then go on as if nothing had been.

    For the request that is before the server hears of it, for the response afterwards.
    """

    seconds: float
    side: Side = Side.REQUEST


@dataclass(frozen=True, slots=True)
class Flip:
    """Change all bits of a byte of the body."""

    side: Side
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Slow:
    """Pass on the body at so many bytes a second."""

    side: Side
    rate: float


Action = Answer | Cut | LoseAnswer | Stall | Flip | Slow

ANY = "*"
"""In place of an operation: all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing to go wrong.

    Attributes:
        action: What happens.
        operation: Of which requests, such as "UploadPart".
        first: It happens to the n-th of them from now on, counted from 1 ...
        times: ... and those that follow, so many in all.
        at_total: Instead: it happens once, in the message in which so many bytes of bodies of
            that operation have passed on that side, counted since the proxy began; cuts and flips
            at that byte. Bodies whose length isn't told beforehand are not counted.
    """

    action: Action
    operation: str = ANY
    first: int = 1
    times: int = 1
    at_total: int | None = None

    def concerns(self, operation: str) -> bool:
        return self.operation in {ANY, operation}

    @property
    def side(self) -> Side:
        """In which message it happens."""
        match self.action:
            case Answer():
                return Side.REQUEST
            case LoseAnswer():
                return Side.RESPONSE
            case action:
                return action.side
