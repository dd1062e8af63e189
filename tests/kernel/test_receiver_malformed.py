"""Streams that are no streams, or that say what can't be: our own receiver refuses them."""

from __future__ import annotations

import os
import stat
import zlib
from typing import TYPE_CHECKING, Final
from uuid import UUID

import pytest

from buttersink.errors import ButterSinkError, CorruptStreamError, TransferError
from buttersink.stream.format import (
    COMMAND_HEADER,
    HEADER_SIZE,
    MAX_COMMAND,
    checksum,
    encode_stream_header,
)
from support.hostile_streams import (
    VERSION,
    clone,
    command,
    encoded_write,
    fallocate,
    mknod,
    named,
    symlink,
    u64,
    write,
)
from support.hostile_world import HostileWorld, assert_untouched, hostile_world
from support.stream_samples import A, C, end, head, split, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.hostile_world import Facts

MOST: Final = (1 << 64) - 1
NOBODY: Final = UUID("ffffffff-ffff-4fff-8fff-ffffffffffff")


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[HostileWorld, Facts]]:
    """Return a world for all tests, and what must not change of it."""
    with hostile_world() as world:
        world.assert_can_arrive()
        yield world, world.facts()


@pytest.fixture
def world(made: tuple[HostileWorld, Facts]) -> Iterator[HostileWorld]:
    """Return the world; afterwards nothing of it has changed, and nothing is left."""
    world, before = made
    yield world
    try:
        world.assert_nothing_left()
        assert_untouched(world, before)
    finally:
        world.clear()


def refused(world: HostileWorld, hostile: bytes) -> str:
    """Check that a stream is refused as corrupt; return why, in one line."""
    with pytest.raises(CorruptStreamError) as error:
        world.receive(hostile)
    assert "\n" not in error.value.message
    return error.value.message


def raw(number: int, body: bytes, *, length: int | None = None) -> bytes:
    """Return a command with any body, and a right checksum; `length` is what it says it has."""
    length = len(body) if length is None else length
    return COMMAND_HEADER.pack(length, number, checksum(length, number, body)) + body


def attribute(number: int, data: bytes, *, length: int | None = None) -> bytes:
    length = len(data) if length is None else length
    return number.to_bytes(2, "little") + length.to_bytes(2, "little") + data


PATH: Final = attribute(A.PATH, b"file")
MALFORMED: Final = {
    "a huge length": raw(C.WRITE, b"", length=(1 << 32) - 1),
    "a length too long by one": raw(C.WRITE, b"", length=MAX_COMMAND + 1),
    "command 0": raw(0, b""),
    "command 200": raw(200, PATH),
    "command 65535": raw(65535, PATH),
    "an attribute that is cut": raw(C.UNLINK, attribute(A.PATH, b"file", length=5)),
    "half an attribute header": raw(C.UNLINK, PATH + b"\x0f"),
    "attribute 999": raw(C.UNLINK, PATH + attribute(999, b"x")),
    "another command's attribute": raw(C.UNLINK, PATH + attribute(A.DATA, b"x")),
    "two paths": raw(C.UNLINK, PATH + attribute(A.PATH, b"../file")),
    "no path": raw(C.UNLINK, b""),
    "no size": raw(C.TRUNCATE, PATH),
    "a short size": raw(C.TRUNCATE, PATH + attribute(A.SIZE, bytes(7))),
    "a long size": raw(C.TRUNCATE, PATH + attribute(A.SIZE, bytes(9))),
    "a short uuid": raw(
        C.CLONE,
        PATH
        + attribute(A.FILE_OFFSET, bytes(8))
        + attribute(A.CLONE_LEN, bytes(8))
        + attribute(A.CLONE_UUID, bytes(15))
        + attribute(A.CLONE_CTRANSID, bytes(8))
        + attribute(A.CLONE_PATH, b"file")
        + attribute(A.CLONE_OFFSET, bytes(8)),
    ),
    "a path with a zero": command(C.UNLINK, b"file\0"),
    "a path too long": command(C.UNLINK, b"n/" * 2048 + b"n"),
    "an empty component": command(C.UNLINK, b"dir//file"),
    "a slash at the end": command(C.RMDIR, b"empty/"),
    "a second head": head(version=VERSION),
    "no data": command(C.UPDATE_EXTENT, b"file", (A.FILE_OFFSET, bytes(8)), (A.SIZE, bytes(8))),
    "an end with a body": raw(C.END, PATH),
    "a write beyond all files": write(b"file", b"x", offset=(1 << 63) - 1),
    "a write beyond all numbers": write(b"file", b"x", offset=MOST),
    "a size beyond all files": command(C.TRUNCATE, b"file", (A.SIZE, u64(MOST))),
    "room beyond all files": fallocate(b"file", 0, offset=MOST, size=MOST),
    "nobody's owner": command(C.CHOWN, b"file", (A.UID, u64(1 << 32)), (A.GID, u64(0))),
    "an owner that changes nothing": command(
        C.CHOWN, b"file", (A.UID, u64((1 << 32) - 1)), (A.GID, u64(0))
    ),
    "a device that is a file": mknod(b"x", 0, stat.S_IFREG | 0o4755),
    "a device that is a directory": mknod(b"x", 0, stat.S_IFDIR | 0o755),
    "a device with a long number": mknod(b"x", 1 << 32, stat.S_IFBLK | 0o600),
    "an attribute without a name": command(
        C.SET_XATTR, b"file", (A.XATTR_NAME, b""), (A.XATTR_DATA, b"x")
    ),
    "an attribute with a zero": command(
        C.SET_XATTR, b"file", (A.XATTR_NAME, b"user.x\0y"), (A.XATTR_DATA, b"x")
    ),
    "an attribute with a long name": command(
        C.REMOVE_XATTR, b"file", (A.XATTR_NAME, b"user." + b"x" * 300)
    ),
    "a link to nothing": symlink(b"x", b""),
    "a link with a zero": symlink(b"x", b"a\0b"),
    "seconds of more than a second": command(
        C.UTIMES,
        b"file",
        *((each, bytes(8) + b"\xff" * 4) for each in (A.ATIME, A.MTIME, A.CTIME)),
    ),
    "an extent that unpacks to much": encoded_write(
        b"file", zlib.compress(bytes(1 << 20)), length=1 << 20, kind=1
    ),
    "an extent packed by nobody": encoded_write(b"file", b"packed", kind=77),
    "clone from nobody": clone(b"file", NOBODY, b"file"),
}
"""Commands at which a stream is refused."""


@pytest.mark.parametrize("what", MALFORMED)
def test_what_is_malformed_is_refused(world: HostileWorld, what: str) -> None:
    hostile = MALFORMED[what]
    said = refused(world, world.with_harm(hostile))
    assert named(said, hostile)


def test_a_wrong_checksum_is_refused(world: HostileWorld) -> None:
    hostile = bytearray(write(b"file", b"data"))
    hostile[-1] ^= 1
    said = refused(world, world.with_harm(bytes(hostile)))
    assert named(said, bytes(hostile))
    assert "wrong checksum" in said


def test_a_command_of_a_later_version_is_refused(world: HostileWorld) -> None:
    said = refused(world, encode_stream_header(2) + world.with_harm(LATER)[HEADER_SIZE:])
    assert "is unknown in stream version 2" in said


LATER: Final = raw(C.ENABLE_VERITY, PATH)


class TestTheStart:
    @pytest.mark.parametrize("number", [C.WRITE, C.UNLINK, C.MKNOD, C.END, 200])
    def test_is_no_other_command_than_a_snapshot(self, world: HostileWorld, number: int) -> None:
        said = refused(world, encode_stream_header(VERSION) + raw(number, PATH) + end(VERSION))
        assert "does not begin with a snapshot" in said
        assert "at byte 17" in said

    def test_is_the_snapshot_that_was_announced(self, world: HostileWorld) -> None:
        for other in (
            head(NOBODY, world.first, version=VERSION),
            head(world.second, NOBODY, version=VERSION),
            head(world.second, world.other, version=VERSION),
            head(world.second, None, version=VERSION),
        ):
            said = refused(world, stream(other, write(b"file", b"x"), version=VERSION))
            assert "expected" in said

    def test_has_no_name_that_leads_out(self, world: HostileWorld) -> None:
        for name in (b"../up", b"/abs", b"a\0b", b""):
            made = head(world.second, world.first, name=name, version=VERSION)
            assert "unsafe path" in refused(world, stream(made, version=VERSION))

    def test_is_a_stream_of_a_version_that_was_asked_for(self, world: HostileWorld) -> None:
        for version in (0, 4, 5, 1 << 31):
            start = world.increment[: HEADER_SIZE - 4] + version.to_bytes(4, "little")
            refused(world, start + world.increment[HEADER_SIZE:])

    def test_is_a_stream_at_all(self, world: HostileWorld) -> None:
        for nonsense in (b"", b"\0" * 1000, b"<html>", os.urandom(100), world.increment[1:]):
            refused(world, nonsense)


class TestAClone:
    def test_takes_nothing_from_outside(self, world: HostileWorld) -> None:
        hostile = clone(b"file", world.secret, b"file")
        said = refused(world, world.with_harm(hostile))
        assert named(said, hostile)
        assert "clone from outside" in said

    @pytest.mark.parametrize("path", [b"../canary/file", b"/etc/passwd", b"dir/../../x", b""])
    def test_takes_nothing_from_beside_its_source(self, world: HostileWorld, path: bytes) -> None:
        for source in (world.other, world.first, world.second):
            said = refused(world, world.with_harm(clone(b"file", source, path)))
            assert "unsafe path" in said

    @pytest.mark.parametrize("path", [b"way-out/file", b"to-file", b"fifo", b"dir"])
    def test_takes_only_files(self, world: HostileWorld, path: bytes) -> None:
        hostile = clone(b"file", world.other, path)
        with pytest.raises(ButterSinkError) as error:
            world.receive(world.with_harm(hostile))
        assert named(error.value.message, hostile)

    def test_takes_nothing_through_links_or_from_devices_of_the_parent(
        self, world: HostileWorld
    ) -> None:
        for path in (b"absolute/file", b"to-file", b"disk", b"socket"):
            hostile = clone(b"file", world.first, path)
            with pytest.raises(ButterSinkError) as error:
                world.receive(world.with_harm(hostile))
            assert named(error.value.message, hostile)

    def test_takes_no_more_than_there_is(self, world: HostileWorld) -> None:
        for length, offset in ((1 << 20, 0), (4096, 1 << 40), ((1 << 62), 0), (MOST, 0), (1, MOST)):
            hostile = clone(b"file", world.other, b"file", length=length, source_offset=offset)
            assert named(refused(world, world.with_harm(hostile)), hostile)

    def test_may_take_from_another_snapshot_of_the_directory(
        self, made: tuple[HostileWorld, Facts]
    ) -> None:
        world, before = made
        world.receive(world.with_harm(clone(b"file", world.other, b"file")))
        assert (world.directory / "new" / "file").read_bytes()[:8] == b"workwork"
        world.delete()
        assert_untouched(world, before)


HUGE: Final[dict[str, Callable[[], list[bytes]]]] = {
    "room": lambda: [fallocate(b"file", 0, offset=0, size=1 << 62)],
    "zeros": lambda: [fallocate(b"file", 16, offset=0, size=1 << 62)],
    "an unknown kind of room": lambda: [fallocate(b"file", 0x80, offset=0, size=4096)],
    "a deep tree": lambda: [
        command(C.MKDIR, b"/".join([b"n" * 200] * depth), (A.INO, u64(999)))
        for depth in range(1, 22)
    ],
    "a long name": lambda: [command(C.MKDIR, b"n" * 256, (A.INO, u64(999)))],
}
"""What would be possible, if there were enough of something."""


@pytest.mark.parametrize("what", HUGE)
def test_what_is_too_much_for_the_file_system_is_an_error(world: HostileWorld, what: str) -> None:
    commands = HUGE[what]()
    with pytest.raises((TransferError, CorruptStreamError)) as error:
        world.receive(world.with_harm(*commands))
    assert named(error.value.message, commands[-1])


def test_a_file_may_be_as_long_as_files_can_be(made: tuple[HostileWorld, Facts]) -> None:
    world, before = made
    longest = command(C.TRUNCATE, b"file", (A.SIZE, u64((1 << 63) - 4096)))
    world.receive(world.with_harm(longest))
    assert (world.directory / "new" / "file").stat().st_size == (1 << 63) - 4096
    world.delete()
    assert_untouched(world, before)


class TestATruncatedStream:
    def test_is_refused_wherever_it_ends(self, world: HostileWorld) -> None:
        small = stream(
            head(world.second, world.first, version=VERSION),
            command(C.MKDIR, b"x", (A.INO, u64(9))),
            version=VERSION,
        )
        for length in range(len(small)):
            refused(world, small[:length])

    def test_is_refused_between_commands(self, world: HostileWorld) -> None:
        """All but the last one are applied."""
        position = HEADER_SIZE
        for made in split(world.increment)[:-1]:
            position += len(made)
            said = refused(world, world.increment[:position])
            assert said == f"the stream ends after {position} bytes, without its END command"


def test_the_honest_stream_arrives_after_all_that(made: tuple[HostileWorld, Facts]) -> None:
    world, before = made
    world.assert_can_arrive()
    assert_untouched(world, before)
