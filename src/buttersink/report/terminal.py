"""A terminal as a screen: tables and bars. Here and in `change_table` reports import rich."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.measure import Measurement
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from buttersink.events import Finished, Listed, Planned
from buttersink.report.plain import listing_lines, plan_lines, write_lines
from buttersink.report.rows import Action, Kind, list_rows, list_total, plan_rows, plan_total
from buttersink.report.tally import Gauge, Tally
from buttersink.report.wording import Note, Tone
from buttersink.text import bytes_text, duration_text, escape, rate_text, size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TextIO

    from rich.console import RenderableType

    from buttersink.events import Event, Measuring
    from buttersink.report.rows import ListRow, PlanRow

_REFRESH_SECONDS: Final = 0.1
_UNBOUNDED: Final = 1 << 20
"""Columns that no table needs."""
_NUMBERS: Final = frozenset({"size", "increment", "stored", "total", "exclusive"})
"""Headings of the columns that are aligned to the right."""

_TONES: Final[Mapping[Tone, str]] = MappingProxyType(
    {Tone.PLAIN: "", Tone.GOOD: "green", Tone.WARNING: "yellow", Tone.ERROR: "red"}
)
_ACTIONS: Final[Mapping[Action, str]] = MappingProxyType(
    {
        Action.CLEAN: "magenta",
        Action.KEEP: "dim",
        Action.ADOPT: "green",
        Action.SEND_FULL: "bold cyan",
        Action.SEND_INCREMENTAL: "cyan",
        Action.SEND_LINK_FULL: "bold blue",
        Action.SEND_LINK_ON: "blue",
        Action.SKIP: "yellow",
        Action.RELEASE: "magenta",
        Action.DELETE: "red",
        Action.HIDE: "blue",
        Action.DISCARD: "red",
    }
)
_KINDS: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        Kind.ORIGINAL: "",
        Kind.RECEIVED: "cyan",
        Kind.PARTIAL: "magenta",
        Kind.STORED: "",
        Kind.HIDDEN: "blue",
    }
)


class TerminalScreen:
    """Tables on standard output, bars and coloured lines on stderr.

    `stderr` must be a terminal. Where standard output is none, it gets plain lines instead of
    tables: colours and folded cells are of no use to what reads it.
    """

    def __init__(self, *, stdout: TextIO, stderr: TextIO, clock: Callable[[], float]) -> None:
        self._stdout = stdout
        self._tables = _console(stdout) if stdout.isatty() else None
        self._notes = _console(stderr)
        self._bars = Bars(self._notes, clock=clock)

    def plan(self, planned: Planned) -> None:
        """Show a plan."""
        if self._tables is None:
            write_lines(self._stdout, plan_lines(planned))
        else:
            rows = list(plan_rows(planned.plan))
            tables = (wide_plan(rows), narrow_plan(rows)) if rows else ()
            self._print(self._tables, tables, total=plan_total(planned))

    def listing(self, listed: Listed) -> None:
        """Show a listing."""
        if self._tables is None:
            write_lines(self._stdout, listing_lines(listed))
        else:
            rows = list_rows(listed)
            tables = (wide_listing(rows), narrow_listing(rows)) if rows else ()
            self._print(self._tables, tables, total=list_total(listed))

    def _print(self, console: Console, tables: Sequence[Table], *, total: str) -> None:
        """Print the first of the tables that fits, or else the last, and a total."""
        for table in tables:
            if table is tables[-1] or _natural_width(console, table) <= console.width:
                console.print(table)
                break
        console.print(Text(total, style="bold"))
        self._stdout.flush()

    def note(self, note: Note) -> None:
        """Show one line above the bars."""
        self._notes.print(Text(note.text, style=_TONES[note.tone]))

    def follow(self, event: Event) -> None:
        """Move the bars."""
        self._bars.follow(event)

    def close(self) -> None:
        """Take the bars away."""
        self._bars.close()


def _console(stream: TextIO) -> Console:
    # Nothing in the text is rich's to interpret: neither "[red]" nor ":key:" nor numbers.
    return Console(file=stream, force_terminal=True, markup=False, emoji=False, highlight=False)


def _natural_width(console: Console, table: Table) -> int:
    """Return the columns that a table takes if nothing in it is folded."""
    unbounded = console.options.update(max_width=_UNBOUNDED)
    return Measurement.get(console, unbounded, table).maximum


def _table(*headings: str) -> Table:
    """Return an empty table whose cells fold, so that no part of a name is ever cut off."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in headings:
        number = heading in _NUMBERS
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    return table


def wide_plan(rows: Sequence[PlanRow]) -> Table:
    """Return a plan as a table with a column for everything."""
    styles = [_ACTIONS[row.action] for row in rows]
    columns: list[tuple[str, list[Text]]] = [
        (
            "action",
            [Text(row.action.value, style) for row, style in zip(rows, styles, strict=True)],
        ),
        ("size", [Text(row.size) for row in rows]),
        ("snapshot", [Text(row.path, style) for row, style in zip(rows, styles, strict=True)]),
        ("on", [Text(row.parent) for row in rows]),
        ("because", [Text(row.why, "dim") for row in rows]),
    ]
    if any(row.chain for row in rows):
        columns.insert(-1, ("chain", [Text(row.chain) for row in rows]))
    return _filled(columns)


def _filled(columns: Sequence[tuple[str, Sequence[Text]]]) -> Table:
    """Return a table of columns, each with its heading."""
    table = _table(*(heading for heading, _ in columns))
    for cells in zip(*(cells for _, cells in columns), strict=True):
        table.add_row(*cells)
    return table


def narrow_plan(rows: Sequence[PlanRow]) -> Table:
    """Return a plan as a table in which path, parent and reason share a column."""
    table = _table("action", "size", "snapshot")
    for row in rows:
        style = _ACTIONS[row.action]
        parent = f" on {row.parent}" if row.parent else ""
        chain = f" chain of {row.chain}" if row.chain else ""
        cell = Text.assemble((row.path, style), parent, (f"{chain} ({row.why})", "dim"))
        table.add_row(Text(row.action.value, style=style), Text(row.size), cell)
    return table


def wide_listing(rows: Sequence[ListRow]) -> Table:
    """Return a listing as a table with a column for everything that any row knows."""
    columns: list[tuple[str, list[Text]]] = [
        ("snapshot", [Text(row.path, style=_KINDS[row.kind]) for row in rows]),
        ("on", [Text(row.predecessor) for row in rows]),
        ("increment", [Text(row.increment) for row in rows]),
        ("stored", [Text(row.stored) for row in rows]),
        ("chain", [Text(row.chain) for row in rows]),
        ("total", [Text(row.total) for row in rows]),
        ("exclusive", [Text(row.exclusive) for row in rows]),
        ("created", [Text(row.created) for row in rows]),
        ("kind", [Text(row.kind.value, style=_KINDS[row.kind]) for row in rows]),
        ("uuid", [Text(row.uuid, style="dim") for row in rows]),
        ("note", [Text(row.note, style="dim") for row in rows]),
    ]
    return _filled([(heading, cells) for heading, cells in columns if any(cells)])


def narrow_listing(rows: Sequence[ListRow]) -> Table:
    """Return a listing as a table in which all but time and size share a column."""
    stored = any(row.chain for row in rows)
    table = _table("created", "stored" if stored else "increment", "snapshot")
    for row in rows:
        parent = f" on {row.predecessor}" if row.predecessor else ""
        more = [f"{row.kind.value} {row.uuid}".rstrip()]
        if row.chain:
            more.append(f"chain {row.chain}")
        if row.total:
            more.append(f"total {row.total}")
        if row.exclusive:
            more.append(f"exclusive {row.exclusive}")
        if row.note:
            more.append(row.note)
        cell = Text.assemble((row.path, _KINDS[row.kind]), parent, "\n", (", ".join(more), "dim"))
        table.add_row(Text(row.created), Text(row.increment or row.stored), cell)
    return table


class Bars:
    """Bars for measuring, for all transfers and for the current one, while there are any.

    They are drawn when events come, at most ten times a second, by no thread of their own.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float]) -> None:
        self._console = console
        self._clock = clock
        self._tally = Tally(clock)
        self._live: Live | None = None
        self._drawn = clock()

    def follow(self, event: Event) -> None:
        """Take note of an event and draw what changed."""
        before = self._tally.measuring, self._tally.started
        self._tally.follow(event)
        if isinstance(event, Planned | Listed | Finished):
            self.close()
        elif self._live is None and (self._tally.measuring or self._tally.current):
            self._live = self._open()
        elif self._live:
            changed = before != (self._tally.measuring, self._tally.started)
            self._draw(self._live, urgent=changed)

    def _open(self) -> Live:
        live = Live(
            console=self._console,
            get_renderable=self._render,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        live.start(refresh=True)
        self._drawn = self._clock()
        return live

    def _draw(self, live: Live, *, urgent: bool) -> None:
        now = self._clock()
        if urgent or now - self._drawn >= _REFRESH_SECONDS:
            self._drawn = now
            live.refresh()

    def close(self) -> None:
        """Take the bars away; they come back with the next event that needs them."""
        if self._live:
            self._live.stop()
            self._live = None

    def _render(self) -> RenderableType:
        """Return what the bars look like now."""
        width = self._console.width
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1)
        for _ in range(4):
            grid.add_column(no_wrap=True, justify="right")
        tally = self._tally
        if tally.measuring:
            self._add_measuring(grid, tally.measuring)
        current, started = tally.current, tally.started
        if started and started.count > 1:
            self._add_gauge(grid, f"{started.number} of {started.count}", tally.overall)
        if started and current:
            name = escape(started.transfer.path)
            self._add_gauge(grid, _tail(name, width // 4), current)
        return Group(grid)

    def _add_measuring(self, grid: Table, measuring: Measuring) -> None:
        done, total = min(measuring.done, measuring.total), measuring.total
        bar = ProgressBar(total=max(total, 1), completed=done)
        grid.add_row("measuring", bar, "", f"{done} of {total} diffs", "", "")

    def _add_gauge(self, grid: Table, name: str, gauge: Gauge) -> None:
        fraction = gauge.fraction
        if fraction is None:
            bar = ProgressBar(pulse=True, animation_time=self._clock())
            amount, percent = bytes_text(gauge.done), ""
        else:
            bar = ProgressBar(total=1.0, completed=fraction)
            amount = f"{bytes_text(gauge.done)} of {size_text(gauge.total)}"
            percent = f"{int(fraction * 100)}%"
        rate = "" if gauge.rate is None else rate_text(gauge.rate)
        left = "" if gauge.seconds_left is None else f"{duration_text(gauge.seconds_left)} left"
        grid.add_row(Text(name), bar, percent, amount, rate, left)


def _tail(name: str, width: int) -> str:
    """Shorten a name to its end, which is where snapshots differ."""
    if cell_len(name) <= width:
        return name
    while name and cell_len(name) >= width:
        name = name[1:]
    return f"…{name}"
