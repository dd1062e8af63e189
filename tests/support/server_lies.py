"""What a server may say to be believed, or not; and the command that hears it."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from buttersink.version import __version__
from buttersink.wire import messages
from buttersink.wire.frames import PREAMBLE, Kind, encode_frame
from buttersink.wire.messages import Done, Found, Listed, Measured, ServerHello, encode
from buttersink.wire.values import (
    Failure,
    NoSize,
    Options,
    PartialFacts,
    ProblemFacts,
    SizeFacts,
    SnapshotFacts,
)
from support.command import Run
from support.fake_server import FakeServer
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.processes import PATIENCE_SECONDS
from support.served_worlds import made_stream

if TYPE_CHECKING:
    from pathlib import Path

    from support.loopfs import LoopFs

END: Final = "ssh://nas/bak/"
NEW: Final = UUID("12345678-1234-4234-8234-123456789abc")
"""The only snapshot that the server has."""
OTHER: Final = UUID("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee")
DONE: Final = encode_frame(Kind.REPLY, encode(Done()))


def hello(**changes: Any) -> bytes:
    """Return the greeting of a server, sensible but for the changes."""
    sensible: dict[str, Any] = {
        "release": __version__,
        "oldest": messages.OLDEST_VERSION,
        "newest": messages.NEWEST_VERSION,
        "mode": "r",
        "directory": b"/bak/",
        "missing": False,
        "realm": "boot file-system",
        "place": b"bak",
        "makes": Options(1, compressed=False),
        "accepts": Options(1, compressed=False),
    }
    return PREAMBLE + encode_frame(Kind.HELLO, encode(ServerHello(**{**sensible, **changes})))


def snapshot(**changes: Any) -> SnapshotFacts:
    sensible: dict[str, Any] = {
        "uuid": NEW,
        "paths": (b"new",),
        "created": datetime(2024, 1, 1, tzinfo=UTC),
        "received": False,
        "generation": 7,
        "origin_generation": 7,
        "lineage": None,
        "parent_uuid": None,
        "ancestor": None,
        "metadata_bytes": 16384,
        "total": None,
        "exclusive": None,
    }
    return SnapshotFacts(**{**sensible, **changes})


def found(*snapshots: SnapshotFacts) -> bytes:
    return encode_frame(Kind.ITEMS, encode(Found(snapshots=snapshots)))


def listed(
    *, partials: tuple[PartialFacts, ...] = (), problems: tuple[ProblemFacts, ...] = (), **more: Any
) -> bytes:
    rest = encode_frame(Kind.ITEMS, encode(Found(partials=partials, problems=problems)))
    message = Listed(writable=0, outside=False, **more)
    return rest + encode_frame(Kind.REPLY, encode(message))


def sizes(*each: SizeFacts | NoSize) -> bytes:
    return encode_frame(Kind.ITEMS, encode(Measured(sizes=each)))


def error(message: bytes, *, kind: str = "TransferError", hint: bytes = b"") -> bytes:
    return encode_frame(Kind.ERROR, encode(Failure(kind=kind, message=message, hint=hint)))


def sensible_server(directory: Path) -> FakeServer:
    """Return a server with one snapshot, and nothing wrong with it; made in an empty directory."""
    made = FakeServer(directory)
    stream = made_stream(NEW)
    made.says("greeting", hello())
    made.says("inventory", found(snapshot()), listed())
    made.says("parents", DONE)
    made.says("recorded_sizes", DONE)
    made.says("measure", sizes(SizeFacts(len(stream), "exact")), DONE)
    made.says("taken", encode_frame(Kind.REPLY, encode(messages.Taken(indices=()))))
    for verb in ("free_bytes", "lock", "unlock", "flush", "create", "release", "adopt", "delete"):
        made.says(verb, DONE)
    made.says("send", encode_frame(Kind.DATA, stream), encode_frame(Kind.END))
    made.says("receive", encode_frame(Kind.REPLY, encode(messages.Ready())))
    made.says("end", encode_frame(Kind.REPLY, encode(messages.Received(plain_bytes=1))))
    made.says("cancel", error(b"cancelled"))
    return made


def run(server: FakeServer, *arguments: str | os.PathLike[str], zone: str = "UTC") -> Run:
    """Run the command with a server; it must end before long, and speak plainly."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "buttersink", "--ssh-command", server.ssh_command),
            *("--stall-timeout", "20", "--retries", "0", *arguments),
        ],
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE_SECONDS,
        env={**os.environ, "TZ": zone},
    )
    result = Run(done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr))
    assert "Traceback" not in result.stderr
    for line in (result.stdout + result.stderr).splitlines():
        assert line.isprintable(), line
    return result


def failure(server: FakeServer, *arguments: str | os.PathLike[str], status: int = 1) -> str:
    """Run the command in vain; return the line that tells why, and the hint if there is one."""
    result = run(server, *arguments)
    assert result.status == status, result
    line, *hint = result.stderr.splitlines()
    assert line.startswith("error: "), line
    assert all(text.startswith("hint: ") for text in hint[:1]), hint
    assert len(hint) <= 1, hint
    return " ".join([line.removeprefix("error: "), *hint])


def make_snapshot(fs: LoopFs) -> None:
    """Make snaps/one, of some MB."""
    (fs.path / "snaps").mkdir()
    create_subvolume(fs.path / "live")
    (fs.path / "live" / "file").write_bytes(os.urandom(3 << 20))
    snapshot_read_only(fs.path / "live", fs.path / "snaps" / "one")
