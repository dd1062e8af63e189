"""How the server was started → what it may do. Pure: nothing is looked up or opened.

The command line has one shape, so that a line of sudoers or authorized_keys can name it word by
word. What the client asked for behind a forced command (sshd(8), AUTHORIZED_KEYS FILE FORMAT)
is text of a stranger: it is never run, and can only narrow what the command line grants.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from buttersink.errors import RefusedError, UsageError
from buttersink.model import Mode
from buttersink.stores.own_names import OWN_PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHAPE: Final = "--server --mode r|a|w /path/to/directory/"
_NWORDS: Final = len(_SHAPE.split())
_MODES: Final = {mode.letter: mode for mode in Mode}

# Room for the longest path there is (4096 bytes), quoted, and for any sensible remote command.
_MAX_COMMAND_CHARACTERS: Final = 32 * 1024
_MAX_WORDS_BEFORE: Final = 16
_SHOWN_CHARACTERS: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a server may do, and where.

    Attributes:
        mode: The most it may do.
        directory: The directory of its command line: absolute, normalised, a slash at the end.
            Whoever started the server named it, so links in it may be followed.
        beneath: The directory to serve, relative to `directory`, without a slash at the end;
            empty for `directory` itself. The client chose it, so no link in it may be followed.
        requested: What the client asked for, which may be more than `mode`.
    """

    mode: Mode
    directory: str
    beneath: str = ""
    requested: Mode

    @property
    def served(self) -> str:
        """The directory to serve: absolute, normalised, with a slash at the end."""
        return f"{self.directory}{self.beneath}/" if self.beneath else self.directory


def parse_grant(argv: Sequence[str], original_command: str | None) -> Grant:
    """Work out what the server may do.

    Args:
        argv: Its arguments, without the name of the program.
        original_command: SSH_ORIGINAL_COMMAND: what the client asked sshd to run, if sshd ran
            a forced command instead. None otherwise.

    Raises:
        UsageError: `argv` is not of the one shape it may have.
        RefusedError: The client asked for something else than a server that this one could be.
    """
    try:
        mode, directory = _parse(argv)
    except ValueError as error:
        raise UsageError(
            f"the server can't be started with {shlex.join(argv)!r}: {error}",
            f"its arguments are exactly {_SHAPE}",
        ) from error
    if original_command is None:
        return Grant(mode=mode, directory=directory, requested=mode)

    try:
        requested, wanted = _parse_command(original_command)
        if not wanted.startswith(directory):
            raise ValueError("it is for another directory")
        beneath = wanted.removeprefix(directory).removesuffix("/")
        if any(part.startswith(OWN_PREFIX) for part in beneath.split("/")):
            raise ValueError(f"names that begin with {OWN_PREFIX} belong to transfers")
    except ValueError as error:
        raise RefusedError(
            f"this key is for buttersink in {directory!r} only; "
            f"{_shortened(original_command)!r} was refused, as {error}",
            "name that directory, or one below it, in the same spelling",
        ) from error
    return Grant(
        mode=min(mode, requested),
        directory=directory,
        beneath=beneath,
        requested=requested,
    )


def _shortened(command: str) -> str:
    """Return enough of the command of a client to recognise it."""
    if len(command) <= _SHOWN_CHARACTERS:
        return command
    return command[:_SHOWN_CHARACTERS] + "…"


def _parse_command(command: str) -> tuple[Mode, str]:
    """Return the mode and the directory in the command of a client.

    What stands before the server's arguments is how the client would have started it, such as
    `sudo buttersink`. It does not matter, as it is not run.

    Raises:
        ValueError: It is no command that starts a server; with the reason, for people.
    """
    if len(command) > _MAX_COMMAND_CHARACTERS:
        raise ValueError(f"it has {len(command)} characters")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError("its quotation does not end") from error
    if len(words) > _MAX_WORDS_BEFORE + _NWORDS:
        raise ValueError(f"it has {len(words)} words")
    return _parse(words[-_NWORDS:])


def _parse(words: Sequence[str]) -> tuple[Mode, str]:
    """Return the mode and the directory (with a slash at the end) in the server's arguments.

    Raises:
        ValueError: They are not of the one shape they may have; with the reason, for people.
    """
    match list(words):
        case ["--server", "--mode", letter, path]:
            pass
        case _:
            raise ValueError(f"it does not end in {_SHAPE}")
    if letter not in _MODES:
        raise ValueError(f"there is no mode {letter!r}")
    if not path.startswith("/"):
        raise ValueError("its path is not absolute")
    if path == "/":
        return _MODES[letter], path
    parts = path[1:].removesuffix("/").split("/")
    if any(part in {"", ".", ".."} or "\0" in part for part in parts):
        raise ValueError("its path is not normalised")
    return _MODES[letter], f"/{'/'.join(parts)}/"
