"""A connection in bad hands: passes bytes between two ends, late or only so many of them."""

from __future__ import annotations

import math
import os
import select
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from support.link_faults import Trouble, Way

if TYPE_CHECKING:
    from support.link_faults import LinkFault, WaitingFaults

_PIECE_BYTES: Final = 256 << 10
_QUEUE_BYTES: Final = 64 << 20
"""So much may be on its way: enough that a delay doesn't limit the rate."""


class End(Protocol):
    """One end of a connection. Writing to it must not block."""

    @property
    def incoming(self) -> int:
        """The descriptor to read from."""
        ...

    @property
    def outgoing(self) -> int:
        """The descriptor to write to."""
        ...

    @property
    def tells_when_gone(self) -> bool:
        """Whether it is noticed also while the connection stalls that nobody reads it any more."""
        ...

    def finish(self) -> None:
        """Let the other side read up to here, and then an end."""
        ...

    def refuse(self) -> None:
        """Let the other side know that nobody will take what it writes."""
        ...

    def close(self) -> None:
        """Close what is still open of it."""
        ...


class PipeEnd:
    """An end that is a pair of pipes."""

    tells_when_gone = True

    def __init__(self, incoming: int, outgoing: int) -> None:
        self.incoming = incoming
        self.outgoing = outgoing
        os.set_blocking(outgoing, False)

    def finish(self) -> None:
        if self.outgoing >= 0:
            os.close(self.outgoing)
            self.outgoing = -1

    def refuse(self) -> None:
        if self.incoming >= 0:
            os.close(self.incoming)
            self.incoming = -1

    def close(self) -> None:
        self.finish()
        self.refuse()


class _Flow:
    """One way of a connection."""

    def __init__(self, way: Way, source: End, sink: End) -> None:
        self.way = way
        self.source = source
        self.sink = sink
        self.passed = 0
        self.counting = threading.Lock()
        """Held from before bytes can be seen on the other side until they are counted."""
        self.stalled_until = -math.inf
        self.is_done = False
        self.broke = False  # by its source, and that has been passed on, too, once it is done
        self._ended = False
        self._queue: deque[tuple[float, memoryview]] = deque()
        self._queued = 0

    @property
    def reads(self) -> bool:
        return not (self.is_done or self._ended) and self._queued < _QUEUE_BYTES

    @property
    def due(self) -> float:
        """When there is something to pass on next."""
        return self._queue[0][0] if self._queue and not self.is_done else math.inf

    def read(self, due: float) -> None:
        """Take what there is; it is to be passed on when it is due."""
        try:
            data = os.read(self.source.incoming, _PIECE_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data, self.broke = b"", True
        self._ended = not data
        self._queue.append((due, memoryview(data)))
        self._queued += len(data)

    def write(self, room: int | None) -> bool:
        """Pass on what is first in the queue, up to so many bytes; return whether any passed."""
        due, data = self._queue[0]
        if not data:
            if not self.broke:
                self.sink.finish()
            self.is_done = True
            return True
        try:
            with self.counting:
                count = os.write(self.sink.outgoing, data[:room])
                self.passed += count
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            self.source.refuse()
            self.is_done = True
            return True
        self._queued -= count
        if count < len(data):
            self._queue[0] = due, data[count:]
        else:
            self._queue.popleft()
        return count > 0


class Link:
    """A connection between two ends, for as long as `run` runs, in one thread.

    Args:
        near: The client's end.
        far: The server's end.
        faults: What is to happen; may be shared with other links, and grow after `wake`.
        delay: How many seconds each byte takes, either way; any number may be on their way.
        ends: It ends once these ways have.
    """

    def __init__(
        self,
        near: End,
        far: End,
        *,
        faults: WaitingFaults,
        delay: float = 0.0,
        ends: frozenset[Way] = frozenset(Way),
    ) -> None:
        self.delay = delay
        self._near = near
        self._faults = faults
        self._ends = ends
        self._flows = {Way.THERE: _Flow(Way.THERE, near, far), Way.BACK: _Flow(Way.BACK, far, near)}
        self._waker = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._told: deque[Trouble | None] = deque()

    def passed(self, way: Way) -> int:
        """Return how many bytes were passed on that way; those that have arrived are counted."""
        flow = self._flows[way]
        with flow.counting:
            return flow.passed

    def stall(self) -> None:
        """From another thread: pass on nothing from now on."""
        self._tell(Trouble.STALL)

    def heal(self) -> None:
        """From another thread: go on as if there had been no stall."""
        self._tell(None)

    def end(self, trouble: Trouble) -> None:
        """From another thread: let `run` return this trouble."""
        self._tell(trouble)

    def wake(self) -> None:
        """From another thread: look at the faults anew."""
        os.eventfd_write(self._waker, 1)

    def run(self) -> Trouble | None:
        """Pass bytes on until it has ended.

        Returns:
            CLOSE or RESET if both ends still have to hear of it that it has ended so, because of a
            fault or because one of the ends has broken it; None if they know.
        """
        while not all(self._flows[way].is_done for way in self._ends):
            trouble = self._trouble()
            if trouble is not None:
                return trouble
            if not self._pass_some():
                return None
            if any(flow.is_done and flow.broke for flow in self._flows.values()):
                return Trouble.RESET
        return None

    def close(self) -> None:
        """Close what isn't an end's."""
        os.close(self._waker)

    def _tell(self, trouble: Trouble | None) -> None:
        self._told.append(trouble)
        self.wake()

    def _trouble(self) -> Trouble | None:
        """Let what is due happen; return what ends the connection."""
        while self._told:
            told = self._told.popleft()
            if told in {Trouble.CLOSE, Trouble.RESET}:
                return told
            for flow in self._flows.values():
                flow.stalled_until = math.inf if told is Trouble.STALL else -math.inf
        for flow in self._flows.values():
            while fault := self._faults.take_due(flow.way, flow.passed):
                if fault.trouble in {Trouble.CLOSE, Trouble.RESET}:
                    return fault.trouble
                self._stall(fault)
        return None

    def _stall(self, fault: LinkFault) -> None:
        for way, flow in self._flows.items():
            if fault.trouble is Trouble.STALL or way is fault.way:
                flow.stalled_until = time.monotonic() + fault.seconds

    def _pass_some(self) -> bool:
        """Wait until something can be done, and do it; return False if the client has gone."""
        now = time.monotonic()
        stalled = [flow for flow in self._open() if flow.stalled_until > now]
        moving = [flow for flow in self._open() if flow.stalled_until <= now]
        wanted = {self._waker: select.POLLIN}
        listens = bool(stalled) and self._near.tells_when_gone
        if listens:
            _add(wanted, self._near.outgoing, 0)  # lets poll tell of errors
        for flow in moving:
            if flow.reads:
                _add(wanted, flow.source.incoming, select.POLLIN)
            if flow.due <= now:
                _add(wanted, flow.sink.outgoing, select.POLLOUT)
        moments = [flow.stalled_until for flow in stalled] + [flow.due for flow in moving]
        until = min((moment for moment in moments if moment > now), default=math.inf)
        ready = _poll(wanted, until - now)
        if self._waker in ready:
            os.eventfd_read(self._waker)
            return True  # what was told comes first
        if listens and ready.get(self._near.outgoing, 0) & select.POLLERR:
            return False
        for flow in moving:
            if flow.reads and ready.get(flow.source.incoming, 0) & ~select.POLLOUT:
                flow.read(time.monotonic() + self.delay)
            while flow.due <= time.monotonic() and flow.write(self._room(flow)):
                pass
        return True

    def _open(self) -> list[_Flow]:
        return [flow for flow in self._flows.values() if not flow.is_done]

    def _room(self, flow: _Flow) -> int | None:
        return self._faults.room(flow.way, flow.passed)


def _add(wanted: dict[int, int], descriptor: int, events: int) -> None:
    if descriptor >= 0:
        wanted[descriptor] = wanted.get(descriptor, 0) | events


def _poll(wanted: dict[int, int], seconds: float) -> dict[int, int]:
    poll = select.poll()
    for descriptor, events in wanted.items():
        poll.register(descriptor, events)
    timeout = None if math.isinf(seconds) else max(0, math.ceil(seconds * 1000))
    return dict(poll.poll(timeout))
