"""The privileged end of a link: greets a client on standard input and output, and serves it."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from buttersink.errors import (
    ButterSinkError,
    ExitCode,
    MissingError,
    ProtocolError,
    UsageError,
)
from buttersink.link import (
    ForeignTextError,
    Link,
    LinkEndedError,
    LinkStalledError,
)
from buttersink.linking import DEFAULT_STALL_SECONDS
from buttersink.model import Receiver
from buttersink.priority import yield_disks
from buttersink.receiving import LEAST_CHECKPOINT_BYTES, Pace, Receiving
from buttersink.server.arguments import parse_grant
from buttersink.server.complaints import complain, described
from buttersink.server.opening import Served, open_served
from buttersink.server.session import Session
from buttersink.signals import stopped_once_by
from buttersink.version import __version__
from buttersink.wire.facts import as_bytes, failure_message, options_message
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
    from collections.abc import Mapping, Sequence

    from buttersink.server.arguments import Grant

_STANDARD_INPUT: Final = 0
_STANDARD_OUTPUT: Final = 1
_STANDARD_DESCRIPTORS: Final = range(3)

_SHORTEST_STALL_SECONDS: Final = 0.1
_LONGEST_STALL_SECONDS: Final = 86400.0


def main(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Serve one client, and return the exit status.

    Args:
        argv: The arguments, without the name of the program.
        environment: Only SSH_ORIGINAL_COMMAND is looked at.
    """
    _open_standard_descriptors()
    os.umask(0o022)  # directories that are made are like those that root makes in a shell
    try:
        _require_utf8()
        grant = parse_grant(argv, environment.get("SSH_ORIGINAL_COMMAND"))
        with stopped_once_by(signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            yield_disks()
            _serve(grant)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except LinkEndedError:
        return ExitCode.DONE
    except ButterSinkError as error:
        complain(str(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - a traceback would tell the client too much
        complain(f"failed with {described(error)}")
        return ExitCode.FAILED
    return ExitCode.DONE


def _open_standard_descriptors() -> None:
    """Fill those that are closed, so that no file gets their numbers, and what is said there."""
    for descriptor in _STANDARD_DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number is free


def _require_utf8() -> None:
    """Refuse to take names for others than those that travel.

    Raises:
        ButterSinkError: The names of files are not taken for UTF-8.
    """
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8":
        raise ButterSinkError(
            f"the server was started with names of files in {encoding}, and not UTF-8",
            "let no variables such as PYTHONUTF8 or LC_ALL through to it, or install it by "
            "'make install'",
        )


def _serve(grant: Grant) -> None:
    link = Link(_STANDARD_INPUT, _STANDARD_OUTPUT, stall_seconds=DEFAULT_STALL_SECONDS)
    try:
        link.greeted()
    except ForeignTextError as error:
        _answer_old_client(error)
        raise
    link.begin()
    first = link.next()
    if first.kind is not Kind.HELLO:
        raise ProtocolError(f"{first.kind.name} came first")
    if refusal := _refusal(decode(first.payload, Hello)):
        link.send(Kind.ERROR, encode(failure_message(refusal)))
        return
    client = decode(first.payload, ClientHello)
    wanted = client.stall_seconds
    link.stall_seconds = max(_SHORTEST_STALL_SECONDS, min(wanted, _LONGEST_STALL_SECONDS))
    # With the client gone, whatever takes long is in vain; to find out what is there, already.
    link.keep_alive(lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        _serve_client(link, grant, client)
    except LinkStalledError as error:
        raise LinkStalledError(f"the client has gone: {error.message}") from error
    finally:
        link.close()


def _refusal(client: Hello) -> ButterSinkError | None:
    """Return why we can't speak with a client; None if we can."""
    mine = Hello(release=__version__, oldest=OLDEST_VERSION, newest=NEWEST_VERSION)
    if common_version(mine, client) is not None:
        return None
    older = "on this host" if client.newest < mine.oldest else "there"
    return ButterSinkError(
        f"it runs ButterSink {__version__}, which does not speak with {client.release} here",
        f"upgrade ButterSink {older}",
    )


def _serve_client(link: Link, grant: Grant, client: ClientHello) -> None:
    try:
        served = open_served(grant, _receiving(client))
        hello = _hello(grant, served)
    except ButterSinkError as error:
        link.send(Kind.ERROR, encode(failure_message(error)))
        return
    link.send(Kind.HELLO, encode(hello))
    Session(link, served.store, grant.mode, served.create).run()


def _receiving(client: ClientHello) -> Receiving:
    """Return how the client wants to have its streams received.

    Raises:
        UsageError: By what is not known here.
    """
    try:
        receiver = Receiver(client.receiver)
    except ValueError as error:
        raise UsageError(f"there is no receiver {client.receiver!r} here") from error
    nbytes = max(client.checkpoint_bytes, LEAST_CHECKPOINT_BYTES)
    return Receiving(receiver=receiver, pace=Pace(nbytes=nbytes))


def _hello(grant: Grant, served: Served) -> ServerHello:
    realm, place = served.store.place()
    try:
        accepts = options_message(served.store.accepts())
    except MissingError:
        accepts = None
    return ServerHello(
        release=__version__,
        oldest=OLDEST_VERSION,
        newest=NEWEST_VERSION,
        mode=grant.mode.letter,
        directory=as_bytes(grant.served),
        missing=served.create is not None,
        realm=" ".join(map(str, realm)),
        place=as_bytes(place),
        makes=options_message(served.store.stream_options()),
        accepts=accepts,
    )


def _answer_old_client(error: ForeignTextError) -> None:
    """Tell ButterSink 0.6.9, which expects a JSON object on a line, what is wrong."""
    if not error.text.startswith(b"version"):
        return
    answer = {
        "error": f"this side runs ButterSink {__version__}, which does not speak with older "
        f"ones: upgrade the side that you started",
        "errorType": "UsageError",
        "command": "version",
        "server": True,
    }
    with suppress(OSError):  # it may have gone
        os.write(_STANDARD_OUTPUT, msgspec.json.encode(answer) + b"\n")
