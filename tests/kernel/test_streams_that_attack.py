"""Streams that mean harm: they reach nothing, and nothing comes of them."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from buttersink.errors import ButterSinkError, CorruptStreamError, TransferError
from buttersink.model import Receiver
from buttersink.stream.format import Attribute, Command, encode_command
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run
from support.receiving_ends import VERSIONS, Ends, hostile, receiving_ends
from support.subvolume_facts import identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.loopfs import LoopFs


@pytest.fixture(params=list(Receiver), ids=lambda receiver: receiver.value)
def ends(
    fs_a: LoopFs, fs_b: LoopFs, scratch: Path, request: pytest.FixtureRequest
) -> Iterator[Ends]:
    with receiving_ends(fs_a, fs_b, scratch, request.param) as made:
        yield made


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
