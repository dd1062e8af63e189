"""The command line, taken apart once into a frozen value. Pure but for argparse's own exits."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from buttersink.errors import UsageError
from buttersink.location import Location, parse_location
from buttersink.program import Parser
from buttersink.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

_EPILOG: Final = """\
<src>, <dst>:  [btrfs://]/path/to/directory/[snapshot]
               s3://bucket/prefix/[snapshot]
               ssh://[user@]host[:port]/path/to/directory/[snapshot]

The slash at the end matters: with it, all snapshots in the directory are meant; without
it, the last part names one snapshot. With only <dst>, what is there is listed.

exit status:  0 done    1 failed    2 wrong usage    130 interrupted
              3 finished, but something that was named could not be transferred or deleted
"""
_RATE: Final = re.compile(r"(?i:(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMGT]?)(?:i?B)?(?:/s)?)")
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says.

    Attributes:
        source: None for a listing of the destination.
        destination: The other end, or what is listed.
        part_size_mib: For the parts of a multipart upload; None leaves the choice to the store.
        bytes_per_second: Limit of the rate; None for no limit.

    The others are the options of the same names.
    """

    source: Location | None
    destination: Location
    dry_run: bool
    delete: bool
    estimate: bool
    quiet: int
    logfile: str | None
    part_size_mib: int | None
    excludes: tuple[re.Pattern[str], ...]
    bytes_per_second: float | None
    json: bool
    create: bool
    force: bool


def parse_options(argv: Sequence[str]) -> Options:
    """Take apart the arguments (without the program's name).

    Raises:
        UsageError: They are wrong.
        SystemExit: With status 0, after --help and --version have printed.
    """
    parser = _parser()
    found, extra = parser.parse_known_args(argv)
    # argparse gives up on <dst> when an option stands between <src> and it.
    if found.dst is None and len(extra) == 1 and not extra[0].startswith("-"):
        found.dst = extra.pop()
    if extra:
        parser.error(f"unrecognized arguments: {' '.join(extra)}")
    if found.src is None:
        raise UsageError(
            "nothing was named",
            "buttersink <dst> lists what is there, buttersink <src> <dst> syncs",
        )
    listing = found.dst is None
    source = None if listing else parse_location(found.src, is_destination=False)
    destination = parse_location(found.src if listing else found.dst, is_destination=not listing)
    return Options(
        source=source,
        destination=destination,
        dry_run=found.dry_run,
        delete=found.delete,
        estimate=found.estimate,
        quiet=found.quiet,
        logfile=found.logfile,
        part_size_mib=found.part_size,
        excludes=tuple(found.exclude),
        bytes_per_second=found.bwlimit,
        json=found.json,
        create=found.create,
        force=found.force,
    )


def _parser() -> Parser:
    parser = Parser(
        prog="buttersink",
        usage="%(prog)s [-h] [-n] [-d] [-e] [-q] [-l LOGFILE] [-V] [--part-size PART_SIZE]\n"
        "                  [--exclude REGEX] [--bwlimit RATE] [--json] [--create] [--force]\n"
        "                  [<src>] <dst>",
        description="Make <dst> hold the btrfs snapshots of <src>, sending only differences.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    # argparse fills the first positional first; with one argument alone that is <dst>.
    add(
        "src",
        metavar="<src>",
        nargs="?",
        help="source of the snapshots; without it, <dst> is listed",
    )
    add("dst", metavar="<dst>", nargs="?", help="where they shall be")
    add("-n", "--dry-run", action="store_true",
        help="display what would be transferred, but don't do it")  # fmt: skip
    add("-d", "--delete", action="store_true",
        help="delete any snapshots in <dst> that are not in <src>; first of all, remove what "
        "interrupted transfers left there")  # fmt: skip
    add("-e", "--estimate", action="store_true",
        help="use estimated sizes instead of measuring diffs")  # fmt: skip
    add("-q", "--quiet", action="count", default=0,
        help="once: no progress; twice: only error messages")  # fmt: skip
    add("-l", "--logfile", metavar="LOGFILE",
        help="log debugging information to a file (append)")  # fmt: skip
    add("-V", "--version", action="version", version=f"%(prog)s {__version__}")
    add("--part-size", type=_part_size, metavar="PART_SIZE",
        help="MiB, size of chunks in a multipart upload")  # fmt: skip
    add("--exclude", type=_pattern, action="append", default=[], metavar="REGEX",
        help="leave alone snapshots whose path in <src> begins with a match: neither transferred "
        "nor deleted; repeatable")  # fmt: skip
    add("--bwlimit", type=_rate, metavar="RATE",
        help="bytes a second at most; with K, M or G in units of 1024, such as 10M")  # fmt: skip
    add("--json", action="store_true",
        help="machine-readable output: one JSON object a line on stdout")  # fmt: skip
    add("--create", action="store_true", help="make the directory <dst> if it is missing")
    add("--force", action="store_true",
        help="do what a safety rule refuses, such as deleting everything")  # fmt: skip
    return parser


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from error


def _rate(text: str) -> float:
    match = _RATE.fullmatch(text.strip())
    rate = float(match["number"]) * _UNITS[match["unit"].upper()] if match else 0
    if rate <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate; write bytes a second, such as 10M")
    return rate


def _part_size(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size in MiB")
    return int(text)
