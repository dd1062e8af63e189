"""Whatever bytes a server gets: it ends by itself, needs little memory, and harms nothing."""

from __future__ import annotations

import os
from itertools import cycle, repeat
from random import Random
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

import pytest

from buttersink.model import Mode
from buttersink.wire import messages
from buttersink.wire.frames import Kind, encode_frame
from buttersink.wire.messages import Done, Ready
from buttersink.wire.values import MAX_ASKED, DiffAsked
from support.picture import assert_unchanged, assert_untouched, picture
from support.raw_client import RawClient, hello, raw_request, server_arguments
from support.senseless import (
    GREETINGS,
    HEAVY,
    LIST,
    MANY,
    SENSELESS,
    SPACE,
    asking,
    short_names,
)
from support.served_worlds import (
    OPTIONS,
    ServedWorld,
    lasting_served_world,
    made_stream,
    receive,
)
from support.stream_samples import utimes, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.command import Run
    from support.picture import Picture

MEMORY: Final = 640 << 20
"""Of address space, of which an idle server has 170 MiB: less than the input might cause."""

NEW: Final = UUID("12345678-1234-4234-8234-123456789abc")
LANDING: Final = rf"served/(deep/)?\.buttersink-{NEW}\.part(/new|/mark-\d+)?"
"""Subvolumes of one interrupted transfer, and what the next could go on from."""

IMPATIENT: Final = hello(stall_seconds=1.0)
SOON_SECONDS: Final = 20.0
"""Less than waiting for freed space takes where it is in vain."""


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[ServedWorld, Picture]]:
    """Return a world that nothing may change, and its picture."""
    with lasting_served_world() as made:
        yield made


@pytest.fixture(scope="module")
def shared_by_writers() -> Iterator[tuple[ServedWorld, Picture]]:
    """Return a world in which no snapshot may change, and its first picture."""
    with lasting_served_world() as (world, _):
        (world.directory / "deep").mkdir()  # it stays once it holds a leftover
        yield world, picture(world.fs)


def ended(client: RawClient) -> Run:
    """Check that a server has ended well, or given up with one line."""
    run = client.end()
    assert run.status in {0, 1, 2}, run.stderr
    assert len(run.stderr.splitlines()) == (run.status != 0), run.stderr
    assert "Traceback" not in run.stderr
    assert b"the server failed" not in client.heard.stdout
    return run


@pytest.mark.parametrize("name", SENSELESS)
def test_what_makes_no_sense_ends_a_reading_server(
    shared: tuple[ServedWorld, Picture], name: str
) -> None:
    world, before = shared
    with world.server(Mode.READ, memory=MEMORY) as client:
        client.write(SENSELESS[name])
        ended(client)
    assert_unchanged(before, world.fs)


@pytest.mark.parametrize("name", HEAVY)
def test_what_is_too_much_is_borne(shared: tuple[ServedWorld, Picture], name: str) -> None:
    world, before = shared
    with world.server(Mode.READ, memory=MEMORY) as client:
        assert client.write(HEAVY[name]())
        assert client.write(raw_request(messages.FindTaken(paths=(b"one",))))
        while (said := client.next()) and b"indices\x91\x00" not in said.payload:
            pass
        assert said, "the last question was not answered"
        assert ended(client).status == 0
    assert_unchanged(before, world.fs)


def test_as_many_paths_are_looked_for_as_may_be_asked_for(
    shared: tuple[ServedWorld, Picture],
) -> None:
    world, _ = shared
    with world.server(Mode.READ, memory=MEMORY) as client:
        client.write(asking("taken", "paths", short_names(MAX_ASKED)))
        assert client.answer().reply(messages.Taken).indices == ()
        last = (b"free",) * (MAX_ASKED - 1) + (b"one",)
        taken = client.ask(messages.FindTaken(paths=last)).reply(messages.Taken)
        assert taken.indices == (MAX_ASKED - 1,)
        client.write(asking("taken", "paths", short_names(MAX_ASKED)))
        client.send(Kind.CANCEL)
        client.answer()
        client.ask(messages.AskSpace()).reply(Done)
        assert ended(client).status == 0


@pytest.mark.parametrize("name", GREETINGS)
def test_a_strange_greeting_ends_a_server(shared: tuple[ServedWorld, Picture], name: str) -> None:
    world, before = shared
    with RawClient(*server_arguments(Mode.APPEND, world.directory), memory=MEMORY) as client:
        client.write(GREETINGS[name])
        ended(client)
    assert_unchanged(before, world.fs)


@pytest.mark.parametrize("seed", range(8))
def test_a_conversation_cut_anywhere_ends_a_server(
    shared: tuple[ServedWorld, Picture], seed: int
) -> None:
    world, before = shared
    conversation = LIST + SPACE + sending(world) + LIST
    rng = Random(seed)
    with world.server(Mode.READ, memory=MEMORY) as client:
        client.write(conversation[: rng.randrange(len(conversation))])
        ended(client)
    assert_unchanged(before, world.fs)


@pytest.mark.parametrize("seed", range(8))
def test_a_conversation_with_wrong_bytes_harms_nothing(
    shared: tuple[ServedWorld, Picture], seed: int
) -> None:
    world, before = shared
    conversation = bytearray((LIST + SPACE + sending(world)) * 3)
    rng = Random(seed)
    for _ in range(5):
        conversation[rng.randrange(len(conversation))] = rng.randrange(256)
    with world.server(Mode.READ, memory=MEMORY) as client:
        client.write(bytes(conversation))
        ended(client)
    assert_unchanged(before, world.fs)


@pytest.mark.parametrize(
    "next_frame", [LIST, encode_frame(Kind.DATA, b"x"), encode_frame(Kind.END)], ids="LDE"
)
def test_nothing_but_a_cancel_may_come_while_a_stream_is_sent(
    shared: tuple[ServedWorld, Picture], next_frame: bytes
) -> None:
    world, before = shared
    with world.server(Mode.READ) as client:
        client.write(sending(world) + next_frame)
        run = ended(client)
    assert run.status == 1
    assert "before the answer was complete" in run.stderr
    assert_unchanged(before, world.fs)


def test_a_stream_can_be_cancelled(shared: tuple[ServedWorld, Picture]) -> None:
    world, _ = shared
    with world.server(Mode.READ) as client:
        client.write(sending(world) + encode_frame(Kind.CANCEL) * 3)
        assert client.answer().end.kind in {Kind.ERROR, Kind.END}
        client.ask(messages.AskSpace()).reply(Done)
        assert ended(client).status == 0


def test_a_client_that_takes_nothing_is_given_up(shared: tuple[ServedWorld, Picture]) -> None:
    world, before = shared
    with RawClient(*server_arguments(Mode.READ, world.directory)) as client:
        client.greet(IMPATIENT)
        client.write(sending(world))
        client.wait_until_gone()
    assert_unchanged(before, world.fs)


def test_a_client_that_says_nothing_is_given_up(shared: tuple[ServedWorld, Picture]) -> None:
    world, _ = shared
    with RawClient(*server_arguments(Mode.APPEND, world.directory)) as client:
        client.greet(IMPATIENT)
        client.ask(receive(NEW, "new")).reply(Ready)
        client.wait_until_gone()
        assert "the client has gone" in ended(client).stderr


def sending(world: ServedWorld) -> bytes:
    """Return a request for a stream of 256 KB."""
    return raw_request(messages.Send(diff=DiffAsked(to=world.two, parent=None), options=OPTIONS))


def long_stream() -> bytes:
    """Return a stream of some MB."""
    name = f"file of {NEW}".encode()
    data = Random(1).randbytes(40_000)
    return made_stream(
        NEW, None, *(write(name, data, offset=n * len(data)) for n in range(60)), utimes(name)
    )


@pytest.mark.parametrize(
    ("name", "share"), list(zip(SENSELESS, cycle([0.0, 0.5, 0.99]), strict=False))
)
def test_what_makes_no_sense_within_a_stream_leaves_a_partial_at_most(
    shared_by_writers: tuple[ServedWorld, Picture], name: str, share: float
) -> None:
    world, before = shared_by_writers
    stream = long_stream()
    with world.server(Mode.APPEND, memory=MEMORY) as client:
        client.ask(receive(NEW, "deep/new")).reply(Ready)
        client.send_data(stream[: int(share * len(stream))])
        client.write(SENSELESS[name])
        ended(client)
    assert_untouched(before, world.fs, besides=LANDING)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_server_killed_within_a_stream_leaves_a_partial_at_most(
    shared_by_writers: tuple[ServedWorld, Picture], share: float
) -> None:
    world, before = shared_by_writers
    stream = long_stream()
    with world.server(Mode.APPEND) as client:
        client.ask(receive(NEW, "new")).reply(Ready)
        client.send_data(stream[: int(share * len(stream))])
        client.kill()
    assert_untouched(before, world.fs, besides=LANDING)


def test_tiny_pieces_of_a_stream_are_borne(
    shared_by_writers: tuple[ServedWorld, Picture],
) -> None:
    world, before = shared_by_writers
    uuid = uuid4()
    stream = made_stream(uuid)
    with world.server(Mode.APPEND, memory=MEMORY) as client:
        client.ask(receive(uuid, "new")).reply(Ready)
        tiny = repeat(b"", MANY)
        client.send_frames((Kind.DATA, piece) for piece in tiny)
        client.send_frames((Kind.DATA, stream[n : n + 1]) for n in range(len(stream)))
        client.send(Kind.CANCEL)
        assert client.answer().failure.message == b"cancelled"
        assert ended(client).status == 0
    assert_untouched(before, world.fs, besides=LANDING)


def test_nothing_is_waited_for_when_the_client_has_gone(
    shared_by_writers: tuple[ServedWorld, Picture],
) -> None:
    world, _ = shared_by_writers
    uuid = uuid4()
    landing = world.directory / f".buttersink-{uuid}.part"
    with world.server(Mode.APPEND) as client:
        client.ask(receive(uuid, "new")).reply(Ready)
        client.send_data(made_stream(uuid)[:-40])
        held = os.open(landing, os.O_RDONLY)  # what is open is not freed
        try:
            client.hang_up()
            client.wait_until_gone(SOON_SECONDS)
        finally:
            os.close(held)
    assert not landing.exists()
