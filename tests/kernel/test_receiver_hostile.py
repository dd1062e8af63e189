"""Whatever a stream names and makes: our own receiver refuses it, or harms nobody but itself."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import ButterSinkError, CorruptStreamError, TransferError
from support.hostile_streams import (
    ATTRIBUTES,
    CONTENT,
    EVERY,
    NAMES,
    command,
    harm,
    mknod,
    named,
    symlink,
    u64,
    write,
)
from support.hostile_world import HostileWorld, assert_untouched, hostile_world
from support.stream_samples import A, C

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.hostile_world import Facts


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


def refuse(world: HostileWorld, *commands: bytes, error: type[ButterSinkError]) -> str:
    """Check that a stream is refused for its last command; return why."""
    with pytest.raises(error) as refused:
        world.receive(world.with_harm(*commands))
    assert named(refused.value.message, commands[-1])
    return refused.value.message


def turn(act: str, *ways: bytes) -> bytes:
    """Return one of some ways, another one for the next command."""
    return ways[EVERY.index(act) % len(ways)]


def test_an_honest_stream_arrives(made: tuple[HostileWorld, Facts]) -> None:
    world, before = made
    world.assert_can_arrive()
    world.assert_nothing_left()
    assert_untouched(world, before)


@pytest.mark.parametrize("act", EVERY)
class TestNoCommand:
    """Each way is tried with some of the commands: with all of them in `test_applying_hostile`."""

    def test_names_what_is_outside(self, world: HostileWorld, act: str) -> None:
        absolute = os.fsencode(world.temporary / "canary" / "file")
        path = turn(act, b"../../../canary/file", b"dir/../../../../canary/file", absolute)
        said = refuse(world, harm(path, world.second)[act], error=CorruptStreamError)
        assert "unsafe path" in said

    def test_goes_through_a_link_that_the_stream_made(self, world: HostileWorld, act: str) -> None:
        target = turn(act, os.fsencode(world.temporary), b"../../..", b".")
        path = b"x/dir/file" if target == b"." else b"x/canary/file"
        hostile = harm(path, world.second)[act]
        said = refuse(world, symlink(b"x", target), hostile, error=CorruptStreamError)
        assert "goes through a symbolic link" in said

    def test_goes_through_a_link_that_was_there(self, world: HostileWorld, act: str) -> None:
        path = turn(act, b"absolute/file", b"relative/file")
        said = refuse(world, harm(path, world.second)[act], error=CorruptStreamError)
        assert "goes through a symbolic link" in said

    def test_goes_through_a_link_that_was_a_directory(self, world: HostileWorld, act: str) -> None:
        """Directories that were used are kept open, by path."""
        swapped = (
            write(b"dir/file", b"used"),
            command(C.RENAME, b"dir", (A.PATH_TO, b"aside")),
            symlink(b"dir", os.fsencode(world.temporary / "canary")),
        )
        hostile = harm(b"dir/file", world.second)[act]
        said = refuse(world, *swapped, hostile, error=CorruptStreamError)
        assert "goes through a symbolic link" in said


class TestALinkAtTheEndOfAPath:
    @pytest.mark.parametrize("act", CONTENT)
    def test_is_no_way_to_content(self, world: HostileWorld, act: str) -> None:
        refuse(world, harm(b"to-file", world.second)[act], error=CorruptStreamError)
        link = symlink(b"x", os.fsencode(world.temporary / "canary" / "file"))
        refuse(world, link, harm(b"x", world.second)[act], error=CorruptStreamError)

    def test_is_what_is_changed_or_moved_itself(self, made: tuple[HostileWorld, Facts]) -> None:
        world, before = made
        commands = harm(b"to-file", world.second)
        done = [commands[act] for act in ATTRIBUTES if act not in {"chmod", "remove_xattr"}]
        done += [commands[act] for act in ("link from", "rename to")]
        world.receive(world.with_harm(*done))
        new = world.directory / "new"
        assert os.lstat(new / "stolen").st_uid == 12
        assert os.readlink(new / "stolen") == os.fspath(world.fs.path / "canary" / "file")
        assert (new / "to-file").read_bytes() == b"file" * 4096
        world.delete()
        assert_untouched(world, before)

    @pytest.mark.parametrize("act", ["chmod", "remove_xattr", "rmdir", "mkfile", "mkdir", "mknod"])
    def test_is_no_file_or_directory(self, world: HostileWorld, act: str) -> None:
        error = CorruptStreamError if act == "chmod" else TransferError
        refuse(world, harm(b"to-file", world.second)[act], error=error)


class TestADevice:
    @pytest.mark.parametrize("act", CONTENT)
    def test_is_neither_written_nor_read(self, world: HostileWorld, act: str) -> None:
        refuse(world, harm(b"disk", world.second)[act], error=ButterSinkError)
        node = mknod(b"x", world.disk_number, stat.S_IFBLK | 0o666)
        refuse(world, node, harm(b"x", world.second)[act], error=ButterSinkError)

    def test_can_be_made(self, made: tuple[HostileWorld, Facts]) -> None:
        world, before = made
        world.receive(world.with_harm(mknod(b"x", world.disk_number, stat.S_IFBLK | 0o666)))
        assert os.lstat(world.directory / "new" / "x").st_rdev == os.stat(world.disk[0]).st_rdev
        world.delete()
        assert_untouched(world, before)


@pytest.mark.parametrize("act", CONTENT)
def test_a_fifo_or_socket_is_not_waited_for(world: HostileWorld, act: str) -> None:
    for path in (b"fifo", b"socket"):
        refuse(world, harm(path, world.second)[act], error=CorruptStreamError)


@pytest.mark.parametrize("act", [*CONTENT, *ATTRIBUTES])
def test_what_is_not_there_is_not_made(world: HostileWorld, act: str) -> None:
    path = turn(act, b"nowhere", b"no/where")
    refuse(world, harm(path, world.second)[act], error=TransferError)


@pytest.mark.parametrize(
    "act", [name for name in NAMES if name.startswith(("mk", "sym", "link to"))]
)
def test_what_is_there_is_not_replaced(world: HostileWorld, act: str) -> None:
    path = turn(act, b"log", b"empty", b"to-file")
    refuse(world, harm(path, world.second)[act], error=TransferError)


def test_what_is_in_a_directory_does_not_go_with_it(world: HostileWorld) -> None:
    refuse(world, command(C.RMDIR, b"dir"), error=TransferError)
    refuse(world, command(C.UNLINK, b"dir"), error=TransferError)
    refuse(world, command(C.RENAME, b"empty", (A.PATH_TO, b"dir")), error=TransferError)
    refuse(world, command(C.RENAME, b"dir", (A.PATH_TO, b"dir/inner")), error=TransferError)


def test_the_top_directory_is_not_moved_or_removed(world: HostileWorld) -> None:
    for act in ("write", "mkdir", "rename from", "rename to", "unlink", "rmdir"):
        said = refuse(world, harm(b"", world.second)[act], error=CorruptStreamError)
        assert "unsafe path" in said


def test_a_snapshot_of_immutable_things_can_be_thrown_away(world: HostileWorld) -> None:
    immutable = (A.FILEATTR, u64(1 << 6))
    flags = [command(C.FILEATTR, path, immutable) for path in (b"", b"file", b"dir", b"dir/file")]
    refuse(world, *flags, command(C.UNLINK, b"nowhere"), error=TransferError)
