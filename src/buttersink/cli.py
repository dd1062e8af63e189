"""The command `buttersink`: argv → options → run → exit status.

The only module that reads the command line and the environment, and that prints.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from buttersink.errors import ButterSinkError, ExitCode, UsageError
from buttersink.model import Mode
from buttersink.options import Options, parse_options
from buttersink.priority import yield_disks
from buttersink.program import accept_any_text, discard_output
from buttersink.signals import die_quietly_on, stopped_once_by
from buttersink.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from buttersink.events import Event
    from buttersink.report import Reporter

_log: Final = logging.getLogger("buttersink")
_LOG_FORMAT: Final = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
_STOPPED: Final = "interrupted: nothing half-done counts; the next run goes on from here"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status, see `errors.ExitCode`."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    accept_any_text()
    try:
        options = parse_options(arguments)
        log = _log_handler(options)
    except UsageError as error:
        print(f"error: {escape(str(error))}", file=sys.stderr)  # noqa: T201 - no reporter yet
        return ExitCode.USAGE
    die_quietly_on(signal.SIGINT)
    _load(options)
    reporter = _reporter(options)
    try:
        with (
            stopped_once_by(signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
            _logging_to(log),
            reporter,
        ):
            return _reported_run(options, reporter)
    except KeyboardInterrupt:
        reporter.error(ButterSinkError(_STOPPED))
        return ExitCode.INTERRUPTED


def _load(options: Options) -> None:
    """Import what a run needs before a signal can interrupt it.

    Out of the middle of an import an interrupt may come as any other error.
    """
    # --version must not wait for these
    from buttersink import listing, report, settings, sync  # noqa: F401, PLC0415 - see above
    from buttersink.ends import load  # noqa: PLC0415 - likewise

    for location in (options.source, options.destination):
        if location is not None:
            load(location)


def _reported_run(options: Options, reporter: Reporter) -> int:
    try:
        if failure := yield_disks():
            _log.info("I/O priority is not lowered: %s", failure)
        return _run(options, reporter)
    except ButterSinkError as error:
        _log.debug("the run failed", exc_info=error)
        reporter.error(error)
        if os.environ.get("BUTTERSINK_DEBUG"):
            raise
        return error.exit_code
    except BrokenPipeError:
        discard_output()
        return ExitCode.FAILED


def _run(options: Options, reporter: Reporter) -> int:
    # --version must not wait for these
    from buttersink.ends import Means, check_pair, opened, opened_destination  # noqa: PLC0415
    from buttersink.listing import list_snapshots  # noqa: PLC0415
    from buttersink.settings import Settings  # noqa: PLC0415
    from buttersink.sync import clean_partials, sync  # noqa: PLC0415

    settings = Settings(
        one=(options.source or options.destination).snapshot,
        excludes=options.excludes,
        only=options.only,
        dry_run=options.dry_run,
        delete=options.delete,
        estimate=options.estimate,
        force=options.force,
        bytes_per_second=options.bytes_per_second,
        storing=options.storing,
        patience=options.linking.patience,
    )
    means = Means(
        storing=options.storing,
        linking=options.linking,
        state=_state_directory(),
        sudo_user=os.environ.get("SUDO_USER"),
        receiving=options.receiving,
    )

    def emit(event: Event) -> None:
        _log.debug("%s", event)
        reporter(event)

    with ExitStack() as stack:
        if options.source is None:
            cleaning = options.delete and not options.dry_run
            mode = Mode.WRITE if cleaning else Mode.READ
            store = stack.enter_context(opened(options.destination, means, mode=mode))
            list_snapshots(store, settings, emit)
            if not options.delete:
                return ExitCode.DONE
            finished = clean_partials(store, settings, emit)
        else:
            source = stack.enter_context(opened(options.source, means))
            destination = stack.enter_context(opened_destination(options, means))
            check_pair(source, destination, options)
            finished = sync(source, destination, settings, emit)
    complete = finished.failed == finished.undeleted == 0
    return ExitCode.DONE if complete else ExitCode.INCOMPLETE


def _state_directory() -> str:
    """Return where to remember what the next run needs to know, such as open uploads."""
    if service := os.environ.get("STATE_DIRECTORY"):  # systemd.exec(5)
        return service.partition(":")[0]
    if os.geteuid() == 0:
        return "/var/lib/buttersink"
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(home, "buttersink")


def _reporter(options: Options) -> Reporter:
    from buttersink.report import make_reporter  # noqa: PLC0415 - --version must not wait

    return make_reporter(
        stdout=sys.stdout,
        stderr=sys.stderr,
        terminal=sys.stderr.isatty(),
        quiet=options.quiet,
        json=options.json,
    )


def _log_handler(options: Options) -> logging.Handler:
    if not options.logfile:
        return logging.NullHandler()
    try:
        handler = logging.FileHandler(options.logfile, errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"{options.logfile} can't be written: {error.strerror}") from error
    handler.setFormatter(logging.Formatter(_LOG_FORMAT))
    return handler


@contextmanager
def _logging_to(handler: logging.Handler) -> Iterator[None]:
    _log.setLevel(logging.DEBUG)
    _log.propagate = False
    _log.addHandler(handler)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        handler.close()
