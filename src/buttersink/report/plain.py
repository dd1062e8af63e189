"""A screen of plain lines: one for each step, for log files and `grep`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buttersink.events import Measuring, TransferProgress, TransferStarted
from buttersink.report.rows import Action, Kind, list_rows, list_total, plan_rows, plan_total
from buttersink.report.tally import Gauge, Tally
from buttersink.report.wording import Note
from buttersink.text import bytes_text, duration_text, escape, rate_text, size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TextIO

    from buttersink.events import Event, Listed, Planned

PROGRESS_SECONDS: Final = 30.0
"""How often a line tells of a long transfer or measurement."""

_ACTION_WIDTH: Final = max(len(action.value) for action in Action)
_KIND_WIDTH: Final = max(len(kind.value) for kind in Kind)
_TIME_WIDTH: Final = len("2020-02-20 20:20:20")
_UUID_WIDTH: Final = 36
_SIZE_WIDTH: Final = len("~1023 bytes")
_NONE: Final = "-"
"""Stands for an empty field, so that the number of fields before the path is always the same."""


def plan_lines(planned: Planned) -> Iterator[str]:
    """Return a plan's lines: action, size, path, parent, chain, reason; two spaces between."""
    for row in plan_rows(planned.plan):
        fields = [
            row.action.value.ljust(_ACTION_WIDTH),
            (row.size or _NONE).rjust(_SIZE_WIDTH),
            row.path,
        ]
        if row.parent:
            fields.append(f"on {row.parent}")
        if row.chain:
            fields.append(f"chain of {row.chain}")
        yield "  ".join([*fields, f"({row.why})"])
    yield plan_total(planned)


def listing_lines(listed: Listed) -> Iterator[str]:
    """Return a listing's lines: kind, time, size, chain, sizes known, uuid, path, predecessor.

    The size is that of the increment, or of what is stored.
    """
    rows = list_rows(listed)
    with_total = any(row.total for row in rows)
    with_exclusive = any(row.exclusive for row in rows)
    chain_width = max((len(row.chain) for row in rows), default=0)
    for row in rows:
        fields = [
            row.kind.value.ljust(_KIND_WIDTH),
            (row.created or _NONE).ljust(_TIME_WIDTH),
            (row.increment or row.stored or _NONE).rjust(_SIZE_WIDTH),
        ]
        if chain_width:
            fields.append(f"chain {(row.chain or _NONE).ljust(chain_width)}")
        if with_total:
            fields.append(f"total {(row.total or _NONE).rjust(_SIZE_WIDTH - 1)}")
        if with_exclusive:
            fields.append(f"exclusive {(row.exclusive or _NONE).rjust(_SIZE_WIDTH - 1)}")
        fields += [(row.uuid or _NONE).ljust(_UUID_WIDTH), row.path]
        if row.predecessor:
            fields.append(f"on {row.predecessor}")
        if row.note:
            fields.append(f"({row.note})")
        yield "  ".join(fields)
    yield list_total(listed)


def write_lines(stream: TextIO, lines: Iterable[str]) -> None:
    """Write lines and flush, so that output and errors on one terminal keep their order."""
    stream.writelines(f"{line}\n" for line in lines)
    stream.flush()


class PlainScreen:
    """Lines on standard output and stderr, with nothing that moves."""

    def __init__(self, *, stdout: TextIO, stderr: TextIO, clock: Callable[[], float]) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self._clock = clock
        self._tally = Tally(clock)
        self._told = clock()

    def plan(self, planned: Planned) -> None:
        """Show a plan."""
        write_lines(self._stdout, plan_lines(planned))

    def listing(self, listed: Listed) -> None:
        """Show a listing."""
        write_lines(self._stdout, listing_lines(listed))

    def note(self, note: Note) -> None:
        """Show one line."""
        write_lines(self._stderr, (note.text,))

    def follow(self, event: Event) -> None:
        """Write a line now and then while something takes long."""
        self._tally.follow(event)
        match event:
            case TransferStarted():
                self._told = self._clock()
            case TransferProgress(transfer=transfer) if self._due() and self._tally.current:
                state = _gauge_text(self._tally.current)
                self.note(Note(f"sending {escape(transfer.path)}: {state}"))
            case Measuring(done=done, total=total) if self._due():
                self.note(Note(f"measuring: {done} of {total} diffs"))
            case _:
                pass

    def _due(self) -> bool:
        now = self._clock()
        if now - self._told < PROGRESS_SECONDS:
            return False
        self._told = now
        return True

    def close(self) -> None:
        """Nothing to take away."""


def _gauge_text(gauge: Gauge) -> str:
    done = bytes_text(gauge.done)
    if gauge.fraction is None:
        parts = [done]
    else:
        parts = [f"{done} of {size_text(gauge.total)} ({int(gauge.fraction * 100)} %)"]
    if gauge.rate is not None:
        parts.append(rate_text(gauge.rate))
    if gauge.seconds_left is not None:
        parts.append(f"{duration_text(gauge.seconds_left)} left")
    return ", ".join(parts)
