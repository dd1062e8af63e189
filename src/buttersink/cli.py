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
from buttersink.options import Options, parse_options
from buttersink.priority import yield_disks
from buttersink.program import accept_any_text, discard_output
from buttersink.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

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
    _die_quietly_on(signal.SIGINT)
    _load()
    reporter = _reporter(options)
    try:
        with (
            _stopped_once_by(signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
            _logging_to(log),
            reporter,
        ):
            return _reported_run(options, reporter)
    except KeyboardInterrupt:
        reporter.error(ButterSinkError(_STOPPED))
        return ExitCode.INTERRUPTED


def _load() -> None:
    """Import what a run needs before a signal can interrupt it.

    Out of the middle of an import an interrupt may come as any other error.
    """
    from buttersink import listing, report, sync  # noqa: F401, PLC0415 - see above
    from buttersink.stores import btrfs  # noqa: F401, PLC0415 - likewise


def _reported_run(options: Options, reporter: Reporter) -> int:
    try:
        yield_disks()
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
    from buttersink.ends import check_pair, opened, opened_destination  # noqa: PLC0415
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
    )
    state = _state_directory()

    def emit(event: Event) -> None:
        _log.debug("%s", event)
        reporter(event)

    with ExitStack() as stack:
        if options.source is None:
            store = stack.enter_context(opened(options.destination, options.storing, state=state))
            list_snapshots(store, settings, emit)
            if not options.delete:
                return ExitCode.DONE
            finished = clean_partials(store, settings, emit)
        else:
            source = stack.enter_context(opened(options.source, options.storing, state=state))
            destination = stack.enter_context(opened_destination(options, state=state))
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


def _die_quietly_on(number: signal.Signals) -> None:
    """Let a signal end the program, as long as it has not done anything yet."""
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def _stopped_once_by(*signals: signal.Signals) -> Iterator[None]:
    """Make the first of these signals an interrupt of the block.

    More of them don't disturb the cleaning up, nor the end of the program after the block.
    """
    concerned = [n for n in signals if signal.getsignal(n) is not signal.SIG_IGN]  # as by nohup

    def leave_in_peace() -> None:
        for number in concerned:
            # Not SIG_IGN: of that Python complains if one has come that it has not handled yet.
            signal.signal(number, lambda _number, _frame: None)

    def stop(_number: int, _frame: FrameType | None) -> None:
        leave_in_peace()
        raise KeyboardInterrupt

    for number in concerned:
        signal.signal(number, stop)
    try:
        yield
    finally:
        leave_in_peace()
        for number in concerned:
            signal.signal(number, signal.SIG_IGN)  # lasts until the interpreter has gone


if __name__ == "__main__":
    sys.exit(main())
