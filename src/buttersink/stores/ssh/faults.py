"""What can go wrong on the way to another host: how it is recognised, and what a user is told.

The signs are the words of OpenSSH (9.2 and its sources since 7.4), sudo (1.8, 1.9 and sudo-rs),
common shells and Python, all in English: see `SshProcess`. Pure data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from buttersink.errors import (
    ButterSinkError,
    MissingError,
    NotPermittedError,
    ProtocolError,
    TransferError,
    UnavailableError,
    UsageError,
)


class Fault(Enum):
    """What can be wrong."""

    HOST_KEY_CHANGED = auto()
    HOST_KEY_UNKNOWN = auto()
    DENIED = auto()
    CONFIGURATION = auto()
    BAD_NAME = auto()
    UNRESOLVED = auto()
    REFUSED = auto()
    UNREACHABLE = auto()
    NEGOTIATION = auto()
    NO_SSHD = auto()
    LOST = auto()
    PASSWORD = auto()
    TERMINAL = auto()
    NOT_ALLOWED = auto()
    NO_PRIVILEGES = auto()
    NO_SHELL = auto()
    NOT_INSTALLED = auto()
    NOT_RUNNABLE = auto()
    INSTALLATION = auto()
    CRASH = auto()
    OTHER_KEY = auto()
    USAGE = auto()
    CLIENT_LOST = auto()
    SERVER = auto()
    OLD_BUTTERSINK = auto()
    STRAY_TEXT = auto()
    KILLED = auto()
    KILLED_THERE = auto()
    SILENT_SSH = auto()
    SSH = auto()
    ENDED = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a user is told of a fault.

    Attributes:
        kind: The class of the error.
        what: What is wrong, before the words of whoever noticed.
        hint: What to do. Both may have fields for `str.format`; see `diagnosis`.
    """

    kind: type[ButterSinkError]
    what: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Sign:
    """How a fault is recognised.

    Attributes:
        fault: Which one.
        pattern: Is found in a line.
        shown: Found in the lines that are worth showing; None for those of `pattern`.
    """

    fault: Fault
    pattern: re.Pattern[str]
    shown: re.Pattern[str] | None = None


AGAIN: Final = "check the network and the other host, then run again"
_TRY: Final = "try {trial}"
_ALLOW: Final = (
    "allow it in sudoers there with a NOPASSWD line for exactly {server}, see "
    "docs/server-security.md; or log in as root, with --remote-command buttersink"
)
_INSTALL: Final = (
    "install buttersink there, or name what runs it there with --remote-command, "
    "such as 'sudo /path/to/buttersink', or only buttersink if you log in as root"
)
_REPAIR: Final = "install buttersink there again"

MEANINGS: Final = {
    Fault.HOST_KEY_CHANGED: Meaning(
        NotPermittedError,
        "the host has another key than it had",
        "if it was set up anew, remove its old key with ssh-keygen -R {known}; if not, another "
        "machine may pose as it",
    ),
    Fault.HOST_KEY_UNKNOWN: Meaning(
        NotPermittedError,
        "the key of the host is not known",
        "log in once by hand, and compare the key: {trial}",
    ),
    Fault.DENIED: Meaning(NotPermittedError, "the host let nobody in", _TRY),
    Fault.CONFIGURATION: Meaning(
        UsageError,
        "ssh can't work as it is set up",
        "correct ssh's configuration, or --ssh-command",
    ),
    Fault.BAD_NAME: Meaning(
        UsageError, "ssh takes no such name", "remote ends are ssh://[user@]host[:port]/path/"
    ),
    Fault.UNRESOLVED: Meaning(UnavailableError, "the host was not found", "is {host} spelt right?"),
    Fault.REFUSED: Meaning(
        UnavailableError,
        "there was no connection",
        "is sshd running there, and on that port? Others are named as in ssh://{address}:2222/path/",
    ),
    Fault.UNREACHABLE: Meaning(UnavailableError, "there was no connection", _TRY),
    Fault.NEGOTIATION: Meaning(
        TransferError, "both hosts know no common way to speak", "upgrade the older OpenSSH"
    ),
    Fault.NO_SSHD: Meaning(
        TransferError, "what listens on that port is no sshd", "name the port of sshd in ssh://"
    ),
    Fault.LOST: Meaning(UnavailableError, "the connection was lost", AGAIN),
    Fault.PASSWORD: Meaning(NotPermittedError, "sudo there wants a password", _ALLOW),
    Fault.TERMINAL: Meaning(
        NotPermittedError,
        "sudo there wants a terminal",
        "there is none on a connection that carries snapshots: write 'Defaults !requiretty' for "
        "that user in sudoers there, see docs/server-security.md",
    ),
    Fault.NOT_ALLOWED: Meaning(NotPermittedError, "sudo there does not allow this command", _ALLOW),
    Fault.NO_PRIVILEGES: Meaning(NotPermittedError, "sudo can't work there"),
    Fault.NO_SHELL: Meaning(
        NotPermittedError,
        "that user may not run commands there",
        "log in as another user, or give this one a shell or a forced command there, see "
        "docs/server-security.md",
    ),
    Fault.NOT_INSTALLED: Meaning(
        MissingError,
        "{program} was not found there",
        _INSTALL,
    ),
    Fault.NOT_RUNNABLE: Meaning(
        NotPermittedError,
        "{program} can't be run there",
        _INSTALL,
    ),
    Fault.INSTALLATION: Meaning(
        TransferError, "the installation of buttersink there is broken", _REPAIR
    ),
    Fault.CRASH: Meaning(
        TransferError, "the server broke down there, by a fault of its own", _REPAIR
    ),
    Fault.OTHER_KEY: Meaning(
        NotPermittedError,
        "the key that logged in is for something else",
        "see command= in authorized_keys there, and docs/server-security.md",
    ),
    Fault.USAGE: Meaning(
        UsageError,
        "the command was not understood there",
        "check --remote-command, and upgrade the older buttersink",
    ),
    Fault.CLIENT_LOST: Meaning(UnavailableError, "the server heard nothing from here", AGAIN),
    Fault.SERVER: Meaning(TransferError, "the server gave up"),
    Fault.OLD_BUTTERSINK: Meaning(
        ProtocolError, "a ButterSink older than version 1 runs there", "upgrade it there"
    ),
    Fault.STRAY_TEXT: Meaning(
        ProtocolError,
        "something there spoke in place of buttersink",
        "startup files of the login shell there, such as ~/.bashrc, must print nothing when the "
        "shell isn't interactive",
    ),
    Fault.KILLED: Meaning(UnavailableError, "ssh was killed by {signal}", AGAIN),
    Fault.KILLED_THERE: Meaning(
        UnavailableError, "the server was killed by {signal}", "see the system's log there"
    ),
    Fault.SILENT_SSH: Meaning(
        UnavailableError,
        "ssh gave up without a word",
        "either the server was killed, or ssh was told to be quiet (-q, LogLevel): " + _TRY,
    ),
    Fault.SSH: Meaning(TransferError, "ssh gave up", _TRY),
    Fault.ENDED: Meaning(TransferError, "the server has gone without a word", _TRY),
    Fault.OTHER: Meaning(TransferError, "the command there ended with status {status}", _TRY),
}


def _sign(fault: Fault, pattern: str, *, shown: str | None = None) -> Sign:
    return Sign(
        fault,
        re.compile(pattern, re.IGNORECASE),
        None if shown is None else re.compile(shown, re.IGNORECASE),
    )


SSH_SIGNS: Final = (
    _sign(
        Fault.HOST_KEY_CHANGED,
        r"host identification has changed",
        shown=r"^offending .* key|^host key verification failed",
    ),
    _sign(Fault.HOST_KEY_UNKNOWN, r"host key verification failed|host key is known for"),
    _sign(
        Fault.DENIED,
        r"permission denied \(|permission denied, please|too many authentication failures|"
        r"no (more|supported) authentication methods",
        shown=r"permission denied|too many authentication|authentication methods|"
        r"^load key |are too open|^warning: identity file|^no such identity",
    ),
    _sign(
        Fault.CONFIGURATION,
        r"bad configuration option|can't open user config file|bad owner or permissions|"
        r"unknown option -- |illegal option -- |cannot execute command-line and remote command|"
        r"^bad port|: exec: .*not found|keyword .* extra arguments|missing argument",
    ),
    _sign(Fault.BAD_NAME, r"(hostname|username) contains invalid characters"),
    _sign(Fault.UNRESOLVED, r"could not resolve hostname"),
    _sign(Fault.REFUSED, r"connect to host .* port .*: connection refused"),
    _sign(Fault.UNREACHABLE, r"connect to host .* port .*: "),
    _sign(Fault.NEGOTIATION, r"unable to negotiate with|no matching .* found"),
    _sign(Fault.NO_SSHD, r"invalid format|bad (remote )?protocol|protocol major versions differ"),
    _sign(
        Fault.LOST,
        r"connection (closed|reset|timed out)|connection to \S+ (port \S+ )?(closed|timed out)|"
        r"closed by remote host|broken pipe|^timeout, server |(read|write)[^:]* failed|"
        r"read from remote host|ssh_dispatch_run_fatal|(disconnected|received disconnect) from|"
        r"not allowed at this time",
    ),
)
"""Signs of ssh itself, the more telling first; they count if its status is that of a failure."""

REMOTE_SIGNS: Final = (
    _sign(Fault.TERMINAL, r"sudo: sorry, you must have a tty"),
    _sign(
        Fault.PASSWORD,
        r"(sudo|doas)(-rs)?: .*(password is required|(terminal|tty) is required|no tty present|"
        r"no password was provided|incorrect password|authentication (is )?(required|failed))",
    ),
    _sign(
        Fault.NOT_ALLOWED,
        r"is not in the sudoers file|is not allowed to (execute|run sudo)|may not run sudo|"
        r"you do not exist in the passwd|i'm afraid i can't do that|doas: operation not permitted",
    ),
    _sign(
        Fault.NO_PRIVILEGES,
        r"sudo: .*(no new privileges|effective uid is not 0|must be owned by uid 0|setuid)",
    ),
    _sign(Fault.NOT_INSTALLED, r"sudo: (?P<program>\S+): command not found"),
    _sign(
        Fault.NO_SHELL,
        r"account is (currently )?not available|allows sftp connections only|"
        r"account (has expired|is locked)|no shell access",
    ),
    _sign(
        Fault.INSTALLATION,
        r"^(ModuleNotFound|Import|Syntax|Indentation)Error\b|^\S*(Package|Distribution)NotFound|"
        r"no module named|bad interpreter",
    ),
    _sign(Fault.CRASH, r"^traceback \(most recent", shown=r"^[\w.]+(Error|Exception|Exit)\b"),
    _sign(Fault.OTHER_KEY, r"^buttersink server: this key is for"),
    _sign(Fault.USAGE, r"^usage: |unrecognized (argument|option)"),
    _sign(Fault.CLIENT_LOST, r"^buttersink server: the client has gone: "),
    _sign(Fault.SERVER, r"^buttersink( server)?: "),
)
"""Signs of what ran on the other host, the more telling first."""

NOISE: Final = re.compile(
    r"^warning: permanently added|^pseudo-terminal will not|unable to resolve host|"
    r"cannot change locale|setting locale failed|^\*\* |^@+$|^stdin: is not a tty|"
    r"mesg: |cannot set terminal process group|no job control in this shell",
    re.IGNORECASE,
)
"""Lines that come without a fault."""
