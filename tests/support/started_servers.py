"""Servers that are started, to see what they say to a greeting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buttersink.model import Mode
from buttersink.wire.frames import PREAMBLE, Kind, encode_frame
from buttersink.wire.messages import decode
from buttersink.wire.values import Failure
from support.raw_client import HELLO, RawClient, server_arguments

if TYPE_CHECKING:
    from pathlib import Path


GREETING: Final = PREAMBLE + encode_frame(Kind.HELLO, HELLO)


def started(directory: Path, *, mode: Mode = Mode.WRITE, asked: str | None = None) -> RawClient:
    """Start a server, behind a forced command if something else was asked for."""
    environment = {} if asked is None else {"SSH_ORIGINAL_COMMAND": asked}
    return RawClient(*server_arguments(mode, directory), environment=environment)


def refusal(client: RawClient) -> Failure:
    """Greet a server that gives its reasons in place of a greeting."""
    client.write(GREETING)
    said = client.next()
    assert said is not None, client.end()
    assert said.kind is Kind.ERROR, said
    assert client.end().status == 0
    return decode(said.payload, Failure)


def gave_up(client: RawClient) -> str:
    """Greet a server that does not answer; return the line that it leaves."""
    client.write(GREETING)
    run = client.end()
    assert run.stdout == ""
    assert run.status in {1, 2}
    (line,) = run.stderr.splitlines()
    assert "Traceback" not in line
    return f"{run.status} {line}"
