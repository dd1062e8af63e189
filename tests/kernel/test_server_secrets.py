"""What is outside the directory: nothing tells of it, and nothing but a parent is made of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from buttersink.model import Mode
from buttersink.wire import messages, values
from buttersink.wire.frames import Kind
from buttersink.wire.messages import Done
from buttersink.wire.values import DiffAsked
from support.kernel_calls import snapshot_read_only
from support.loopfs import run
from support.served_worlds import OPTIONS, ServedWorld, made_stream, make_served_world, receive
from support.stream_samples import parse, split
from support.subvolume_facts import make_read_only, make_writable, own_uuid, show

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from buttersink.wire.values import SnapshotFacts
    from conftest import MakeFs
    from support.raw_client import Answer, RawClient


@pytest.fixture
def world(make_fs: MakeFs) -> ServedWorld:
    return make_served_world(make_fs(mount_options="noatime"))


def received_copy(snapshot: Path, directory: Path, name: str, *, changed: bool = False) -> UUID:
    """Let btrfs-progs send and receive a snapshot; return the copy's own uuid."""
    stream = directory / "stream"
    run("btrfs", "--quiet", "send", "-f", stream, snapshot)
    run("btrfs", "--quiet", "receive", "-f", stream, directory)
    stream.unlink()
    copy = (directory / snapshot.name).rename(directory / name)
    if changed:
        run("btrfs", "filesystem", "sync", directory)
        make_writable(copy)
        (copy / "changed").touch()
        make_read_only(copy)
    run("btrfs", "filesystem", "sync", directory)
    return UUID(own_uuid(copy))


def assert_silent(client: RawClient, world: ServedWorld, *, besides: Collection[str] = ()) -> None:
    """Check that a server has not said a word of what is outside."""
    said = bytes(client.heard.stdout + client.heard.stderr)
    told = [name for name, secret in world.secrets.items() if secret in said]
    assert {name for name in told if not any(name.endswith(b) for b in besides)} == set()


def measured(client: RawClient, *diffs: DiffAsked) -> list[object]:
    request = messages.Measure(diffs=diffs, options=OPTIONS)
    return [size for p in client.ask(request).all_of(messages.Measured) for size in p.sizes]


def sent(client: RawClient, to: UUID, parent: UUID | None = None) -> Answer:
    return client.ask(messages.Send(diff=DiffAsked(to=to, parent=parent), options=OPTIONS))


def found(client: RawClient, *uuids: UUID) -> list[SnapshotFacts]:
    parts = client.ask(messages.FindParents(uuids=uuids)).all_of(messages.Found)
    return [s for part in parts for s in part.snapshots]


def without(text: bytes, uuid: UUID) -> bytes:
    return text.replace(str(uuid).encode(), b"it")


@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.letter)
def test_nothing_tells_of_what_is_outside(world: ServedWorld, mode: Mode) -> None:
    received_copy(world.directory / "two", world.outside, "secret-copy")
    received_copy(world.directory / "one", world.outside, "secret-twin", changed=True)
    received_copy(world.outside / "secret-1", world.directory, "changed here", changed=True)
    inside, partial = (world.one, world.two, world.link), world.leftover
    unknown = uuid4()
    with world.server(mode) as client:
        listed = client.ask(messages.ListSnapshots()).all_of(messages.Found)
        assert [p.path for part in listed for p in part.problems] == [b"changed here"]
        assert found(client, unknown, *inside, partial) == []
        diffs = [DiffAsked(to=a, parent=b) for a in (*inside, unknown) for b in (None, *inside)]
        measured(client, *diffs)
        for diff in diffs:
            sent(client, diff.to, diff.parent)
        client.ask(messages.RecallSizes(uuids=(*inside, partial, unknown)))
        for path in (b"one", b"new", b"way-out", b"way-out/x", b"one/x", b"notes/x", b"", b"a\0"):
            client.ask(messages.FindTaken(paths=(path,)))
            client.upload(receive(unknown, path, parent=world.one), made_stream(uuid4()))
            client.ask(messages.Adopt(uuid=world.two, path=path))
            client.ask(messages.Adopt(uuid=unknown, path=path))
            client.ask(messages.Delete(uuid=unknown, path=path))
            client.ask(messages.Clean(path=path, uuid=unknown))
        client.ask(messages.Release(uuid=unknown))
        client.end()
        assert_silent(client, world)


def test_what_is_outside_is_not_listed(world: ServedWorld) -> None:
    with world.server(Mode.READ) as client:
        answer = client.ask(messages.ListSnapshots())
    facts = [s for part in answer.all_of(messages.Found) for s in part.snapshots]
    assert {s.paths for s in facts} == {(b"one",), (b"two",), ()}
    assert {s.uuid for s in facts} == {world.one, world.two, world.link}
    # That they are siblings is told, but not by the identity of what they are from.
    one, two = sorted((s for s in facts if s.paths), key=lambda s: s.paths)
    assert one.parent_uuid == two.parent_uuid not in {None, world.secret_live}
    assert {s.ancestor for s in facts} == {None}
    # That they have a history in common is told, but not when it began.
    assert one.lineage is not None
    assert one.lineage == two.lineage == str(UUID(one.lineage))
    assert answer.reply(messages.Listed).outside


def test_what_siblings_have_in_common_is_called_the_same_each_time(world: ServedWorld) -> None:
    told = set()
    for _ in range(2):
        with world.server(Mode.READ) as client:
            parts = client.ask(messages.ListSnapshots()).all_of(messages.Found)
            inside = [s for part in parts for s in part.snapshots if s.paths]
            outside = found(client, world.secret_1)
            told |= {(s.parent_uuid, o.lineage) for s in inside for o in (*inside, *outside)}
    assert len(told) == 1


def test_parents_are_found_by_uuid_alone(world: ServedWorld) -> None:
    with world.server(Mode.READ) as client:
        (facts,) = found(client, world.secret_1, uuid4(), world.one)
        client.end()
        assert_silent(client, world, besides=["secret_1"])
    assert (facts.uuid, facts.paths) == (world.secret_1, ())


def test_the_live_subvolume_is_no_parent(world: ServedWorld) -> None:
    with world.server(Mode.READ) as client:
        assert found(client, world.secret_live) == []


@pytest.mark.parametrize("parent", [None, "one", "secret_2"])
def test_what_is_outside_is_as_good_as_missing(world: ServedWorld, parent: str | None) -> None:
    base: UUID | None = getattr(world, parent) if parent else None
    unknown = uuid4()
    with world.server(Mode.WRITE) as client:
        for uuids in ((world.secret_1, unknown), (world.secret_live, unknown)):
            sizes = measured(client, *(DiffAsked(to=u, parent=base) for u in uuids))
            sends = [sent(client, u, base).failure for u in uuids]
            adopted = [client.ask(messages.Adopt(uuid=u, path=b"x")).failure for u in uuids]
            deleted = [client.ask(messages.Delete(uuid=u, path=b"x")).failure for u in uuids]
            released = [client.ask(messages.Release(uuid=u)).failure for u in uuids]
            failures = [[s.failure for s in sizes if isinstance(s, values.NoSize)]]
            for pair in (*failures, sends, adopted, deleted, released):
                outside, missing = pair
                assert outside.kind == missing.kind == "MissingError"
                assert without(outside.message, uuids[0]) == without(missing.message, unknown)
    assert not (world.directory / "x").exists()


@pytest.mark.parametrize("parent", ["secret_1", "secret_2"])
def test_a_stream_may_be_sent_on_what_the_client_knows_outside(
    world: ServedWorld, parent: str
) -> None:
    base: UUID = getattr(world, parent)
    with world.server(Mode.READ) as client:
        answer = sent(client, world.one, base)
        assert answer.end.kind is Kind.END
        (size,) = measured(client, DiffAsked(to=world.one, parent=base))
        assert isinstance(size, values.SizeFacts)
        client.end()
        assert_silent(client, world, besides=[parent])
    assert size.nbytes == len(answer.data)


def test_a_snapshot_may_be_received_on_what_the_client_knows_outside(world: ServedWorld) -> None:
    uuid = uuid4()
    with world.server(Mode.APPEND) as client:
        request = receive(uuid, "new", parent=world.secret_1)
        client.upload(request, made_stream(uuid, world.secret_1)).reply(Done)
        client.end()
        assert_silent(client, world)
    assert show(world.directory / "new", "Received UUID") == str(uuid)
    assert (world.directory / "new" / "base").read_bytes() == bytes(range(256)) * 1000


def test_a_link_does_not_stand_for_what_it_claims_to_be(world: ServedWorld) -> None:
    with world.server(Mode.APPEND) as client:
        client.upload(receive(world.secret_1, "x", link=True), made_stream(world.secret_1)).reply(
            Done
        )
        client.ask(messages.ListSnapshots()).reply(Done)
        answer = sent(client, world.secret_1)
        names = [parse(command, 1)[1] for command in split(answer.data)]
        client.ask(messages.Adopt(uuid=world.secret_1, path=b"adopted")).reply(Done)
    assert os.listdir(world.directory / "adopted") == [f"file of {world.secret_1}"]
    assert not any(value == b"base" for attributes in names for value in attributes.values())


class TestWhatHasHappenedToAParentOutside:
    """Since the client was told of it; messages must not say where it is."""

    def failures(self, world: ServedWorld, client: RawClient, parent: UUID) -> list[bytes]:
        """Use a parent in all ways; return what the server says."""
        diff = DiffAsked(to=world.one, parent=parent)
        (size,) = measured(client, diff)
        assert isinstance(size, values.NoSize)
        uuid = uuid4()
        stream = made_stream(uuid, parent)
        received = client.upload(receive(uuid, "new", parent=parent), stream)
        failures = [size.failure, sent(client, world.one, parent).failure, received.failure]
        return [failure.message for failure in failures]

    def test_it_was_deleted(self, world: ServedWorld) -> None:
        with world.server(Mode.APPEND) as client:
            client.ask(messages.ListSnapshots()).reply(Done)
            run("btrfs", "--quiet", "subvolume", "delete", world.outside / "secret-1")
            said = self.failures(world, client, world.secret_1)
            client.end()
            assert_silent(client, world)
        assert len(said) == 3

    def test_it_was_made_writable(self, world: ServedWorld) -> None:
        with world.server(Mode.APPEND) as client:
            client.ask(messages.ListSnapshots()).reply(Done)
            make_writable(world.outside / "secret-1")
            said = self.failures(world, client, world.secret_1)
            client.end()
            assert_silent(client, world)
        assert len(said) == 3

    def test_it_could_not_be_told_apart(self, world: ServedWorld) -> None:
        twin = received_copy(world.directory / "one", world.outside, "secret-twin", changed=True)
        with world.server(Mode.READ) as client:
            assert [s.uuid for s in found(client, twin)] == [twin]
            failure = sent(client, world.one, twin).failure
            (size,) = measured(client, DiffAsked(to=world.one, parent=twin))
            client.end()
            assert_silent(client, world)
        assert isinstance(size, values.NoSize)
        assert failure.message == size.failure.message
        assert b"could not be told apart" in failure.message


def test_a_snapshot_that_has_gone_outside_is_seen_no_more(world: ServedWorld) -> None:
    with world.server(Mode.WRITE) as client:
        client.ask(messages.ListSnapshots()).reply(Done)
        make_writable(world.directory / "one")  # or it could not change its directory
        (world.directory / "one").rename(world.outside / "secret-one")
        make_read_only(world.outside / "secret-one")
        client.ask(messages.ListSnapshots()).reply(Done)
        assert sent(client, world.one).failure.kind == "MissingError"
        answer = client.ask(messages.Delete(uuid=world.one, path=b"one"))
        assert answer.failure.kind == "MissingError"
        client.end()
        assert_silent(client, world)
    assert (world.outside / "secret-one").is_dir()


def test_a_directory_with_nothing_outside_says_so(make_fs: MakeFs) -> None:
    fs = make_fs(mount_options="noatime")
    world = make_served_world(fs)
    for name in ("secret-1", "secret-2"):
        run("btrfs", "--quiet", "subvolume", "delete", world.outside / name)
    with world.server(Mode.READ) as client:
        assert not client.ask(messages.ListSnapshots()).reply(messages.Listed).outside
    snapshot_read_only(world.outside / "secret-live", world.outside / "secret-3")
    with world.server(Mode.READ) as client:
        assert client.ask(messages.ListSnapshots()).reply(messages.Listed).outside
