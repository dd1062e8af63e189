"""Streams that mean harm, are damaged or are not what was announced: nothing comes of them."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from buttersink.errors import (
    ButterSinkError,
    CorruptStreamError,
    MissingError,
    PathTakenError,
    TransferError,
)
from buttersink.model import Diff, Receiver, StreamOptions
from buttersink.stores.btrfs import BtrfsStore
from buttersink.stream.format import Attribute, Command, decode_attributes, encode_command
from support.history import simple_history
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run
from support.streams import captured, commands, with_commands
from support.subvolume_facts import identity, snapshot_writable, subvolumes
from support.tree import Entry, assert_same_tree, describe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.loopfs import LoopFs

VERSIONS = (1, 2)
CANARY = b"nobody may touch this"


@dataclass(frozen=True, slots=True)
class Ends:
    """Two file systems: `source` has snaps/1 and snaps/2, `target` is empty.

    Attributes:
        first: Identity of snaps/1.
        second: Likewise.
        outside: What a stream must not reach, below the target's mount point and elsewhere.
    """

    fs_a: LoopFs
    fs_b: LoopFs
    source: BtrfsStore
    target: BtrfsStore
    first: UUID
    second: UUID
    outside: tuple[Path, ...]

    def receive(self, stream: bytes, diff: Diff, options: StreamOptions, path: str = "new") -> None:
        """Receive a stream, whole."""
        with self.target.receive(diff, path, options) as writer:
            writer.write(memoryview(stream))

    def state(self) -> tuple[str, list[dict[bytes, Entry]]]:
        """Return all that a hostile stream could change."""
        # The time of the directory that the work took place in is all that may change.
        trees = [describe(self.fs_b.path, times=False), *map(describe, self.outside)]
        return subvolumes(self.fs_b.path), trees


@pytest.fixture(params=list(Receiver), ids=lambda receiver: receiver.value)
def ends(
    fs_a: LoopFs, fs_b: LoopFs, scratch: Path, request: pytest.FixtureRequest
) -> Iterator[Ends]:
    simple_history(fs_a, 2, size=1000)
    (fs_b.path / "dst").mkdir()
    outside = (fs_b.path / "canary", scratch / "canary")
    for directory in outside:
        directory.mkdir()
        (directory / "file").write_bytes(CANARY)
    source = BtrfsStore(f"{fs_a.path}/snaps/")
    target = BtrfsStore(f"{fs_b.path}/dst/", receiver=request.param)
    source.inventory()
    target.inventory()
    first, second = (UUID(identity(fs_a.path / "snaps" / name)) for name in ("1", "2"))
    yield Ends(fs_a, fs_b, source, target, first, second, outside)
    source.close()
    target.close()


REFUSALS = (CorruptStreamError, TransferError)
"""Ours tells a hostile stream from one that can't be applied; `btrfs receive` does not."""


def u64(number: int) -> bytes:
    return number.to_bytes(8, "little")


def symlink(path: bytes, target: bytes, version: int) -> bytes:
    return encode_command(
        Command.SYMLINK,
        [(Attribute.PATH, path), (Attribute.INO, u64(999)), (Attribute.PATH_LINK, target)],
        version,
    )


def write(path: bytes, version: int) -> bytes:
    return encode_command(
        Command.WRITE,
        [(Attribute.PATH, path), (Attribute.FILE_OFFSET, u64(0)), (Attribute.DATA, b"gotcha")],
        version,
    )


def attacks(path: bytes, version: int) -> dict[str, bytes]:
    """Return commands of every kind that would change the file at `path`."""
    made: dict[str, tuple[Command, list[tuple[int, bytes]]]] = {
        "truncate": (Command.TRUNCATE, [(Attribute.PATH, path), (Attribute.SIZE, u64(0))]),
        "chmod": (Command.CHMOD, [(Attribute.PATH, path), (Attribute.MODE, u64(0o4777))]),
        "chown": (
            Command.CHOWN,
            [(Attribute.PATH, path), (Attribute.UID, u64(1)), (Attribute.GID, u64(1))],
        ),
        "unlink": (Command.UNLINK, [(Attribute.PATH, path)]),
        "rename": (Command.RENAME, [(Attribute.PATH, path), (Attribute.PATH_TO, b"stolen")]),
        "rename over": (Command.RENAME, [(Attribute.PATH, b"log"), (Attribute.PATH_TO, path)]),
        "link": (Command.LINK, [(Attribute.PATH, b"stolen"), (Attribute.PATH_LINK, path)]),
        "create": (Command.MKFILE, [(Attribute.PATH, path + b"2"), (Attribute.INO, u64(998))]),
        "make directory": (
            Command.MKDIR,
            [(Attribute.PATH, path + b"2"), (Attribute.INO, u64(998))],
        ),
        "set attribute": (
            Command.SET_XATTR,
            [
                (Attribute.PATH, path),
                (Attribute.XATTR_NAME, b"user.x"),
                (Attribute.XATTR_DATA, b"x"),
            ],
        ),
    }
    return {"write": write(path, version)} | {
        name: encode_command(command, attributes, version)
        for name, (command, attributes) in made.items()
    }


ATTACKS = tuple(attacks(b"x", 1))


def hostile(ends: Ends, version: int, added: list[bytes]) -> tuple[bytes, Diff, StreamOptions]:
    """Return a stream that begins like a real one, with right crcs."""
    options = StreamOptions(version=version)
    diff = Diff(ends.first)
    return with_commands(captured(ends.source, diff, options), version, added), diff, options


@pytest.mark.parametrize("version", VERSIONS)
class TestAHostileStream:
    @pytest.mark.parametrize("attack", ATTACKS)
    def test_is_refused_if_it_names_a_path_outside(
        self, ends: Ends, version: int, attack: str
    ) -> None:
        before = ends.state()
        absolute = [os.fsencode(path / "file") for path in ends.outside]
        for path in (
            b"../../../canary/file",
            b"a/../../../../canary/file",
            *absolute,
        ):
            command = attacks(path, version)[attack]
            with pytest.raises(CorruptStreamError, match="unsafe path"):
                ends.receive(*hostile(ends, version, [command]))
        assert ends.state() == before

    @pytest.mark.parametrize("attack", ATTACKS)
    def test_reaches_nothing_through_a_link_that_it_made(
        self, ends: Ends, version: int, attack: str
    ) -> None:
        before = ends.state()
        inside = b"../" * 12
        for target, path in (
            (b"/", os.fsencode(ends.outside[0])[1:]),
            (b"/", os.fsencode(ends.outside[1])[1:]),
            (b"/", b"canary"),
            (inside, os.fsencode(ends.outside[1])[1:]),
            (b"../../..", b"canary"),
            (b"../../../canary", b"."),
            (os.fsencode(ends.outside[1]), b"."),
        ):
            through = b"x/" + path + b"/file" if path != b"." else b"x/file"
            added = [symlink(b"x", target, version), attacks(through, version)[attack]]
            with pytest.raises(REFUSALS):
                ends.receive(*hostile(ends, version, added))
        assert ends.state() == before

    def test_may_make_links_that_lead_anywhere(self, ends: Ends, version: int) -> None:
        before = ends.state()[1][1:]
        added = [symlink(b"x", b"/etc/passwd", version), symlink(b"y", b"../../..", version)]

        ends.receive(*hostile(ends, version, added))

        assert os.readlink(ends.fs_b.path / "dst" / "new" / "x") == "/etc/passwd"
        assert ends.state()[1][1:] == before

    def test_does_not_change_what_a_link_names(self, ends: Ends, version: int) -> None:
        """chmod, setxattr and the like follow a link at the end of a path."""
        before = ends.state()
        target = os.fsencode(ends.outside[1] / "file")
        for attack in ("write", "truncate", "chmod", "set attribute"):
            added = [symlink(b"x", target, version), attacks(b"x", version)[attack]]
            with pytest.raises(REFUSALS):
                ends.receive(*hostile(ends, version, added))
        assert ends.state() == before

    def test_can_not_clone_from_a_snapshot_it_may_not_know(self, ends: Ends, version: int) -> None:
        create_subvolume(ends.fs_b.path / "secrets")
        (ends.fs_b.path / "secrets" / "file").write_bytes(b"s" * 8192)
        snapshot_read_only(ends.fs_b.path / "secrets", ends.fs_b.path / "secret")
        before = ends.state()
        clone = encode_command(
            Command.CLONE,
            [
                (Attribute.FILE_OFFSET, u64(0)),
                (Attribute.CLONE_LEN, u64(8192)),
                (Attribute.PATH, b"log"),
                (Attribute.CLONE_UUID, UUID(identity(ends.fs_b.path / "secret")).bytes),
                (Attribute.CLONE_CTRANSID, u64(1)),
                (Attribute.CLONE_PATH, b"file"),
                (Attribute.CLONE_OFFSET, u64(0)),
            ],
            version,
        )

        with pytest.raises(CorruptStreamError, match="clone from outside"):
            ends.receive(*hostile(ends, version, [clone]))

        assert ends.state() == before

    def test_can_not_write_to_a_device_that_it_made(
        self, ends: Ends, scratch: Path, version: int
    ) -> None:
        victim = scratch / "victim"
        victim.write_bytes(bytes(1 << 20))
        device = run("losetup", "--find", "--show", victim).strip()
        made = [
            (Attribute.PATH, b"disk"),
            (Attribute.INO, u64(997)),
            (Attribute.RDEV, u64(os.stat(device).st_rdev)),
            (Attribute.MODE, u64(stat.S_IFBLK | 0o600)),
        ]
        before = ends.state()
        try:
            with pytest.raises(ButterSinkError):
                ends.receive(
                    *hostile(
                        ends,
                        version,
                        [encode_command(Command.MKNOD, made, version), write(b"disk", version)],
                    )
                )
        finally:
            run("losetup", "--detach", device)

        assert victim.read_bytes() == bytes(1 << 20)
        assert ends.state() == before


@pytest.mark.parametrize("version", VERSIONS)
class TestADamagedStream:
    def test_is_refused_wherever_it_ends(self, ends: Ends, version: int) -> None:
        before = ends.state()
        stream, diff, options = hostile(ends, version, [])
        for end in (0, 10, 17, 30, len(stream) // 2, len(stream) - 10, len(stream) - 1):
            with pytest.raises(ButterSinkError):
                ends.receive(stream[:end], diff, options)
        assert ends.state() == before

    def test_is_refused_whichever_bit_is_wrong(self, ends: Ends, version: int) -> None:
        before = ends.state()
        stream, diff, options = hostile(ends, version, [])
        for position in range(0, len(stream), max(1, len(stream) // 40)):
            damaged = bytearray(stream)
            damaged[position] ^= 1 << position % 8
            with pytest.raises(ButterSinkError):
                ends.receive(bytes(damaged), diff, options)
        assert ends.state() == before

    def test_may_be_received_again_whole(self, ends: Ends, version: int) -> None:
        stream, diff, options = hostile(ends, version, [])
        with pytest.raises(CorruptStreamError, match="without its END command"):
            ends.receive(stream[:-10], diff, options)

        ends.receive(stream, diff, options)

        assert_same_tree(ends.fs_a.path / "snaps" / "1", ends.fs_b.path / "dst" / "new")

    def test_with_something_after_its_end_is_whole(self, ends: Ends, version: int) -> None:
        stream, diff, options = hostile(ends, version, [])

        ends.receive(stream + b"stale" * 1000, diff, options)

        assert_same_tree(ends.fs_a.path / "snaps" / "1", ends.fs_b.path / "dst" / "new")


class TestAnotherStream:
    def test_than_announced_is_refused(self, ends: Ends) -> None:
        options = StreamOptions(version=2)
        full = captured(ends.source, Diff(ends.first), options)
        increment = captured(ends.source, Diff(ends.second, ends.first), options)
        ends.receive(full, Diff(ends.first), options, "1")
        before = ends.state()

        for stream, diff in (
            (full, Diff(uuid4())),
            (full, Diff(ends.second)),
            (increment, Diff(ends.second)),
            (increment, Diff(ends.first)),
            (captured(ends.source, Diff(ends.second), options), Diff(ends.second, ends.first)),
        ):
            with pytest.raises(CorruptStreamError, match="expected"):
                ends.receive(stream, diff, options)
            assert ends.state()[1] == before[1]

        with pytest.raises(CorruptStreamError, match="version 2"):
            ends.receive(full, Diff(ends.first), StreamOptions(version=1))
        with pytest.raises(CorruptStreamError, match="not a btrfs send stream"):
            ends.receive(b"<html>404 not found</html>", Diff(ends.second), options)

    def test_on_a_parent_that_is_missing_is_refused(self, ends: Ends) -> None:
        options = StreamOptions(version=1)
        diff = Diff(ends.second, ends.first)
        before = ends.state()

        with pytest.raises(MissingError, match="has no snapshot"):
            ends.receive(captured(ends.source, diff, options), diff, options)

        assert ends.state() == before

    def test_at_a_path_that_is_taken_is_refused(self, ends: Ends) -> None:
        stream, diff, options = hostile(ends, 1, [])
        (ends.fs_b.path / "dst" / "new").symlink_to("/")

        with pytest.raises(PathTakenError, match="something else is at"):
            ends.receive(stream, diff, options)

        assert os.readlink(ends.fs_b.path / "dst" / "new") == "/"

    @pytest.mark.parametrize("path", ["../new", "/new", "a/../../new", "", ".", "a//b", "a/"])
    def test_at_a_path_outside_is_refused(self, ends: Ends, path: str) -> None:
        stream, diff, options = hostile(ends, 1, [])
        before = ends.state()

        with pytest.raises(ButterSinkError, match="no path below a directory"):
            ends.receive(stream, diff, options, path)

        assert ends.state() == before

    def test_below_a_link_that_leads_outside_is_refused(self, ends: Ends) -> None:
        stream, diff, options = hostile(ends, 1, [])
        (ends.fs_b.path / "dst" / "link").symlink_to(ends.outside[0])
        before = ends.state()

        with pytest.raises(ButterSinkError):
            ends.receive(stream, diff, options, "link/new")

        assert ends.state() == before


class TestAParent:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_is_never_changed_and_clones_may_come_from_it(self, ends: Ends, version: int) -> None:
        live = ends.fs_a.path / "live"
        (live / "large").write_bytes(os.urandom(1 << 20))
        snapshot_read_only(live, ends.fs_a.path / "snaps" / "3")
        run("cp", "--reflink=always", live / "large", live / "clone")
        (live / "large").unlink()
        snapshot_read_only(live, ends.fs_a.path / "snaps" / "4")
        ends.source.inventory()
        options = StreamOptions(version=version)
        third, fourth = (UUID(identity(ends.fs_a.path / "snaps" / name)) for name in "34")
        ends.receive(captured(ends.source, Diff(third), options), Diff(third), options, "3")
        before = describe(ends.fs_b.path / "dst" / "3")
        stream = captured(ends.source, Diff(fourth, third), options)
        cloned = [
            decode_attributes(memoryview(b), version)
            for n, b in commands(stream)
            if n == Command.CLONE
        ]
        assert {UUID(bytes=bytes(c[Attribute.CLONE_UUID])) for c in cloned} == {third}

        ends.receive(stream, Diff(fourth, third), options, "4")

        assert describe(ends.fs_b.path / "dst" / "3") == before
        assert_same_tree(ends.fs_a.path / "snaps" / "4", ends.fs_b.path / "dst" / "4")

    def test_may_be_the_destinations_own_snapshot(self, ends: Ends) -> None:
        """What went to the source and comes back changed builds on the original."""
        create_subvolume(ends.fs_b.path / "live")
        (ends.fs_b.path / "live" / "file").write_bytes(os.urandom(1 << 20))
        snapshot_read_only(ends.fs_b.path / "live", ends.fs_b.path / "dst" / "own")
        own = UUID(identity(ends.fs_b.path / "dst" / "own"))
        options = StreamOptions(version=2)
        ends.target.inventory()
        with ends.source.receive(Diff(own), "own", options) as writer:
            writer.write(memoryview(captured(ends.target, Diff(own), options)))
        snaps = ends.fs_a.path / "snaps"
        snapshot_writable(snaps / "own", snaps / "live")
        run("cp", "--reflink=always", snaps / "live/file", snaps / "live/clone")
        snapshot_read_only(snaps / "live", snaps / "changed")
        ends.source.inventory()
        changed = Diff(UUID(identity(snaps / "changed")), own)

        ends.receive(captured(ends.source, changed, options), changed, options, "changed")

        assert_same_tree(snaps / "changed", ends.fs_b.path / "dst" / "changed")
