"""How far a run is: bytes, speed and time left, from events and a clock. No display."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from buttersink.events import (
    Failed,
    Finished,
    Listed,
    Measuring,
    Planned,
    Skipped,
    TransferDone,
    TransferProgress,
    TransferResumed,
    TransferStarted,
)
from buttersink.model import Certainty, Size
from buttersink.plan import Transfer

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from buttersink.events import Event

_WINDOW_SECONDS: Final = 30.0
"""Speed is that of the last half minute: steady enough to read, quick enough to notice a stall."""
_SAMPLE_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """One bar's worth of progress.

    Attributes:
        done: Bytes so far, counted as sizes are.
        total: Bytes expected.
        rate: Bytes a second lately; None before that can be told.
    """

    done: int
    total: Size
    rate: float | None = None

    @property
    def fraction(self) -> float | None:
        """From 0 to 1; None if the total is unknown, zero, or was passed."""
        if self.total.certainty not in {Certainty.EXACT, Certainty.ESTIMATE}:
            return None
        if self.total.nbytes <= 0 or self.done > self.total.nbytes:
            return None
        return self.done / self.total.nbytes

    @property
    def seconds_left(self) -> float | None:
        """None if it cannot be told."""
        if self.fraction is None or not self.rate:
            return None
        return (self.total.nbytes - self.done) / self.rate


class Speedometer:
    """Bytes a second over the last half minute, from readings of a growing counter."""

    def __init__(self, *, now: float, nbytes: int = 0) -> None:
        self._samples = deque([(now, nbytes)])

    def read(self, *, now: float, nbytes: int) -> None:
        """Take a reading of the counter, at `now` seconds of any steady clock."""
        samples = self._samples
        # Readings close together share a sample, so that the window stays small.
        if len(samples) > 1 and now - samples[-2][0] < _SAMPLE_SECONDS:
            samples.pop()
        samples.append((now, nbytes))
        while len(samples) > 1 and samples[1][0] <= now - _WINDOW_SECONDS:
            samples.popleft()

    def rate(self, *, now: float) -> float | None:
        """Return the speed at `now`; it sinks while no bytes come. None before any time passed."""
        (start, first), (_, last) = self._samples[0], self._samples[-1]
        return (last - first) / (now - start) if now > start else None


@dataclass(slots=True)
class _Running:
    transfer: Transfer
    speed: Speedometer
    plain_bytes: int = 0


class Tally:
    """Follows the events of a run.

    Attributes:
        measuring: The last event of a measurement that is under way.
        started: The event that began the current transfer, or the last one.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.measuring: Measuring | None = None
        self.started: TransferStarted | None = None
        self._clock = clock
        self._over = 0
        self._open: dict[UUID, Size] = {}
        self._running: _Running | None = None
        self._speed: Speedometer | None = None

    def follow(self, event: Event) -> None:
        """Take note of an event; most change nothing here."""
        match event:
            case Measuring():
                self.measuring = event
            case TransferResumed(transfer=transfer, plain_bytes=plain_bytes):
                self._jump(transfer, plain_bytes)
            case TransferProgress(transfer=transfer, plain_bytes=plain_bytes):
                self._advance(transfer, plain_bytes)
            case TransferDone(transfer=transfer, plain_bytes=plain_bytes):
                self._advance(transfer, plain_bytes)
                self._finish(transfer)
            case Failed(step=Transfer() as transfer):
                self._finish(transfer)
            case Skipped(skip=skip):
                self._open.pop(skip.snapshot.uuid, None)
            case Listed() | Finished():
                self.measuring = None
            case Planned(plan=plan):
                self.measuring = None
                self._open = {step.snapshot.uuid: step.whole for step in plan.transfers}
            case TransferStarted():
                self.measuring = None
                self._start(event)
            case _:
                pass

    def _start(self, event: TransferStarted) -> None:
        now = self._clock()
        self.started = event
        self._open[event.transfer.snapshot.uuid] = event.transfer.whole
        self._running = _Running(event.transfer, Speedometer(now=now))
        self._speed = self._speed or Speedometer(now=now)

    def _advance(self, transfer: Transfer, plain_bytes: int) -> None:
        running = self._running
        if running is None or running.transfer.diff != transfer.diff:
            return
        now = self._clock()
        if plain_bytes < running.plain_bytes:
            # It is sent again, from the start or a checkpoint: bytes never flow back.
            self._jump(transfer, plain_bytes)
        running.plain_bytes = plain_bytes
        running.speed.read(now=now, nbytes=plain_bytes)
        if self._speed:
            self._speed.read(now=now, nbytes=self._over + plain_bytes)

    def _jump(self, transfer: Transfer, plain_bytes: int) -> None:
        """Take note that a transfer is somewhere else now, though no bytes passed."""
        running = self._running
        if running is None or running.transfer.diff != transfer.diff:
            return
        now = self._clock()
        running.plain_bytes = plain_bytes
        running.speed = Speedometer(now=now, nbytes=plain_bytes)
        self._speed = Speedometer(now=now, nbytes=self._over + plain_bytes)

    def _finish(self, transfer: Transfer) -> None:
        # What passed stays counted, also for a failed transfer, so that the sum never falls.
        if self._running and self._running.transfer.diff == transfer.diff:
            self._over += self._running.plain_bytes
            self._running = None
        self._open.pop(transfer.snapshot.uuid, None)

    @property
    def current(self) -> Gauge | None:
        """The transfer that is under way."""
        running = self._running
        if running is None:
            return None
        return Gauge(
            done=running.plain_bytes,
            total=running.transfer.whole,
            rate=running.speed.rate(now=self._clock()),
        )

    @property
    def overall(self) -> Gauge:
        """All transfers: those that are over count as what they were, the others as planned."""
        current = self.current
        return Gauge(
            done=self._over + (current.done if current else 0),
            total=self._expected(current),
            rate=self._speed.rate(now=self._clock()) if self._speed else None,
        )

    def _expected(self, current: Gauge | None) -> Size:
        sizes = self._open.values()
        passed = current is not None and current.done > current.total.nbytes
        certainties = {size.certainty for size in sizes}
        if passed or certainties & {Certainty.UNKNOWN, Certainty.AT_LEAST}:
            return Size(0, Certainty.UNKNOWN)
        estimated = Certainty.ESTIMATE in certainties
        return Size(
            self._over + sum(size.nbytes for size in sizes),
            Certainty.ESTIMATE if estimated else Certainty.EXACT,
        )
