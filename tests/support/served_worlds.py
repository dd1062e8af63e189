"""A file system with a directory to serve, much else that is no client's business, and traps."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from buttersink.model import Mode
from buttersink.stream.format import Attribute, Command, encode_command
from buttersink.wire.messages import Receive, Received
from buttersink.wire.values import DiffAsked, Options
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import LoopFs, run, scratch_root
from support.picture import picture
from support.raw_client import RawClient
from support.stream_samples import head, stream, u64, write
from support.subvolume_facts import own_uuid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.picture import Picture

OPTIONS = Options(version=1, compressed=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedWorld:
    """What there is.

    Attributes:
        fs: The file system.
        directory: What is served: the snapshots `one` and `two`, and things in the way.
        outside: Next to it: the snapshots `secret-1` and `secret-2`, and the subvolume
            `secret-live` that all are from.
        one: Identity of a snapshot, and so on.
        leftover: Identity of the snapshot that the leftover in the directory was to become.
        link: Identity of a link in the directory, which another run has left.
    """

    fs: LoopFs
    directory: Path
    outside: Path
    one: UUID
    two: UUID
    secret_1: UUID
    secret_2: UUID
    secret_live: UUID
    leftover: UUID
    link: UUID

    @property
    def secrets(self) -> dict[str, bytes]:
        """What no client may hear of, in any form it could have."""
        found = {"name": b"secret", "directory": os.fsencode(self.outside.name)}
        for name in ("secret_1", "secret_2", "secret_live"):
            uuid: UUID = getattr(self, name)
            found[f"bytes of {name}"] = uuid.bytes
            found[f"text of {name}"] = str(uuid).encode()
            found[f"hex of {name}"] = uuid.hex.encode()
        return found

    def server(self, mode: Mode, *, memory: int | None = None) -> RawClient:
        """Start a server for the directory, and greet it."""
        return RawClient.greeted(mode, self.directory, memory=memory)


def make_served_world(fs: LoopFs) -> ServedWorld:
    """Fill an empty file system."""
    directory, outside = fs.path / "served", fs.path / "elsewhere"
    directory.mkdir()
    outside.mkdir()
    live = outside / "secret-live"
    create_subvolume(live)
    (live / "base").write_bytes(bytes(range(256)) * 1000)
    snapshot_read_only(live, outside / "secret-1")
    (live / "more").write_bytes(b"more" * 10_000)
    snapshot_read_only(live, outside / "secret-2")
    (live / "seen").write_bytes(b"seen" * 1000)
    snapshot_read_only(live, directory / "one")
    (live / "seen too").write_bytes(b"too" * 1000)
    snapshot_read_only(live, directory / "two")

    (directory / "notes").write_text("a file", encoding="ascii")
    (directory / "plain").mkdir()
    (directory / "plain" / "inner").write_text("another file", encoding="ascii")
    create_subvolume(directory / "work")
    (directory / "work" / "draft").write_text("a third", encoding="ascii")
    (directory / "way-out").symlink_to("../elsewhere")
    (directory / "way-to-one").symlink_to("one")
    uuids = {
        name: UUID(own_uuid(fs.path / path))
        for name, path in {
            "one": "served/one",
            "two": "served/two",
            "secret_1": "elsewhere/secret-1",
            "secret_2": "elsewhere/secret-2",
            "secret_live": "elsewhere/secret-live",
        }.items()
    }
    # What ButterSink 0.6.9 noted of sizes; also of streams from parents that are not here.
    sizes = f"{uuids['one']} None 5000\n{uuids['one']} {uuids['secret_1']} 400\n"
    (directory / "one.bs").write_text(sizes, encoding="ascii")
    leftover, link = uuid4(), uuid4()
    create_subvolume(directory / f".buttersink-{leftover}.part")
    with RawClient.greeted(Mode.APPEND, directory) as client:
        client.upload(receive(link, "linked", link=True), made_stream(link)).reply(Received)
    # Nothing shall go on in the background: a commit wakes the cleaner.
    run("btrfs", "filesystem", "sync", fs.path)
    run("btrfs", "subvolume", "sync", "-s", "1", fs.path)
    return ServedWorld(
        fs=fs, directory=directory, outside=outside, leftover=leftover, link=link, **uuids
    )


@contextmanager
def lasting_served_world() -> Iterator[tuple[ServedWorld, Picture]]:
    """Make a world for many tests, and take a picture of it."""
    with (
        tempfile.TemporaryDirectory(prefix="buttersink-test-", dir=scratch_root()) as scratch,
        LoopFs.create(scratch, mount_options="noatime") as fs,
    ):
        yield make_served_world(fs), picture(fs)


def receive(
    to: UUID, path: str | bytes, *, parent: UUID | None = None, link: bool = False
) -> Receive:
    """Return the request that announces a stream."""
    return Receive(
        diff=DiffAsked(to=to, parent=parent), path=os.fsencode(path), options=OPTIONS, link=link
    )


def made_stream(to: UUID, parent: UUID | None = None, *commands: bytes) -> bytes:
    """Return a stream that makes a snapshot with one file more than its parent."""
    name = f"file of {to}".encode()
    make = encode_command(Command.MKFILE, [(Attribute.PATH, name), (Attribute.INO, u64(300))], 1)
    return stream(head(to, parent), make, write(name, b"some data"), *commands)
