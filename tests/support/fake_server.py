"""A server that says what a test has written down for it: sense, nonsense, or no end of it.

What it is to say lies in files of a directory, named for what it answers: `greeting`, the verb of
a request, `data`, `end`, `cancel`. A second file, with `.endless` behind the name, is repeated
after it for ever. This module is also the program: it stands in for ssh itself.
"""

from __future__ import annotations

import os
import shlex
import struct
import sys
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

_HEADER: Final = struct.Struct("<BI")
_PREAMBLE_BYTES: Final = 16
_NAMES: Final = {5: "data", 6: "end", 9: "cancel"}
_REQUEST: Final = 2


class FakeServer:
    """What a server is to say."""

    def __init__(self, directory: Path) -> None:
        """Use an empty directory for it."""
        self._directory = directory

    @property
    def ssh_command(self) -> str:
        """What to give to --ssh-command."""
        return shlex.join([sys.executable, "-P", __file__, os.fspath(self._directory)])

    def says(self, name: str, *frames: bytes, endless: bytes = b"") -> None:
        """Let it answer something so; a former answer to that is forgotten."""
        (self._directory / name).write_bytes(b"".join(frames))
        (self._directory / f"{name}.endless").write_bytes(endless)

    def was_asked(self) -> list[str]:
        """Return what it was to answer, in order."""
        return (self._directory / "asked").read_text(encoding="utf-8").splitlines()


def _serve(directory: str, incoming: BinaryIO, outgoing: BinaryIO) -> None:
    def say(name: str) -> None:
        with open(os.path.join(directory, "asked"), "a", encoding="utf-8") as asked:
            asked.write(f"{name}\n")
        outgoing.write(_read(directory, name))
        outgoing.flush()
        endless = _read(directory, f"{name}.endless")
        while endless:
            outgoing.write(endless)

    say("greeting")
    sys.stderr.buffer.write(_read(directory, "stderr"))
    sys.stderr.flush()
    incoming.read(_PREAMBLE_BYTES)
    while len(header := incoming.read(_HEADER.size)) == _HEADER.size:
        kind, nbytes = _HEADER.unpack(header)
        payload = incoming.read(nbytes)
        if kind == _REQUEST:
            say(msgspec.msgpack.decode(payload)["verb"])
        elif kind in _NAMES:
            say(_NAMES[kind])


def _read(directory: str, name: str) -> bytes:
    try:
        with open(os.path.join(directory, name), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


if __name__ == "__main__":
    try:
        _serve(sys.argv[1], sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:
        os._exit(0)  # the client has gone, and nobody is left to hear of it
