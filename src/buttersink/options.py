"""The command line, taken apart once into a frozen value. Pure but for argparse's own exits."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from buttersink.errors import UsageError
from buttersink.linking import (
    DEFAULT_REMOTE_COMMAND,
    DEFAULT_RETRIES,
    DEFAULT_SSH_COMMAND,
    DEFAULT_STALL_SECONDS,
    Linking,
    Patience,
)
from buttersink.location import Location, parse_location
from buttersink.model import Receiver
from buttersink.program import Parser
from buttersink.receiving import CHECKPOINT_BYTES, LEAST_CHECKPOINT_BYTES, Pace, Receiving
from buttersink.storing import (
    DEFAULT_FACTOR,
    DEFAULT_JOBS,
    DEFAULT_LEVEL,
    DEFAULT_LINKS,
    Storing,
    parse_compression,
    parse_sse,
)
from buttersink.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_EPILOG: Final = """\
<src>, <dst>:  [btrfs://]/path/to/directory/[snapshot]
               s3://bucket/prefix/[snapshot]       send streams in a bucket
               dir:///path/to/directory/[snapshot] send streams in any directory
               ssh://[user@]host[:port]/path/to/directory/[snapshot]

The slash at the end matters: with it, all snapshots in the directory are meant; without
it, the last part names one snapshot. With only <dst>, what is there is listed.

buttersink diff SNAP1 SNAP2 lists what changed between two snapshots; for more, see
buttersink diff --help. (A directory of that name is ./diff.)

exit status:  0 done    1 failed    2 wrong usage    130 interrupted
              3 finished, but something that was named could not be transferred or deleted
"""
_RATE: Final = re.compile(r"(?i:(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMGT]?)(?:i?B)?(?:/s)?)")
_SIZE: Final = re.compile(r"(?i:(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMGT]?)(?:i?B)?)")
_MOST_CHECKPOINT_BYTES: Final = 1 << 50
_LONGEST_STALL: Final = 86400
_T = TypeVar("_T")
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says.

    Attributes:
        source: None for a listing of the destination.
        destination: The other end, or what is listed.
        bytes_per_second: Limit of the rate; None for no limit.
        storing: How streams are stored.
        linking: How other hosts are reached.
        receiving: How streams are received.

    The others are the options of the same names.
    """

    source: Location | None
    destination: Location
    dry_run: bool
    delete: bool
    estimate: bool
    quiet: int
    logfile: str | None
    excludes: tuple[re.Pattern[str], ...]
    only: tuple[re.Pattern[str], ...]
    bytes_per_second: float | None
    json: bool
    create: bool
    force: bool
    storing: Storing
    linking: Linking
    receiving: Receiving


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
        excludes=tuple(found.exclude),
        only=tuple(found.only),
        bytes_per_second=found.bwlimit,
        json=found.json,
        create=found.create,
        force=found.force,
        storing=Storing(
            level=found.compress,
            part_mib=found.part_size,
            jobs=found.jobs,
            trash=not found.no_trash,
            whole_bucket=found.whole_bucket,
            max_chain=found.max_chain,
            max_restore=found.max_restore,
            stream_version=found.proto,
            max_parts=found.max_parts,
            endpoint_url=found.endpoint_url,
            storage_class=found.storage_class,
            sse=found.sse,
            thaw_days=found.thaw,
        ),
        linking=Linking(
            ssh_command=found.ssh_command,
            remote_command=found.remote_command,
            stall_seconds=found.stall_timeout,
            patience=Patience(retries=found.retries),
        ),
        receiving=Receiving(receiver=Receiver(found.receiver), pace=Pace(nbytes=found.checkpoint)),
    )


def _parser() -> Parser:
    parser = Parser(
        prog="buttersink",
        usage="%(prog)s [-h] [-n] [-d] [-e] [-q] [-l LOGFILE] [-V] [--part-size PART_SIZE]\n"
        "                  [--exclude REGEX] [--only REGEX] [--bwlimit RATE] [--json] [--create]\n"
        "                  [--force] [options for stored streams and ssh, see below] [<src>] <dst>",
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
    add("--part-size", type=_positive, metavar="PART_SIZE",
        help="MiB, size of chunks in a multipart upload; raised by itself for large streams "
        "(default: 16)")  # fmt: skip
    add("--exclude", type=_pattern, action="append", default=[], metavar="REGEX",
        help="leave alone snapshots whose path in <src> begins with a match: neither transferred "
        "nor deleted; repeatable")  # fmt: skip
    add("--only", type=_pattern, action="append", default=[], metavar="REGEX",
        help="leave alone snapshots whose path in <src> does not begin with a match; "
        "repeatable")  # fmt: skip
    add("--bwlimit", type=_rate, metavar="RATE",
        help="bytes a second at most; with K, M or G in units of 1024, such as 10M")  # fmt: skip
    add("--json", action="store_true",
        help="machine-readable output: one JSON object a line on stdout")  # fmt: skip
    add("--create", action="store_true", help="make the directory <dst> if it is missing")
    add("--force", action="store_true",
        help="do what a safety rule refuses, such as deleting everything")  # fmt: skip
    add("--receiver", choices=[receiver.value for receiver in Receiver],
        default=Receiver.OWN.value,
        help="what makes snapshots of streams: ButterSink itself, which can go on with what was "
        "interrupted, or the program btrfs receive (default: buttersink)")  # fmt: skip
    add("--checkpoint", type=_checkpoint, default=CHECKPOINT_BYTES, metavar="SIZE",
        help="bytes after which what has come is kept for good, so that a transfer can go on "
        "from there, besides every 30 seconds (default: 256M)")  # fmt: skip
    _add_linking(parser)
    _add_storing(parser)
    return parser


def _add_linking(parser: Parser) -> None:
    add = parser.add_argument_group("other hosts (ssh://)").add_argument
    add_ssh_options(add)
    add("--retries", type=_count, default=DEFAULT_RETRIES, metavar="N",
        help="times to connect again, with pauses that grow to 30 s, each time that a link is "
        f"lost during a run; 0 for never (default: {DEFAULT_RETRIES})")  # fmt: skip


def add_ssh_options(add: Callable[..., object]) -> None:
    """Add the options that say how a host is reached.

    Args:
        add: `add_argument` of a parser, or of a group of its options.
    """
    add("--ssh-command", default=DEFAULT_SSH_COMMAND, metavar="COMMAND",
        help="the program that connects, such as 'ssh -F file -J jumphost' "
        "(default: ssh)")  # fmt: skip
    add("--remote-command", default=DEFAULT_REMOTE_COMMAND, metavar="COMMAND",
        help="what runs buttersink there, such as 'sudo -n /usr/local/bin/buttersink' "
        "(default: sudo buttersink)")  # fmt: skip
    add("--stall-timeout", type=_seconds, default=DEFAULT_STALL_SECONDS, metavar="SECONDS",
        help="give up a link on which nothing comes for so long (default: 60)")  # fmt: skip


def _add_storing(parser: Parser) -> None:
    add = parser.add_argument_group("stored streams (s3:// and dir://)").add_argument
    add("--compress", type=_usable(parse_compression), default=DEFAULT_LEVEL, metavar="HOW",
        help="none, zstd or zstd:LEVEL (default: zstd:3)")  # fmt: skip
    add("--jobs", type=_positive, default=DEFAULT_JOBS, metavar="N",
        help="parts sent, or ranges fetched, at a time (default: 4)")  # fmt: skip
    add("--max-chain", type=_positive, default=DEFAULT_LINKS, metavar="LINKS",
        help="streams needed to restore a snapshot, at most "
        f"(default: {DEFAULT_LINKS})")  # fmt: skip
    add("--max-restore", type=_factor, default=DEFAULT_FACTOR, metavar="FACTOR",
        help="bytes needed to restore a snapshot, at most, in multiples of its full stream "
        f"(default: {DEFAULT_FACTOR:g})")  # fmt: skip
    add("--proto", type=int, choices=(1, 2), default=1,
        help="stream version to store: 1, which any btrfs receive can read, or 2, in which "
        "extents travel compressed as they are on disk (default: 1)")  # fmt: skip
    add("--no-trash", action="store_true",
        help="with --delete: delete streams for good instead of moving them to trash/")  # fmt: skip
    add("--whole-bucket", action="store_true",
        help="let streams outside the prefix serve, too; lists the whole bucket")  # fmt: skip
    add("--endpoint-url", metavar="URL", help="of an S3 service other than Amazon's")
    add("--max-parts", type=_positive, metavar="N",
        help="parts that an upload may have, where it is less than Amazon's 10000")  # fmt: skip
    add("--storage-class", metavar="CLASS", help="of new objects, such as STANDARD_IA")
    add("--sse", type=_usable(parse_sse), default="AES256", metavar="HOW",
        help="encryption asked for: AES256, aws:kms, aws:kms:KEY or none "
        "(default: AES256)")  # fmt: skip
    add("--thaw", type=_positive, metavar="DAYS",
        help="ask for archived objects that are needed, to be readable for so long")  # fmt: skip


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


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _checkpoint(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    nbytes = int(float(match["number"]) * _UNITS[match["unit"].upper()]) if match else 0
    if not LEAST_CHECKPOINT_BYTES <= nbytes <= _MOST_CHECKPOINT_BYTES:
        raise argparse.ArgumentTypeError(f"{text!r} is no size from 1M to 1024T; write it as 256M")
    return nbytes


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 1 <= seconds <= _LONGEST_STALL:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 1 to a day")
    return seconds


def _factor(text: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        factor = 0
    if not 1 <= factor < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return factor


def _usable(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    """Return `parse` as argparse wants it: its message is shown with the option's name."""

    def parsed(text: str) -> _T:
        try:
            return parse(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parsed
