"""The command `buttersink diff`: what changed between two snapshots."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from buttersink.diff_ends import opened_pair, parse_snapshot
from buttersink.diffing import compare
from buttersink.ends import Means, load
from buttersink.errors import ButterSinkError, ExitCode, UsageError
from buttersink.linking import Linking
from buttersink.options import add_ssh_options
from buttersink.program import Parser, accept_any_text, discard_output
from buttersink.report import make_reporter
from buttersink.report.changes import json_lines, lines, shown, total_line
from buttersink.report.plain import write_lines
from buttersink.signals import die_quietly_on, stopped_once_by
from buttersink.stores.mapping import mapped_error
from buttersink.storing import Storing
from buttersink.text import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buttersink.location import Location
    from buttersink.report import Reporter
    from buttersink.stream.changes import Change

NAME: Final = "diff"
"""The first argument that makes it this command; a directory of that name is ./diff."""

_EPILOG: Final = """\
SNAP1, SNAP2:  [btrfs://]/path/to/snapshot
               ssh://[user@]host[:port]/path/to/snapshot

Both are on one btrfs file system, in any of its directories. No data is read.

+ created    - deleted    > renamed    M changed

What is in a renamed directory is listed only if there is more to tell. Sizes are what was
written, or shared with another file. A change that is listed may set what was there before.

exit status:  0 done, whether there are differences or not    1 failed    2 wrong usage
              130 interrupted
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffOptions:
    """What the command line says.

    Attributes:
        older: The snapshot from which the diff leads.
        newer: The one to which it leads.
        everything: Show also where only times are told.
        json: Print JSON lines.
        linking: How other hosts are reached.
    """

    older: Location
    newer: Location
    everything: bool
    json: bool
    linking: Linking


def parse_diff_options(argv: Sequence[str]) -> DiffOptions:
    """Take apart the arguments behind `diff`.

    Raises:
        UsageError: They are wrong.
        SystemExit: With status 0, after --help has printed.
    """
    found = _parser().parse_intermixed_args(argv)
    return DiffOptions(
        older=parse_snapshot(found.older),
        newer=parse_snapshot(found.newer),
        everything=found.all,
        json=found.json,
        linking=Linking(
            ssh_command=found.ssh_command,
            remote_command=found.remote_command,
            stall_seconds=found.stall_timeout,
        ),
    )


def _parser() -> Parser:
    parser = Parser(
        prog=f"buttersink {NAME}",
        description="List what has to be done to SNAP1 to make SNAP2 of it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("older", metavar="SNAP1", help="a snapshot, most often the older one")
    add("newer", metavar="SNAP2", help="another one")
    add("-a", "--all", action="store_true",
        help="list also what has only new times, such as each directory in which something "
        "changed")  # fmt: skip
    add("--json", action="store_true",
        help="machine-readable output: one JSON object a line on stdout")  # fmt: skip
    add_ssh_options(parser.add_argument_group("other hosts (ssh://)").add_argument)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the command with the arguments behind `diff`; return its exit status."""
    accept_any_text()
    logging.getLogger("buttersink").addHandler(logging.NullHandler())
    try:
        options = parse_diff_options(argv)
    except UsageError as error:
        print(f"error: {escape(str(error))}", file=sys.stderr)  # noqa: T201 - no reporter yet
        return error.exit_code
    die_quietly_on(signal.SIGINT)
    _load(options)
    reporter = make_reporter(
        stdout=sys.stdout, stderr=sys.stderr, terminal=sys.stderr.isatty(), json=options.json
    )
    try:
        with stopped_once_by(signal.SIGINT, signal.SIGTERM, signal.SIGHUP), reporter:
            return _reported_run(options, reporter)
    except KeyboardInterrupt:
        reporter.error(ButterSinkError("interrupted"))
        return ExitCode.INTERRUPTED


def _load(options: DiffOptions) -> None:
    """Import what the run needs before a signal can interrupt it.

    Out of the middle of an import an interrupt may come as any other error.
    """
    for location in (options.older, options.newer):
        load(location)
    if _wants_table(options):
        from buttersink.report import change_table  # noqa: F401, PLC0415 - rich is slow to import


def _wants_table(options: DiffOptions) -> bool:
    return not options.json and sys.stdout.isatty()


def _reported_run(options: DiffOptions, reporter: Reporter) -> int:
    try:
        _write(options, _compared(options, reporter))
    except ButterSinkError as error:
        reporter.error(error)
        if os.environ.get("BUTTERSINK_DEBUG"):
            raise
        return error.exit_code
    except BrokenPipeError:
        discard_output()
        return ExitCode.FAILED
    return ExitCode.DONE


def _compared(options: DiffOptions, reporter: Reporter) -> Sequence[Change]:
    means = Means(
        storing=Storing(),
        linking=options.linking,
        state="",  # only uploads have anything to remember
        sudo_user=os.environ.get("SUDO_USER"),
    )
    with opened_pair(options.older, options.newer, means) as (store, older, newer):
        return compare(store, older, newer, reporter)


def _write(options: DiffOptions, changes: Sequence[Change]) -> None:
    """Write to standard output.

    Raises:
        BrokenPipeError: Nobody reads it any more.
        ButterSinkError: It can't be written for another reason.
    """
    try:
        _write_changes(options, changes)
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        raise mapped_error(error, "writing the differences") from error


def _write_changes(options: DiffOptions, changes: Sequence[Change]) -> None:
    older, newer = options.older.text, options.newer.text
    if options.json:
        write_lines(sys.stdout, json_lines(older, newer, changes))
        return
    seen = list(shown(changes, everything=options.everything))
    total = total_line(older, newer, changes, everything=options.everything)
    if _wants_table(options):
        from buttersink.report.change_table import print_changes  # noqa: PLC0415 - as above

        print_changes(sys.stdout, seen, total)
    else:
        write_lines(sys.stdout, (*lines(seen), total))
