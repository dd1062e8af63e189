"""Damaged streams, and bad ends of long ones: nothing is kept of them that could be trusted."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from random import Random
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import (
    ButterSinkError,
    CorruptStreamError,
    RestartError,
    TransferError,
    UnavailableError,
)
from buttersink.stores.resuming import drop_beginning
from buttersink.stream.decoding import Decoder
from buttersink.stream.format import HEADER_SIZE, encode_command
from buttersink.stream.guard import Expectation
from support.applying import applying, new_subvolume
from support.decoding import fed
from support.hostile_streams import command, fallocate, harm, named, symlink, u64, write
from support.hostile_world import CLOSE, HostileWorld, assert_untouched, hostile_world
from support.stream_samples import A, C, head, split, stream, utimes
from support.tree import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buttersink.store import Writer
    from support.hostile_world import Facts
    from support.loopfs import LoopFs

FLIPS = 24
"""Damaged streams that are tried on a receiver in a process of its own."""


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


def small_stream(world: HostileWorld, version: int) -> bytes:
    """Return a stream with a few commands of different forms."""
    content = [(A.PATH, b"file"), (A.FILE_OFFSET, u64(0)), (A.DATA, b"data")]
    return stream(
        head(world.second, None, version=version),
        command(C.MKFILE, b"file", (A.INO, u64(9))),
        encode_command(C.WRITE, content, version),
        command(C.RENAME, b"file", (A.PATH_TO, b"other")),
        utimes(b"other", version=version),
        version=version,
    )


class TestAFlippedBit:
    @pytest.mark.parametrize("version", [1, 2])
    def test_is_noticed_wherever_it_is(
        self, world: HostileWorld, fs_a: LoopFs, version: int
    ) -> None:
        """In this process: a receiver of its own takes its time to start."""
        whole = small_stream(world, version)
        expectation = Expectation(to=frozenset({world.second}), parents=None, max_version=version)
        rng = Random(version)
        for position in range(len(whole)):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << rng.randrange(8)
            top = new_subvolume(fs_a.path)
            before = describe(top.parent)
            with applying(top) as applier:
                decoder = Decoder(expectation, applier)
                try:
                    for _ in fed(decoder, [bytes(damaged)]):
                        pass
                except CorruptStreamError:
                    continue
                assert not decoder.ended, position
            assert describe(top.parent) == before

    def test_in_the_stream_of_a_kernel_leaves_nothing(self, world: HostileWorld) -> None:
        rng = Random(1)
        for _ in range(FLIPS):
            damaged = bytearray(world.increment)
            position = rng.randrange(len(damaged))
            damaged[position] ^= 1 << rng.randrange(8)
            with pytest.raises(ButterSinkError) as error:
                world.receive(bytes(damaged))
            assert "\n" not in error.value.message


def send(writer: Writer, data: bytes) -> None:
    """Write as a pump does, in pieces, so that checkpoints fall due in between."""
    for start in range(0, len(data), 1 << 16):
        writer.write(memoryview(data)[start : start + (1 << 16)])


def receive_checked(world: HostileWorld, data: bytes, bad: bytes) -> None:
    """Receive the beginning of a stream, see that it is kept, and then what is bad."""
    with world.receiving(pace=CLOSE) as writer:
        send(writer, data)
        assert [partial.checkpoint is not None for partial in world.leftovers()] == [True]
        send(writer, bad)


class TestWhatWasKeptOfAStream:
    """An honest beginning of 300 KB, with checkpoints, and then something else."""

    @pytest.mark.parametrize(
        "act", ["write", "chmod", "rename from", "link from", "clone from", "unlink"]
    )
    def test_is_dropped_when_it_proves_hostile(self, world: HostileWorld, act: str) -> None:
        beginning = b"".join((world.increment[:HEADER_SIZE], *split(world.increment)[:-1]))
        for added in (
            [harm(b"../../../canary/file", world.second)[act]],
            [symlink(b"x", b"/"), harm(b"x/canary/file", world.second)[act]],
        ):
            with pytest.raises(CorruptStreamError) as error:
                receive_checked(world, beginning, b"".join(added))
            assert named(error.value.message, added[-1])
            world.assert_nothing_left()
        world.assert_can_arrive()

    def test_is_dropped_when_it_is_damaged(self, world: HostileWorld) -> None:
        cut = len(world.increment) - 40
        with pytest.raises(CorruptStreamError):
            receive_checked(world, world.increment[:cut], b"\xff" * 40)
        world.assert_nothing_left()
        world.assert_can_arrive()

    def test_is_dropped_when_it_ends_too_soon(self, world: HostileWorld) -> None:
        with pytest.raises(CorruptStreamError, match="without its END command"):
            receive_checked(world, world.increment[:-40], world.increment[-40:-1])
        world.assert_nothing_left()
        world.assert_can_arrive()

    def test_is_dropped_when_it_can_not_be_applied(self, world: HostileWorld) -> None:
        beginning = b"".join((world.increment[:HEADER_SIZE], *split(world.increment)[:-1]))
        with pytest.raises(TransferError):
            receive_checked(world, beginning, write(b"nowhere", b"x"))
        world.assert_nothing_left()
        world.assert_can_arrive()

    def test_is_gone_on_with_by_the_same_stream(self, world: HostileWorld) -> None:
        lose_link(world, world.increment[:-200])
        go_on(world)
        world.assert_arrived()

    def test_is_not_gone_on_with_by_another_stream(self, world: HostileWorld) -> None:
        """A link that is lost leaves what a stranger has sent; its beginning gives it away."""
        start = HEADER_SIZE + len(split(world.increment)[0])
        planted = world.increment[:start] + write(b"file", b"planted") + world.increment[start:]
        lose_link(world, planted[:-200])
        with pytest.raises(RestartError):
            go_on(world)
        world.assert_nothing_left()
        world.assert_can_arrive()

    def test_is_good_for_the_same_stream_with_another_end(self, world: HostileWorld) -> None:
        """What the kernel refuses may have other causes than the stream."""
        beginning = b"".join((world.increment[:HEADER_SIZE], *split(world.increment)[:-1]))
        with pytest.raises(TransferError, match="not supported"):
            receive_checked(world, beginning, fallocate(b"file", 0x80, offset=0, size=4096))
        go_on(world)
        world.assert_arrived()


def lose_link(world: HostileWorld, data: bytes) -> None:
    """Receive a part of a stream, and then nothing more."""
    with suppress(UnavailableError), world.receiving(pace=CLOSE) as writer:
        send(writer, data)
        raise UnavailableError("the link was lost")


def go_on(world: HostileWorld) -> None:
    """Receive the honest stream from there, as far as it is the same."""
    with world.receiving() as writer:
        assert writer.resume is not None
        drop_beginning(BytesIO(world.increment), writer.resume)
        send(writer, world.increment[writer.resume.offset :])
