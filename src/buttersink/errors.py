"""The errors a user can meet: each has a message for a person, a hint, and an exit code.

Only these leave a store or reach the command line. Foreign errors (`OSError`, a program's exit
status) are mapped where they occur, with `raise ... from`, so that the cause stays in the chain.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the exit status of `buttersink` means. Documented in README.md."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INCOMPLETE = 3
    """Finished, but something named in the output could not be transferred or deleted."""
    INTERRUPTED = 130


class ButterSinkError(Exception):
    """Something a user can act on.

    Attributes:
        message: What was tried and what was wrong, in one line.
        hint: What to do about it; empty if there is nothing to advise.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(ButterSinkError):
    """The command line is wrong, or names something that cannot be what it says."""

    exit_code = ExitCode.USAGE


class IsSnapshotError(UsageError):
    """What is named as a directory of snapshots is itself one."""


class NotBtrfsError(ButterSinkError):
    """The directory exists but is not on a btrfs file system."""


class NotPermittedError(ButterSinkError):
    """The kernel refused for want of privileges (CAP_SYS_ADMIN, mostly)."""


class BusyError(ButterSinkError):
    """Another run holds the destination."""


class RefusedError(ButterSinkError):
    """A safety rule forbids what was asked; the hint names the way round it, if there is one."""


class PathTakenError(ButterSinkError):
    """Something else already stands where a snapshot was to go."""


class MissingError(ButterSinkError):
    """A snapshot, parent or file that was counted on is not there (any more)."""


class CorruptStreamError(ButterSinkError):
    """A send stream is damaged, truncated, hostile, or not the one that was asked for."""


class TransferError(ButterSinkError):
    """Sending or receiving failed; the message is the first cause."""


class UnfaithfulStreamError(TransferError):
    """The kernel's stream of a diff would lack something; another way to send it may not."""


class RestartError(TransferError):
    """What an interrupted transfer had left can't be gone on with; it can begin anew at once."""


class PausedError(TransferError):
    """The system stopped a sender for a while, which ends its stream; it can go on at once."""


class ProtocolError(TransferError):
    """The far side of a link does not speak as it should."""


class NoSpaceError(TransferError):
    """The destination has too little free space."""


class UnavailableError(ButterSinkError):
    """The end cannot be reached now; the only error that may be retried."""
