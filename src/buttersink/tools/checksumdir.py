"""The program `checksumdir`: print, store or check what directories hold, attributes included."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buttersink.errors import ButterSinkError, ExitCode, UsageError
from buttersink.program import discard_output
from buttersink.tools.manifest import compare, escape, read, write
from buttersink.tools.tree import scan
from buttersink.version import __version__

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from typing import BinaryIO

    from rich.progress import Progress

    from buttersink.tools.manifest import Entry
    from buttersink.tools.tree import Advance

_MOST_JOBS = 16
_SHOWN_LEFT_OUT = 3
_REFRESH_SECONDS = 0.1


class OutputError(ButterSinkError):
    """The result could not be written."""


class StoredManifestError(ButterSinkError):
    """The file with the manifest to check against could not be read."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status: 1 if directories differ or can't be read."""
    arguments = _parser().parse_args(argv)
    try:
        _check(arguments)
        with _output(arguments.output) as out:
            return _Program(out=out, jobs=arguments.jobs, quiet=arguments.quiet).run(arguments)
    except ButterSinkError as error:
        _say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _say("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # whoever reads the output has seen enough
        discard_output()
        return ExitCode.FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="checksumdir",
        description="Print a digest of all that each directory holds: names, data, owners, modes, "
        "times, extended attributes, hard links. Equal trees have equal digests, on whatever "
        "machine they are. Run it as root, so that it sees everything.",
        allow_abbrev=False,
    )
    parser.add_argument("directories", nargs="+", metavar="DIR")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--manifest", action="store_true", help="print the manifest that the digest is taken of"
    )
    what.add_argument(
        "--check", metavar="FILE", help="name the differences from the manifest in FILE"
    )
    what.add_argument(
        "--compare", action="store_true", help="name the differences of DIR2 from DIR1"
    )
    parser.add_argument("--output", metavar="FILE", help="write to FILE, not to standard output")
    parser.add_argument(
        "-j",
        "--jobs",
        type=int,
        default=min(8, os.cpu_count() or 1),
        metavar="N",
        help="number of threads that hash (%(default)s)",
    )
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="show no progress, notes or summary"
    )
    parser.add_argument("-V", "--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what the parser lets through.

    Raises:
        UsageError: The arguments do not go together.
    """
    count = len(arguments.directories)
    if arguments.compare and count != 2:  # noqa: PLR2004 - comparing is between two
        raise UsageError(f"--compare takes two directories, but {count} were named")
    if (arguments.manifest or arguments.check is not None) and count != 1:
        option = "--manifest" if arguments.manifest else "--check"
        raise UsageError(f"{option} takes one directory, but {count} were named")
    if not 1 <= arguments.jobs <= _MOST_JOBS:
        raise UsageError(f"--jobs {arguments.jobs} is not possible", f"use 1 to {_MOST_JOBS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Program:
    """What the program can do, each method an action that returns the exit status."""

    out: BinaryIO
    jobs: int
    quiet: bool

    def run(self, arguments: argparse.Namespace) -> int:
        """Do what the arguments ask for."""
        if arguments.check is not None:
            return self.compare(arguments.directories, arguments.check)
        if arguments.compare:
            return self.compare(arguments.directories, None)
        if arguments.manifest:
            return self.manifest(arguments.directories[0])
        return self.digests(arguments.directories)

    def digests(self, directories: Sequence[str]) -> int:
        """Write the digest of each directory."""
        for directory in directories:
            with self._trees(directory) as (entries,):
                digest = write(entries, lambda _: None)
            self.out.write(b"%s  %s\n" % (digest.encode("ascii"), os.fsencode(directory)))
            self.out.flush()
        return ExitCode.DONE

    def manifest(self, directory: str) -> int:
        """Write the manifest of a directory."""
        # On a terminal the lines themselves show progress.
        with self._trees(directory, silent=self.out.isatty()) as (entries,):
            write(entries, self.out.write)
        return ExitCode.DONE

    def compare(self, directories: Sequence[str], stored: str | None) -> int:
        """Write the differences of the last directory from the first, or from a manifest."""
        with ExitStack() as stack:
            manifests: list[Iterator[Entry]] = []
            if stored is not None:
                manifests.append(stack.enter_context(_stored(stored)))
            manifests += stack.enter_context(self._trees(*directories))
            differences = compare(*manifests)
            if self.out.isatty():  # where the lines would run into the one that shows progress
                differences = iter(list(differences))
                stack.close()
            count = 0
            for difference in differences:
                self.out.write(f"{difference}\n".encode("ascii"))
                count += 1
        if not self.quiet:
            _say("1 difference" if count == 1 else f"{count or 'no'} differences")
        return ExitCode.FAILED if count else ExitCode.DONE

    @contextmanager
    def _trees(self, *directories: str, silent: bool = False) -> Generator[list[Generator[Entry]]]:
        """Scan directories side by side, with progress; at the end say what was left out."""
        left_out: list[tuple[str, list[bytes]]] = [(name, []) for name in directories]
        jobs = max(1, self.jobs // len(directories))
        with ExitStack() as stack:
            advance = None
            if sys.stderr.isatty() and not (self.quiet or silent):
                advance = stack.enter_context(_progress())
            trees = [
                scan(name, jobs=jobs, advance=advance, left_out=paths.append)
                for name, paths in left_out
            ]
            for tree in trees:
                stack.enter_context(closing(tree))
            yield trees
        for name, paths in left_out:
            if paths and not self.quiet:
                _say_left_out(name, paths)


def _say(text: str) -> None:
    print(f"checksumdir: {text}", file=sys.stderr)  # noqa: T201 - this is a program


def _say_left_out(directory: str, paths: Sequence[bytes]) -> None:
    """Name some of the directories that are on other devices than the tree."""
    shown = ", ".join(escape(path) for path in paths[:_SHOWN_LEFT_OUT])
    more = f" and {len(paths) - _SHOWN_LEFT_OUT} more" if len(paths) > _SHOWN_LEFT_OUT else ""
    _say(f"left out of {directory}, as nested subvolumes or mount points: {shown}{more}")


@contextmanager
def _stored(path: str) -> Generator[Iterator[Entry]]:
    """Give the entries of a stored manifest, once all of it has been found undamaged.

    Raises:
        DamagedManifestError: It is damaged.
        StoredManifestError: It cannot be read.
    """
    with ExitStack() as stack:
        try:
            file: BinaryIO = stack.enter_context(open(path, "rb"))
            if not file.seekable():  # a pipe can be read once only
                copy = stack.enter_context(tempfile.TemporaryFile())
                shutil.copyfileobj(file, copy)
                copy.seek(0)
                file = copy
            for _ in read(file, path):
                pass
            file.seek(0)
        except OSError as error:
            raise StoredManifestError(f"cannot read {path}: {error.strerror}") from error
        yield read(file, path)


@contextmanager
def _output(path: str | None) -> Generator[BinaryIO]:
    """Give the file to write to. A regular file appears whole, or not at all.

    Raises:
        OutputError: Writing failed.
    """
    try:
        if path is None:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        elif os.path.exists(path) and not os.path.isfile(path):  # a pipe, /dev/stdout, ...
            with open(path, "wb") as file:
                yield file
        else:
            with _replacing(os.path.realpath(path)) as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        where = "standard output" if path is None else path
        raise OutputError(f"cannot write {where}: {error.strerror}") from error


@contextmanager
def _replacing(path: str) -> Generator[BinaryIO]:
    """Give a new file that takes the place of `path` if the block ends well."""
    new = f"{path}.{os.getpid()}.new"
    try:
        with open(new, "xb") as file:
            yield file
        os.replace(new, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(new)
        raise


@contextmanager
def _progress() -> Generator[Advance]:
    """Show what is hashed, as a line on standard error that vanishes at the end."""
    # rich is slow to import, and most runs show nothing.
    from rich.console import Console  # noqa: PLC0415 - as said above
    from rich.progress import (  # noqa: PLC0415 - as said above
        FileSizeColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TransferSpeedColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[files]:,} files"),
        FileSizeColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Counter(progress)


class _Counter:
    """Adds up what threads have hashed, and shows it now and then rather than for each file."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None, files=0)
        self._lock = threading.Lock()
        self._files = 0
        self._nbytes = 0
        self._shown = 0.0

    def __call__(self, *, files: int, nbytes: int) -> None:
        with self._lock:
            self._files += files
            self._nbytes += nbytes
            now = time.monotonic()
            if now - self._shown >= _REFRESH_SECONDS:
                self._shown = now
                self._progress.update(self._task, completed=self._nbytes, files=self._files)
