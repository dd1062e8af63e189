"""What ssh left behind when it ended → one error a user can act on. Pure."""

from __future__ import annotations

import re
import shlex
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from buttersink.errors import (
    ButterSinkError,
    ExitCode,
    ProtocolError,
    TransferError,
    UnavailableError,
    UsageError,
)
from buttersink.stores.ssh.command import server_words, trial
from buttersink.stores.ssh.faults import MEANINGS, NOISE, REMOTE_SIGNS, SSH_SIGNS, Fault, Sign
from buttersink.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from buttersink.model import Mode
    from buttersink.stores.ssh.command import Remote

_SSH_FAILED: Final = 255
"""Status of ssh if it failed itself, or if the command there was killed (ssh(1))."""

_NOT_RUNNABLE: Final = 126
_NOT_FOUND: Final = 127
_SIGNALS: Final = 128
"""Of a POSIX shell: a program could not be run, was not found, was killed by signal 128 + n."""

_SHOWN_LINES: Final = 3
_SHOWN_CHARACTERS: Final = 300
_OLD_ANSWER: Final = re.compile(r'\{.*"(error|errorType|traceback|command|server)": ', re.DOTALL)
"""How ButterSink 0.6.9 answers what it does not know: a JSON object."""

_SERVER_WORDS: Final = 4
"""--server, --mode, its letter, the directory."""

_PERSONAL: Final = frozenset({Fault.DENIED, Fault.HOST_KEY_UNKNOWN, Fault.UNRESOLVED})
"""Faults that a user's own configuration, keys and known hosts may cure."""

_PERSONAL_HINT: Final = (
    "under sudo ssh does not use what {user} has set up: name it with --ssh-command 'ssh "
    "-F /home/{user}/.ssh/config -i /home/{user}/.ssh/id_ed25519 "
    "-o UserKnownHostsFile=/home/{user}/.ssh/known_hosts'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What is known of an ssh that has ended.

    Attributes:
        status: Its exit status; negative if a signal killed it; None if it had to be ended.
        said: The lines of its standard error: its own words, and those of the other host.
        strays: The start of its standard output, if that was not the protocol.
    """

    status: int | None
    said: Sequence[str] = ()
    strays: bytes = b""


def diagnose(
    ending: Ending,
    remote: Remote,
    mode: Mode,
    *,
    doing: str,
    sudo_user: str | None = None,
    seen: ButterSinkError | None = None,
) -> ButterSinkError:
    """Return the error that tells why there is no connection to the server of `remote`.

    Args:
        ending: What is known of ssh.
        remote: Where the server was to be.
        mode: The mode it was started in.
        doing: What was tried, as in "listing snapshots".
        sudo_user: The user who became another one with sudo on this side, if that is so.
        seen: What the connection looked like from here, for want of a better explanation.
    """
    finding = _recognise(ending)
    meaning = MEANINGS[finding.fault]
    fields = _fields(finding, ending, remote, mode)
    kind, what = meaning.kind, meaning.what.format_map(fields)
    hint = meaning.hint.format_map(fields)
    if finding.fault is Fault.ENDED and seen is not None:
        kinds = (UnavailableError, ProtocolError, TransferError, ButterSinkError)
        kind = next(kind for kind in kinds if isinstance(seen, kind))
        what, hint = seen.message, seen.hint or hint
    if finding.fault is Fault.SERVER and ending.status == ExitCode.USAGE:
        kind = UsageError
    if sudo_user and finding.fault in _PERSONAL:
        hint = _PERSONAL_HINT.format(user=sudo_user)
    what = f"{remote.login}: {doing}: {what}"
    words = "; ".join(map(_shortened, finding.lines[:_SHOWN_LINES]))
    return kind(escape(f"{what}: {words}" if words else what), escape(hint))


@dataclass(frozen=True, slots=True)
class _Finding:
    """What is wrong, the lines that say so, and the program that they name, if any."""

    fault: Fault
    lines: Sequence[str] = ()
    program: str = ""


def _recognise(ending: Ending) -> _Finding:
    status = ending.status
    said = [line for line in ending.said if not NOISE.search(line)]
    text = ending.strays.decode("utf-8", "surrogateescape").strip()
    strays = text.splitlines()
    finding = None
    if status in {_SSH_FAILED, None}:
        finding = _find(SSH_SIGNS, said)
    if finding is None and status != _SSH_FAILED:
        finding = _find(REMOTE_SIGNS, [*said, *strays])
    if finding is not None:
        return finding
    if _OLD_ANSWER.match(text):
        return _Finding(Fault.OLD_BUTTERSINK)
    if status == _NOT_FOUND:
        return _Finding(Fault.NOT_INSTALLED, said[-1:])
    if status == _NOT_RUNNABLE:
        return _Finding(Fault.NOT_RUNNABLE, said[-1:])
    if strays:
        return _Finding(Fault.STRAY_TEXT, strays[:1])
    return _Finding(_fault_of_status(status, silent=not said), said[-_SHOWN_LINES:])


def _find(signs: Iterable[Sign], lines: Sequence[str]) -> _Finding | None:
    for sign in signs:
        match = next(filter(None, map(sign.pattern.search, lines)), None)
        if match is not None:
            shown = sign.shown or sign.pattern
            found = [line for line in dict.fromkeys(lines) if shown.search(line)]
            return _Finding(sign.fault, found, match.groupdict().get("program") or "")
    return None


def _fault_of_status(status: int | None, *, silent: bool) -> Fault:
    if status in {0, None}:
        return Fault.ENDED
    if status == _SSH_FAILED:
        return Fault.SILENT_SSH if silent else Fault.SSH
    if status < 0:
        return Fault.KILLED
    return Fault.KILLED_THERE if status > _SIGNALS else Fault.OTHER


def _fields(finding: _Finding, ending: Ending, remote: Remote, mode: Mode) -> dict[str, str]:
    """Return what the texts of `faults.MEANINGS` may name."""
    words = server_words(remote, mode)
    status = ending.status or 0
    return {
        "host": remote.host,
        "address": f"[{remote.host}]" if ":" in remote.host else remote.host,
        "known": remote.host if remote.port is None else f"[{remote.host}]:{remote.port}",
        "trial": trial(remote),
        "program": finding.program or words[0],
        "server": shlex.join(["buttersink", *words[-_SERVER_WORDS:]]),
        "status": str(status),
        "signal": _signal_name(-status if status < 0 else status - _SIGNALS),
    }


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _shortened(line: str) -> str:
    line = line.strip().rstrip(".")
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}…"
