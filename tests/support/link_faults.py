"""What befalls a connection, and when: exact to the byte."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from threading import Lock


class Way(Enum):
    """One of the two ways of a connection."""

    THERE = "there"
    """From the client to the server."""
    BACK = "back"


class Trouble(Enum):
    """What befalls a connection; always both ways of it, unless it says otherwise."""

    CLOSE = "close"
    """It ends in order, with what was passed on delivered (FIN)."""
    RESET = "reset"
    """It breaks (RST)."""
    STALL = "stall"
    """Nothing is passed on any more, but neither end hears of it."""
    STALL_ONE_WAY = "stall-one-way"
    """The same, but only that way."""


@dataclass(frozen=True, slots=True)
class LinkFault:
    """One thing to go wrong.

    Attributes:
        trouble: What happens.
        way: Of which way the bytes are counted.
        after: It happens as soon as exactly so many bytes were passed on that way, counted from
            the beginning of the connection; at once if there were more already.
        seconds: How long a stall lasts; for ever if nobody heals it.
    """

    trouble: Trouble
    way: Way
    after: int = 0
    seconds: float = math.inf

    def __str__(self) -> str:
        return f"{self.trouble.value}:{self.way.value}:{self.after}:{self.seconds}"

    @classmethod
    def parse(cls, text: str) -> LinkFault:
        """Return the fault that `str` wrote."""
        trouble, way, after, seconds = text.split(":")
        return cls(Trouble(trouble), Way(way), int(after), float(seconds))


class WaitingFaults:
    """Faults that are still to happen, each once; for several threads."""

    def __init__(self, *faults: LinkFault) -> None:
        self._lock = Lock()
        self._waiting = list(faults)

    def add(self, *faults: LinkFault) -> None:
        with self._lock:
            self._waiting += faults

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    def __len__(self) -> int:
        with self._lock:
            return len(self._waiting)

    def room(self, way: Way, passed: int) -> int | None:
        """Return how many bytes may be passed on before something happens; None for any number."""
        with self._lock:
            counts = [fault.after - passed for fault in self._waiting if fault.way is way]
        return max(0, min(counts)) if counts else None

    def take_due(self, way: Way, passed: int) -> LinkFault | None:
        """Take out a fault that is due once so many bytes were passed on, if there is one."""
        with self._lock:
            for fault in list(self._waiting):
                if fault.way is way and fault.after <= passed:
                    self._waiting.remove(fault)
                    return fault
        return None
