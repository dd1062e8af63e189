"""What changed between two snapshots, as a table on a terminal."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from buttersink.report.changes import SIGNS, lines, rows
from buttersink.report.plain import write_lines
from buttersink.stream.changes import ChangeKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TextIO

    from buttersink.stream.changes import Change

_MOST_IN_TABLE: Final = 2000
"""Rows; laying out many more takes longer than finding them, and nobody sees them at once."""
_STYLES: Final[Mapping[ChangeKind, str]] = MappingProxyType(
    {
        ChangeKind.CREATED: "green",
        ChangeKind.DELETED: "red",
        ChangeKind.RENAMED: "cyan",
        ChangeKind.CHANGED: "",
    }
)


def print_changes(stream: TextIO, changes: Sequence[Change], total: str) -> None:
    """Print changes and their total on a terminal."""
    # Nothing in a name is rich's to interpret: neither "[red]" nor ":key:" nor numbers.
    console = Console(file=stream, force_terminal=True, markup=False, emoji=False, highlight=False)
    if len(changes) > _MOST_IN_TABLE:
        write_lines(stream, lines(changes))
    elif changes:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for overflow in ("fold", "fold", "fold"):
            table.add_column(overflow=overflow)
        for row in rows(changes):
            style = _STYLES[row.kind]
            table.add_row(
                Text(SIGNS[row.kind], style=style),
                Text(row.path, style=style),
                Text(row.what, style="dim"),
            )
        console.print(table)
    console.print(Text(total, style="bold"))
    stream.flush()
