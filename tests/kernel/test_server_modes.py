"""Each verb is refused by the server itself below its mode, and works in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from buttersink.model import Mode
from buttersink.stream.format import Command
from buttersink.wire import messages, values
from buttersink.wire.frames import Kind
from buttersink.wire.messages import AnyRequest, Done
from buttersink.wire.modes import LEAST_MODE
from buttersink.wire.values import DiffAsked
from support.kernel_calls import create_subvolume
from support.picture import assert_unchanged, assert_untouched, picture
from support.raw_client import RawClient
from support.served_worlds import OPTIONS, ServedWorld, made_stream, make_served_world, receive
from support.stream_samples import split
from support.streams import commands
from support.subvolume_facts import transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import MakeFs
    from support.raw_client import Answer


@dataclass(frozen=True, slots=True)
class Case:
    """How a verb is tried.

    Attributes:
        request: What is asked, in a world.
        worked: Checks that it was done, given the answer; it has found the server in its mode.
        stream: The stream that belongs to the request, if one does.
    """

    request: Callable[[ServedWorld], messages.Request]
    worked: Callable[[ServedWorld, Answer], object]
    stream: Callable[[ServedWorld], bytes] | None = None


NEW = uuid4()


def is_done(_: ServedWorld, answer: Answer) -> None:
    answer.reply(Done)


def is_there(path: str) -> Callable[[ServedWorld, Answer], None]:
    def check(world: ServedWorld, answer: Answer) -> None:
        answer.reply(Done)
        assert (world.directory / path).is_dir()

    return check


def is_gone(name: Callable[[ServedWorld], str]) -> Callable[[ServedWorld, Answer], None]:
    def check(world: ServedWorld, answer: Answer) -> None:
        answer.reply(Done)
        assert not os.path.lexists(world.directory / name(world))

    return check


def link_name(world: ServedWorld) -> str:
    return f".buttersink-{world.link}.link"


def leftover_name(world: ServedWorld) -> str:
    return f".buttersink-{world.leftover}.part"


def lists_both(world: ServedWorld, answer: Answer) -> None:
    found = answer.all_of(messages.Found)
    snapshots = [s for part in found for s in part.snapshots]
    assert {s.uuid for s in snapshots if s.paths} == {world.one, world.two}
    assert {p.uuid for part in found for p in part.partials} == {world.leftover, world.link}
    answer.reply(messages.Listed)


def finds_the_parent(world: ServedWorld, answer: Answer) -> None:
    ((parent,),) = [part.snapshots for part in answer.all_of(messages.Found)]
    assert parent.uuid == world.secret_1


def measures(_: ServedWorld, answer: Answer) -> None:
    ((size,),) = [part.sizes for part in answer.all_of(messages.Measured)]
    assert isinstance(size, values.SizeFacts)
    assert size.nbytes > 0


def recalls(world: ServedWorld, answer: Answer) -> None:
    ((size,),) = [part.sizes for part in answer.all_of(messages.Recalled)]
    assert (size.to, size.parent, size.nbytes) == (world.one, None, 5000)


def finds_what_is_taken(_: ServedWorld, answer: Answer) -> None:
    assert answer.reply(messages.Taken).indices == (0,)


def sends_all(_: ServedWorld, answer: Answer) -> None:
    assert answer.end.kind is Kind.END
    assert len(split(answer.data)) > 2


def outlines(_: ServedWorld, answer: Answer) -> None:
    assert answer.end.kind is Kind.END
    assert len(split(answer.data)) > 2
    assert not {Command.WRITE, Command.CLONE} & {number for number, _ in commands(answer.data)}


CASES: dict[type[messages.Request], Case] = {
    messages.ListSnapshots: Case(lambda _: messages.ListSnapshots(), lists_both),
    messages.FindParents: Case(
        lambda w: messages.FindParents(uuids=(w.secret_1,)), finds_the_parent
    ),
    messages.Measure: Case(
        lambda w: messages.Measure(diffs=(DiffAsked(to=w.one, parent=None),), options=OPTIONS),
        measures,
    ),
    messages.RecallSizes: Case(lambda w: messages.RecallSizes(uuids=(w.one,)), recalls),
    messages.FindTaken: Case(
        lambda _: messages.FindTaken(paths=(b"one", b"free")), finds_what_is_taken
    ),
    messages.AskSpace: Case(lambda _: messages.AskSpace(), is_done),
    messages.Send: Case(
        lambda w: messages.Send(diff=DiffAsked(to=w.two, parent=w.one), options=OPTIONS),
        sends_all,
    ),
    messages.Outline: Case(
        lambda w: messages.Outline(diff=DiffAsked(to=w.two, parent=w.one), version=1), outlines
    ),
    messages.Lock: Case(lambda _: messages.Lock(), is_done),
    messages.Unlock: Case(lambda _: messages.Unlock(), is_done),
    messages.Create: Case(lambda _: messages.Create(), is_done),
    messages.Receive: Case(
        lambda _: receive(NEW, "new/received"),
        is_there("new/received"),
        lambda _: made_stream(NEW),
    ),
    messages.Adopt: Case(
        lambda w: messages.Adopt(uuid=w.link, path=b"adopted"), is_there("adopted")
    ),
    messages.Release: Case(lambda w: messages.Release(uuid=w.link), is_gone(link_name)),
    messages.Flush: Case(lambda _: messages.Flush(), is_done),
    messages.Delete: Case(
        lambda w: messages.Delete(uuid=w.one, path=b"one"), is_gone(lambda _: "one")
    ),
    messages.Clean: Case(
        lambda w: messages.Clean(path=os.fsencode(leftover_name(w)), uuid=w.leftover),
        is_gone(leftover_name),
    ),
}

CHANGING = (
    messages.Receive,
    messages.Adopt,
    messages.Release,
    messages.Delete,
    messages.Clean,
)
"""What the lock is for."""

# In mode a only links of this very run can be released: another test has that.
MODE_OF_THE_CASE: dict[type[messages.Request], Mode] = {messages.Release: Mode.WRITE}


@pytest.fixture
def world(make_fs: MakeFs) -> ServedWorld:
    # With access times reading would change the file system.
    return make_served_world(make_fs(mount_options="noatime"))


def tried(client: RawClient, case: Case, world: ServedWorld) -> Answer:
    request = case.request(world)
    return client.upload(request, case.stream(world)) if case.stream else client.ask(request)


def test_there_is_a_mode_for_each_request() -> None:
    assert set(LEAST_MODE) == set(AnyRequest.__args__)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [(kind, mode) for kind, least in LEAST_MODE.items() for mode in Mode if mode < least],
    ids=lambda value: value.letter if isinstance(value, Mode) else value.__name__,
)
def test_a_verb_is_refused_below_its_mode_and_changes_nothing(
    world: ServedWorld, kind: type[messages.Request], mode: Mode
) -> None:
    before, number = picture(world.fs), transaction(world.fs)
    with world.server(mode) as client:
        failure = tried(client, CASES[kind], world).failure
        assert failure.kind == "RefusedError"
        assert b"needs mode" in failure.message
        client.ask(messages.ListSnapshots()).reply(messages.Listed)
        assert client.end().status == 0
    assert transaction(world.fs) == number
    assert_unchanged(before, world.fs)


@pytest.mark.parametrize("kind", LEAST_MODE, ids=lambda kind: kind.__name__)
def test_a_verb_works_in_its_mode(world: ServedWorld, kind: type[messages.Request]) -> None:
    case = CASES[kind]
    with world.server(MODE_OF_THE_CASE.get(kind, LEAST_MODE[kind])) as client:
        case.worked(world, tried(client, case, world))
        assert client.end().stderr == ""


def test_reading_changes_not_one_byte(world: ServedWorld) -> None:
    before, number = picture(world.fs), transaction(world.fs)
    with world.server(Mode.READ) as client:
        for kind, least in LEAST_MODE.items():
            if least is Mode.READ:
                CASES[kind].worked(world, tried(client, CASES[kind], world))
        assert client.end().status == 0
    assert transaction(world.fs) == number
    assert_unchanged(before, world.fs)


def test_a_link_of_another_run_can_be_released_in_mode_w_only(world: ServedWorld) -> None:
    before = picture(world.fs)
    with world.server(Mode.APPEND) as client:
        failure = client.ask(messages.Release(uuid=world.link)).failure
        assert failure.kind == "RefusedError"
        client.end()
    assert_unchanged(before, world.fs)


def test_a_link_of_this_run_can_be_released_in_mode_a_once(world: ServedWorld) -> None:
    with world.server(Mode.APPEND) as client:
        client.upload(receive(NEW, "new", link=True), made_stream(NEW)).reply(Done)
        client.ask(messages.Release(uuid=NEW)).reply(Done)
        # Another run may have made one of the same name meanwhile.
        with world.server(Mode.APPEND) as other:
            other.upload(receive(NEW, "new", link=True), made_stream(NEW)).reply(Done)
        client.ask(messages.ListSnapshots()).reply(Done)
        assert client.ask(messages.Release(uuid=NEW)).failure.kind == "RefusedError"
    assert (world.directory / f".buttersink-{NEW}.link").is_dir()


@pytest.mark.parametrize("mode", Mode)
def test_a_server_says_what_it_serves(world: ServedWorld, mode: Mode) -> None:
    with RawClient("--server", "--mode", mode.letter, os.fspath(world.directory)) as client:
        hello = client.greet()
    assert (hello.mode, hello.directory, hello.missing) == (
        mode.letter,
        os.fsencode(world.directory) + b"/",
        False,
    )


def test_nothing_is_changed_while_another_run_holds_the_lock(world: ServedWorld) -> None:
    before = picture(world.fs)
    with world.server(Mode.APPEND) as running, world.server(Mode.WRITE) as client:
        running.ask(messages.Lock()).reply(Done)
        for kind in CHANGING:
            assert tried(client, CASES[kind], world).failure.kind == "BusyError"
        assert_untouched(before, world.fs)
        running.ask(messages.Unlock()).reply(Done)
        for kind in CHANGING:
            CASES[kind].worked(world, tried(client, CASES[kind], world))


def test_what_may_be_no_leftover_is_not_removed_for_a_client(world: ServedWorld) -> None:
    create_subvolume(world.directory / "draft.part")
    before = picture(world.fs)
    with world.server(Mode.WRITE) as client:
        found = client.ask(messages.ListSnapshots()).all_of(messages.Found)
        (draft,) = [p for part in found for p in part.partials if p.uuid is None]
        assert (draft.path, bool(draft.guarded)) == (b"draft.part", True)
        failure = client.ask(messages.Clean(path=draft.path, uuid=None)).failure
        assert failure.kind == "RefusedError"
        assert b"by hand" in failure.hint
        client.end()
    assert_untouched(before, world.fs)


@pytest.mark.parametrize("kind", [*CHANGING, messages.Flush, messages.Lock])
def test_in_a_directory_that_is_missing_there_is_nothing_to_change(
    world: ServedWorld, kind: type[messages.Request]
) -> None:
    before = picture(world.fs)
    with RawClient.greeted(Mode.WRITE, world.directory / "missing") as client:
        failure = tried(client, CASES[kind], world).failure
        assert failure.kind == "MissingError"
        assert failure.message.endswith(b"missing/ does not exist")
        client.end()
    assert_unchanged(before, world.fs)
