"""The program `btrfslist`: every subvolume of a file system, and what the kernel knows of each."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from buttersink.btrfs import subvolumes
from buttersink.errors import ButterSinkError, ExitCode
from buttersink.program import Parser, accept_any_text, discard_output
from buttersink.stores.mapping import mapped_error
from buttersink.stores.opening import file_system_id, open_directory
from buttersink.text import bytes_text, escape
from buttersink.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from uuid import UUID

    from buttersink.btrfs.subvolumes import Quota, QuotaState, Subvolume

_UNKNOWN: Final = "-"
_TOP_LEVEL: Final = "/"
"""Stands for the empty path of the top-level subvolume; nothing else can have this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One subvolume.

    Attributes:
        subvolume: The kernel's facts.
        changed: Whether it was changed after it was received, which makes its received_uuid a
            lie; None if it was not received.
        quota: None if quotas do not know it.
    """

    subvolume: Subvolume
    changed: bool | None
    quota: Quota | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A file system and all its subvolumes, sorted by path."""

    fsid: UUID
    quotas: QuotaState
    rows: tuple[Row, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    accept_any_text()
    try:
        arguments = _parser().parse_args(argv)
        listing = read_listing(arguments.directory)
        _write(listing, as_json=arguments.json)
    except ButterSinkError as error:
        _say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _say("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # whoever reads the output has seen enough
        return ExitCode.FAILED
    return ExitCode.DONE


def _parser() -> Parser:
    parser = Parser(
        prog="btrfslist",
        description="List all subvolumes of the btrfs file system that DIR is on, wherever they "
        "are and whatever of it is mounted. Nothing is changed. Needs root.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR", help="a directory on the file system")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("-V", "--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def read_listing(directory: str) -> Listing:
    """Read what there is to know of the file system that `directory` is on.

    Raises:
        UsageError: There is no such directory.
        NotBtrfsError: It is not on btrfs.
        NotPermittedError: The kernel tells only root.
    """
    fd = open_directory(directory)
    try:
        fsid = file_system_id(fd, directory)
        quotas = subvolumes.read_quotas(fd)
        return Listing(
            fsid=fsid,
            quotas=subvolumes.quota_state(fd),
            rows=tuple(
                Row(
                    subvolume=found,
                    changed=subvolumes.changed_since_received(fd, found)
                    if found.received_uuid
                    else None,
                    quota=quotas.get(found.treeid),
                )
                for found in subvolumes.list_subvolumes(fd)
            ),
        )
    except OSError as error:
        raise mapped_error(error, f"reading the subvolumes of {directory}") from error
    finally:
        os.close(fd)


def _write(listing: Listing, *, as_json: bool) -> None:
    """Write to standard output.

    Raises:
        BrokenPipeError: Nobody reads it any more.
        ButterSinkError: It can't be written for another reason.
    """
    try:
        if as_json:
            _print_lines(json_lines(listing))
        elif sys.stdout.isatty():
            _print_table(listing)
        else:
            _print_lines(plain_lines(listing))
        sys.stdout.flush()
    except (OSError, KeyboardInterrupt) as error:
        discard_output()
        if isinstance(error, (BrokenPipeError, KeyboardInterrupt)):
            raise
        raise mapped_error(error, "writing the listing") from error


def _print_lines(lines: Iterator[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _say(text: str) -> None:
    print(f"btrfslist: {escape(text)}", file=sys.stderr)  # noqa: T201 - this is a program


def json_lines(listing: Listing) -> Iterator[str]:
    """Return the listing as JSON objects, described in docs/btrfslist.md."""
    # ASCII, because a path may hold lone surrogates, which no encoding of Unicode carries.
    yield json.dumps({"type": "file_system", **_file_system_fields(listing)}, ensure_ascii=True)
    for row in listing.rows:
        yield json.dumps({"type": "subvolume", **_fields(row)}, ensure_ascii=True)


def plain_lines(listing: Listing) -> Iterator[str]:
    """Return the listing as lines of `name=value`, with the same names as the JSON objects."""
    yield _assignments(_file_system_fields(listing))
    for row in listing.rows:
        yield _assignments({**_fields(row), "path": _shown_path(row)})


def _assignments(fields: dict[str, Any]) -> str:
    return " ".join(f"{name}={_plain(value)}" for name, value in fields.items())


def _plain(value: str | int | None) -> str:
    match value:
        case None:
            return _UNKNOWN
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


def _file_system_fields(listing: Listing) -> dict[str, Any]:
    return {
        "fsid": str(listing.fsid),
        "subvolumes": len(listing.rows),
        "quotas": listing.quotas.value,
    }


def _fields(row: Row) -> dict[str, Any]:
    """Return the facts of a subvolume; None for what is unknown or makes no sense for it."""
    subvolume, quota = row.subvolume, row.quota
    received = subvolume.received_uuid is not None
    return {
        "id": subvolume.treeid,
        "uuid": _uuid_text(subvolume.uuid),
        "parent_uuid": _uuid_text(subvolume.parent_uuid),
        "received_uuid": _uuid_text(subvolume.received_uuid),
        "readonly": subvolume.readonly,
        "changed": row.changed,
        "generation": subvolume.generation,
        # No transaction has the number 0: it stands where the kernel has nothing to say.
        "ctransid": subvolume.ctransid or None,
        "otransid": subvolume.otransid or None,
        "stransid": subvolume.stransid or None if received else None,
        "rtransid": subvolume.rtransid or None if received else None,
        "otime": _utc_text(subvolume.otime),
        "rtime": _utc_text(subvolume.rtime) if received else None,
        "referenced_bytes": quota.referenced if quota else None,
        "exclusive_bytes": quota.exclusive if quota else None,
        "path": subvolume.path,
    }


def _uuid_text(uuid: UUID | None) -> str | None:
    return None if uuid is None else str(uuid)


def _utc_text(moment: datetime) -> str | None:
    # File systems made before Linux 3.6 know no times, and have 0 for them.
    return moment.isoformat(timespec="microseconds") if moment.timestamp() else None


def _print_table(listing: Listing) -> None:
    """Print the listing for a terminal of 80 columns or more.

    A subvolume takes a line for its path and one for each of its uuids, with the time and the
    generation at which it got it.
    """
    # rich is slow to import, and most runs print lines.
    from rich.console import Console  # noqa: PLC0415 - as said above
    from rich.table import Table  # noqa: PLC0415 - as said above
    from rich.text import Text  # noqa: PLC0415 - as said above

    # Nothing in a name is rich's to interpret: neither "[red]" nor ":key:" nor numbers.
    console = Console(file=sys.stdout, markup=False, emoji=False, highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("ID", justify="right", no_wrap=True)
    table.add_column("Subvolume", overflow="fold")
    table.add_column("State, since", no_wrap=True)
    table.add_column("Gen", justify="right", no_wrap=True)
    for row in listing.rows:
        path_style = "bold" if row.subvolume.readonly else "bold cyan"
        state_style = "yellow" if row.changed else ""
        table.add_row(
            str(row.subvolume.treeid),
            Text(_shown_path(row), style=path_style),
            Text(_state_text(row), style=state_style),
            str(row.subvolume.generation),
        )
        for detail in _details(row):
            table.add_row("", *(Text(cell, style="dim") for cell in detail))
    count = len(listing.rows)
    noun = "subvolume" if count == 1 else "subvolumes"
    console.print(f"btrfs {listing.fsid}: {count} {noun}, quotas {listing.quotas.value}")
    console.print(table)


def _state_text(row: Row) -> str:
    state = "read-only" if row.subvolume.readonly else "writable"
    return f"{state}, changed" if row.changed else state


def _details(row: Row) -> Iterator[tuple[str, str, str]]:
    """Return the lines below a subvolume's path in the table: fact, time and generation."""
    fields = _fields(row)
    for label, name, time, generation in (
        ("uuid", "uuid", row.subvolume.otime, "otransid"),
        ("from", "parent_uuid", None, None),
        ("recv", "received_uuid", row.subvolume.rtime, "rtransid"),
    ):
        if fields[name] is not None:
            yield (
                f"{label} {fields[name]}",
                f"{time.astimezone():%Y-%m-%d %H:%M:%S}" if time and time.timestamp() else "",
                str(fields[generation] or "") if generation else "",
            )
    if row.quota:
        referenced, exclusive = map(bytes_text, (row.quota.referenced, row.quota.exclusive))
        yield f"size {referenced}, {exclusive} exclusive", "", ""


def _shown_path(row: Row) -> str:
    return escape(row.subvolume.path) or _TOP_LEVEL


if __name__ == "__main__":
    sys.exit(main())
