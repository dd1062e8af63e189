"""Streams of a hostile client: only the one that was announced gets in, and whole."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final
from uuid import UUID

import pytest

from buttersink.model import Mode
from buttersink.stream.format import (
    Attribute,
    Command,
    encode_command,
    encode_stream_header,
)
from buttersink.wire import messages
from buttersink.wire.frames import Kind
from buttersink.wire.messages import Done, Ready
from buttersink.wire.values import DiffAsked, Options
from support.picture import assert_untouched, picture
from support.served_worlds import (
    ServedWorld,
    lasting_served_world,
    made_stream,
    make_served_world,
    receive,
)
from support.stream_samples import clone, head, split, stream, u64, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import MakeFs
    from support.picture import Picture

NEW: Final = UUID("12345678-1234-4234-8234-123456789abc")
OTHER: Final = UUID("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee")
FILE: Final = f"file of {NEW}".encode()
A, C = Attribute, Command


@pytest.fixture
def world(make_fs: MakeFs) -> ServedWorld:
    return make_served_world(make_fs(mount_options="noatime"))


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[ServedWorld, Picture]]:
    """Return a world in which nothing may change, and its picture."""
    with lasting_served_world() as made:
        yield made


def whole(*commands: bytes) -> bytes:
    return made_stream(NEW, None, *commands)


def command(number: Command, **attributes: bytes) -> bytes:
    named = [(Attribute[name.upper()], value) for name, value in attributes.items()]
    return encode_command(number, named, 1)


def with_wrong_crc(data: bytes) -> bytes:
    """Change a byte of the last command but one, in what it writes."""
    place = data.rindex(b"some data")
    return data[:place] + b"S" + data[place + 1 :]


STREAMS: Final[dict[str, Callable[[ServedWorld], bytes]]] = {
    "nothing": lambda _: b"",
    "no stream": lambda _: b"#!/bin/sh\nrm -rf /\n" * 1000,
    "a header only": lambda _: encode_stream_header(1),
    "cut in the head": lambda _: whole()[:40],
    "cut before its end": lambda _: whole()[:-10],
    "without END": lambda _: whole()[: -len(split(whole())[-1]) - 10],
    "a wrong crc": lambda _: with_wrong_crc(whole()),
    "a crc of zero": lambda _: whole()[:-4] + bytes(4),
    "of a version of the future": lambda _: encode_stream_header(7) + whole()[17:],
    "of a version that was not announced": lambda _: stream(head(NEW, version=2), version=2),
    "of another snapshot": lambda _: made_stream(OTHER),
    "on a parent that was not announced": lambda w: made_stream(NEW, w.one),
    "on an outside parent that was not announced": lambda w: made_stream(NEW, w.secret_1),
    "without a head": lambda _: stream(write(b"x", b"y")),
    "with two heads": lambda _: stream(head(NEW), head(NEW)),
    "with another head inside": lambda w: stream(head(NEW), head(OTHER, w.one)),
    "named out": lambda _: stream(head(NEW, name=b"../../two-too")),
    "writing out": lambda _: whole(write(b"../../../notes", b"overwritten")),
    "writing out of a directory": lambda _: whole(write(b"a/../../../../notes", b"overwritten")),
    "writing to an absolute path": lambda w: whole(
        write(os.fsencode(w.directory / "notes"), b"overwritten")
    ),
    "making a file out": lambda _: whole(command(C.MKFILE, path=b"../../planted", ino=u64(301))),
    "making a directory out": lambda _: whole(command(C.MKDIR, path=b"../planted", ino=u64(301))),
    "removing out": lambda _: whole(command(C.UNLINK, path=b"../../notes")),
    "removing a directory out": lambda _: whole(command(C.RMDIR, path=b"../../plain")),
    "moving out": lambda _: whole(command(C.RENAME, path=FILE, path_to=b"../../planted")),
    "moving in": lambda _: whole(command(C.RENAME, path=b"../../notes", path_to=b"stolen")),
    "linking in": lambda _: whole(command(C.LINK, path=b"stolen", path_link=b"../../notes")),
    "cutting off out": lambda _: whole(command(C.TRUNCATE, path=b"../../notes", size=u64(0))),
    "giving away out": lambda _: whole(
        command(C.CHOWN, path=b"../../notes", uid=u64(1), gid=u64(1))
    ),
    "cloning from outside": lambda w: whole(
        clone(w.secret_1, path=FILE, source_path=b"base"),
    ),
    "cloning from another snapshot": lambda w: whole(
        clone(w.one, path=FILE, source_path=b"seen"),
    ),
    "cloning from out": lambda _: whole(clone(NEW, path=FILE, source_path=b"../../one/seen")),
    "writing through a link": lambda w: whole(
        command(C.SYMLINK, path=b"link", ino=u64(302), path_link=os.fsencode(w.directory)),
        write(b"link/notes", b"overwritten"),
    ),
    "writing through a link to a file": lambda w: whole(
        command(
            C.SYMLINK, path=b"link", ino=u64(302), path_link=os.fsencode(w.directory / "notes")
        ),
        write(b"link", b"overwritten"),
    ),
    "an unknown command": lambda _: whole(encode_unknown()),
}


def encode_unknown() -> bytes:
    """Return a command of a number that no version has."""
    data = bytearray(command(C.UNLINK, path=b"x"))
    data[4:6] = (200).to_bytes(2, "little")
    return bytes(data)


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("link", [False, True], ids=["plain", "link"])
def test_a_hostile_stream_leaves_nothing(
    shared: tuple[ServedWorld, Picture], name: str, *, link: bool
) -> None:
    world, before = shared
    with world.server(Mode.APPEND) as client:
        answer = client.upload(receive(NEW, "deep/new", link=link), STREAMS[name](world))
        failure = answer.failure
        client.ask(messages.ListSnapshots()).reply(Done)
        assert client.end().status == 0
    assert failure.kind in {"CorruptStreamError", "TransferError"}, failure
    for text in (failure.message, failure.hint):
        assert not [word for word in (b"\n", b"Traceback", b"secret", b"elsewhere") if word in text]
    assert_untouched(before, world.fs)


def test_a_hostile_stream_does_not_disturb_the_next_one(world: ServedWorld) -> None:
    with world.server(Mode.APPEND) as client:
        for name in ("writing out", "cut before its end", "writing through a link"):
            answer = client.upload(receive(NEW, "new"), STREAMS[name](world))
            assert answer.end.kind is Kind.ERROR
        client.upload(receive(NEW, "new"), whole()).reply(Done)
        client.end()
    assert (world.directory / "new" / os.fsdecode(FILE)).read_bytes() == b"some data"


@pytest.mark.parametrize("name", ["of another snapshot", "a wrong crc", "cloning from outside"])
def test_a_hostile_stream_on_a_parent_leaves_nothing(world: ServedWorld, name: str) -> None:
    before = picture(world.fs)
    data = {
        "of another snapshot": made_stream(OTHER, world.one),
        "a wrong crc": with_wrong_crc(made_stream(NEW, world.one)),
        "cloning from outside": made_stream(
            NEW, world.one, clone(world.secret_1, path=FILE, source_path=b"base")
        ),
    }[name]
    with world.server(Mode.APPEND) as client:
        request = receive(NEW, "new", parent=world.one)
        assert client.upload(request, data).failure.kind == "CorruptStreamError"
        client.end()
    assert_untouched(before, world.fs)


def test_the_parent_is_the_one_that_was_announced(world: ServedWorld) -> None:
    before = picture(world.fs)
    with world.server(Mode.APPEND) as client:
        request = receive(NEW, "new", parent=world.two)
        failure = client.upload(request, made_stream(NEW, world.one)).failure
        assert failure.kind == "CorruptStreamError"
        client.end()
    assert_untouched(before, world.fs)


def test_nothing_is_built_on_itself(world: ServedWorld) -> None:
    before = picture(world.fs)
    with world.server(Mode.APPEND) as client:
        request = receive(world.one, "new", parent=world.one)
        failure = client.upload(request, made_stream(world.one, world.one)).failure
        assert failure.kind in {"CorruptStreamError", "TransferError"}
        client.end()
    assert_untouched(before, world.fs)


def test_the_parent_stays_as_it_is_whatever_a_stream_does_to_it(world: ServedWorld) -> None:
    before = picture(world.fs)
    with world.server(Mode.APPEND) as client:
        changed = made_stream(NEW, world.one, write(b"base", b"overwritten"))
        client.upload(receive(NEW, "new", parent=world.one), changed).reply(Done)
        client.end()
    assert (world.directory / "new" / "base").read_bytes().startswith(b"overwritten")
    assert_untouched(before, world.fs, besides="served/new")


@pytest.mark.parametrize("name", [b"plain/new", b"one", b"x" * 255, b"\xff\n"])
def test_what_a_stream_calls_its_snapshot_does_not_matter(world: ServedWorld, name: bytes) -> None:
    before = picture(world.fs)
    with world.server(Mode.APPEND) as client:
        client.upload(receive(NEW, "good"), stream(head(NEW, name=name))).reply(Done)
        client.end()
    assert_untouched(before, world.fs, besides="served/good")


@pytest.mark.parametrize(
    "options", [Options(2**32 - 1, False), Options(99, True), Options(1, True)], ids=str
)
def test_streams_that_there_are_not_are_refused(world: ServedWorld, options: Options) -> None:
    before = picture(world.fs)
    diff = DiffAsked(to=world.one, parent=None)
    measure = messages.Measure(diffs=(diff,), options=options)
    announced = messages.Receive(
        diff=DiffAsked(to=NEW, parent=None), path=b"new", options=options, link=False
    )
    with world.server(Mode.APPEND) as client:
        failure = client.ask(messages.Send(diff=diff, options=options)).failure
        client.ask(measure).reply(Done)
        future = STREAMS["of a version of the future"](world)
        refused = client.upload(announced, future).failure
        client.end()
    assert failure.kind == "TransferError"
    assert refused.kind == "CorruptStreamError"
    assert_untouched(before, world.fs)


def test_a_stream_that_is_cancelled_leaves_nothing(world: ServedWorld) -> None:
    before = picture(world.fs)
    with world.server(Mode.APPEND) as client:
        client.ask(receive(NEW, "deep/new")).reply(Ready)
        client.send_data(whole())
        client.send(Kind.CANCEL)
        assert client.answer().failure.message == b"cancelled"
        client.end()
    assert_untouched(before, world.fs)


def test_what_follows_a_refused_stream_is_not_taken_for_one(world: ServedWorld) -> None:
    before = picture(world.fs)
    with world.server(Mode.APPEND) as client:
        client.ask(receive(NEW, "new")).reply(Ready)
        client.send_data(made_stream(OTHER) + whole() * 100_000)
        assert client.answer().failure.kind == "CorruptStreamError"
        client.send_data(whole() * 100)  # was on its way
        client.send(Kind.END)
        client.ask(messages.AskSpace()).reply(Done)
        client.end()
    assert_untouched(before, world.fs)
