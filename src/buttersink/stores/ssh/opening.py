"""Starting a server on another host, and greeting it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from buttersink.errors import ButterSinkError, ProtocolError, RefusedError, UsageError
from buttersink.link import ForeignTextError, Link, LinkEndedError, LinkStalledError
from buttersink.model import Mode
from buttersink.stores.ssh.command import server_words
from buttersink.stores.ssh.conversation import Conversation
from buttersink.stores.ssh.process import SshProcess
from buttersink.stores.ssh.store import SshStore
from buttersink.text import escape
from buttersink.version import __version__
from buttersink.wire.facts import as_path
from buttersink.wire.frames import Kind
from buttersink.wire.messages import (
    NEWEST_VERSION,
    OLDEST_VERSION,
    ClientHello,
    Hello,
    ServerHello,
    common_version,
    decode,
    encode,
)

if TYPE_CHECKING:
    from buttersink.receiving import Receiving
    from buttersink.stores.ssh.command import Remote

_STARTING: Final = "starting the server"
_TYPING_SECONDS: Final = 120.0
"""How long a person may take to type a passphrase, at least."""


def open_ssh(
    remote: Remote,
    mode: Mode,
    *,
    name: str,
    stall_seconds: float,
    sudo_user: str | None = None,
) -> SshStore:
    """Start a server, and return the store that it serves.

    Args:
        remote: Where, and by which programs.
        mode: What it shall be able to do.
        name: The end as the user wrote it, for messages.
        stall_seconds: A link on which nothing comes for so long is given up, on both sides.
        sudo_user: Who became another user by sudo on this side, if that is so.

    Raises:
        ButterSinkError: It can't be reached or started, or the directory can't be served.
    """
    if sys.getfilesystemencoding() != "utf-8":  # servers refuse other ones as well
        raise UsageError(
            "names of files are in another encoding than UTF-8 here",
            "unset PYTHONUTF8, or run in a UTF-8 locale",
        )

    def dial() -> tuple[Conversation, ServerHello]:
        return _dial(remote, mode, stall_seconds, sudo_user)

    return SshStore(*dial(), name=name, mode=mode, dial=dial)


def _dial(
    remote: Remote, mode: Mode, stall_seconds: float, sudo_user: str | None
) -> tuple[Conversation, ServerHello]:
    host = escape(remote.login)
    process = SshProcess(remote, mode, sudo_user=sudo_user)
    try:
        link = Link(process.read_fd, process.write_fd, stall_seconds=stall_seconds)
        conversation = Conversation(process, link, host)
        hello = _greet(process, link, conversation, stall_seconds, remote.receiving)
        _check(hello, remote, mode, host)
        link.keep_alive()
    except BaseException:
        process.close()
        raise
    return conversation, hello


def _greet(
    process: SshProcess,
    link: Link,
    conversation: Conversation,
    stall_seconds: float,
    receiving: Receiving,
) -> ServerHello:
    mine = ClientHello(
        release=__version__,
        oldest=OLDEST_VERSION,
        newest=NEWEST_VERSION,
        stall_seconds=stall_seconds,
        receiver=receiving.receiver.value,
        checkpoint_bytes=receiving.pace.nbytes,
    )
    link.stall_seconds = max(stall_seconds, _TYPING_SECONDS) if _has_terminal() else stall_seconds
    begun = False
    try:
        link.begin()
        link.send(Kind.HELLO, encode(mine))
        link.greeted()
        begun = True
        frame = link.next()
    except ForeignTextError as error:
        raise process.failure(_STARTING, strays=error.text, seen=error) from error
    except ProtocolError as error:
        message = f"{conversation.host}: {_STARTING}: {error.message}"
        raise ProtocolError(message, error.hint) from error
    except (LinkEndedError, LinkStalledError) as error:
        strays = None if begun else b""
        raise process.failure(_STARTING, strays=strays, seen=error) from error
    link.stall_seconds = stall_seconds
    with conversation.over_link(_STARTING):
        if frame.kind is Kind.ERROR:
            raise conversation.error_in(frame)
        if frame.kind is not Kind.HELLO:
            raise ProtocolError(f"{frame.kind.name} came first")
        _check_version(mine, decode(frame.payload, Hello), conversation.host)
        return decode(frame.payload, ServerHello)


def _check_version(mine: Hello, its: Hello, host: str) -> None:
    if common_version(mine, its) is not None:
        return
    older = host if its.newest < mine.oldest else "this host"
    raise ButterSinkError(
        f"{host} runs ButterSink {escape(its.release)}, which does not speak with "
        f"{__version__} here",
        f"upgrade ButterSink on {older}",
    )


def _check(hello: ServerHello, remote: Remote, mode: Mode, host: str) -> None:
    """Check that the server serves what was asked for: a forced command may have its own mind."""
    directory = server_words(remote, mode)[-1]
    served = as_path(hello.directory)
    if served != directory:
        raise RefusedError(
            f"{host} serves {escape(served)}, not {escape(directory)}",
            "the command that is forced there decides on the directory; name that one",
        )
    # It may be free to do more: sudo can hide from it what was asked for behind a forced command.
    if hello.mode not in (allowed.letter for allowed in Mode if allowed >= mode):
        raise RefusedError(
            f"{host} serves {escape(directory)} in mode {hello.mode} only, and this run needs "
            f"mode {mode.letter}",
            "leave out --delete, or allow mode w there"
            if mode is Mode.WRITE
            else f"allow mode {mode.letter} there; a dry run needs only mode r",
        )


def _has_terminal() -> bool:
    """Return whether ssh can ask somebody for a passphrase."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
