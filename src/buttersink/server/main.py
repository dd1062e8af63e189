"""The privileged end of a link: greets a client on standard input and output, and serves it."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from buttersink.errors import ButterSinkError, ExitCode, MissingError, ProtocolError, UsageError
from buttersink.link import (
    ForeignTextError,
    Link,
    LinkEndedError,
    LinkStalledError,
)
from buttersink.linking import DEFAULT_STALL_SECONDS
from buttersink.priority import yield_disks
from buttersink.server.arguments import parse_grant
from buttersink.server.opening import Served, open_served
from buttersink.server.session import Session
from buttersink.signals import stopped_once_by
from buttersink.text import escape
from buttersink.version import __version__
from buttersink.wire.facts import as_bytes, failure_message, options_message
from buttersink.wire.frames import Kind
from buttersink.wire.messages import (
    NEWEST_VERSION,
    OLDEST_VERSION,
    ClientHello,
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


def main(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Serve one client, and return the exit status.

    Args:
        argv: The arguments, without the name of the program.
        environment: Only SSH_ORIGINAL_COMMAND is looked at.
    """
    os.umask(0o022)  # directories that are made are like those that root makes in a shell
    try:
        grant = parse_grant(argv, environment.get("SSH_ORIGINAL_COMMAND"))
        with stopped_once_by(signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            yield_disks()
            _serve(grant)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except LinkEndedError:
        return ExitCode.DONE
    except ButterSinkError as error:
        print(f"buttersink server: {escape(str(error))}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return ExitCode.DONE


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
    client = decode(first.payload, ClientHello)
    link.stall_seconds = client.stall_seconds
    # With the client gone, whatever takes long is in vain; to find out what is there, already.
    link.keep_alive(lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        _serve_client(link, client, grant)
    except LinkStalledError as error:
        raise LinkStalledError(f"the client has gone: {error.message}") from error
    finally:
        link.close()


def _serve_client(link: Link, client: ClientHello, grant: Grant) -> None:
    try:
        served = open_served(grant)
    except ButterSinkError as error:
        link.send(Kind.ERROR, encode(failure_message(error)))
        return
    hello = _hello(grant, served)
    link.send(Kind.HELLO, encode(hello))
    if common_version(hello, client) is None:
        # The client has seen our versions, and tells its user the same.
        raise UsageError("the client speaks another version", "upgrade the older side")
    Session(link, served.store, grant.mode, served.create).run()


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
