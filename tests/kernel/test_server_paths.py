"""A server that may write, and a client that names what is none of its business."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

import pytest

from buttersink.model import Mode
from buttersink.wire import messages
from buttersink.wire.frames import MAX_MESSAGE
from buttersink.wire.messages import Done
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.picture import assert_untouched, picture
from support.raw_client import RawClient
from support.served_worlds import ServedWorld, made_stream, make_served_world, receive
from support.subvolume_facts import identity, own_uuid

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeFs
    from support.raw_client import Answer

TAKEN: Final = {
    "a file": b"notes",
    "a directory": b"plain",
    "a file in a directory": b"plain/inner",
    "a snapshot": b"one",
    "a writable subvolume": b"work",
    "a link that leads out": b"way-out",
    "a link to a snapshot": b"way-to-one",
    "below a file": b"notes/new",
    "below a link that leads out": b"way-out/new",
    "below a link, an outside snapshot": b"way-out/secret-1",
    "below a link, deeper": b"way-out/new/new",
    "below a link to a snapshot": b"way-to-one/new",
}
"""Paths at which something is, or stands in the way."""

SENSELESS: Final = {
    "nothing": b"",
    "the directory": b".",
    "out": b"..",
    "out and in": b"../elsewhere/new",
    "up in the middle": b"plain/../new",
    "up at the end": b"plain/..",
    "absolute": b"/tmp/new",
    "the root": b"/",
    "an empty part": b"plain//new",
    "a slash at the end": b"new/",
    "a dot": b"./new",
    "a NUL": b"ne\0w",
    "only a NUL": b"\0",
}
"""What is no path below a directory."""

OWN: Final = {
    "a leftover": f".buttersink-{UUID(int=1)}.part".encode(),
    "a staged one": f".buttersink-{UUID(int=1)}.new".encode(),
    "a link": f".buttersink-{UUID(int=1)}.link".encode(),
    "anything else": b".buttersink-config",
    "a directory": b".buttersink-x/new",
    "deeper": b"plain/.buttersink-x",
}
"""Names that ButterSink has for itself."""

UNUSABLE: Final = {
    "in a snapshot": b"one/new",
    "a directory in a snapshot": b"one/new/new",
    "a part of 256 bytes": b"x" * 256,
    "a directory of 256 bytes": b"x" * 256 + b"/new",
    "5000 bytes": b"x" * 5000,
    "5000 bytes in short parts": b"xxxxxxxxx/" * 500 + b"new",
    "the longest": b"a/" * 32767 + b"b",
}
"""What the system can't make."""

REFUSED: Final = {
    **{f"taken: {name}": (path, "PathTakenError") for name, path in TAKEN.items()},
    **{f"senseless: {name}": (path, "UsageError") for name, path in SENSELESS.items()},
    **{f"own: {name}": (path, "UsageError") for name, path in OWN.items()},
    **{f"unusable: {name}": (path, "TransferError") for name, path in UNUSABLE.items()},
}

LEGAL: Final = {
    "a newline": b"a\nb",
    "quotes": b'it\'s "quoted" `so`',
    "a shell's delight": b"$(touch /tmp/x); rm -rf $HOME & | > *?[a] \\",
    "like an option": b"--mode",
    "not UTF-8": b"caf\xe9 \xff\xfe",
    "a surrogate": b"\xed\xb3\xbf",
    "escape sequences": b"\x1b[2J\x1b]0;title\x07\r",
    "right to left": "\u202egnp.exe".encode(),
    "spaces": b" lead and trail ",
    "three dots": b".../....",
    "255 bytes": b"x" * 255,
    "deep": b"/".join([b"0123456789"] * 300),
    "a tilde": b"~root",
    "like a leftover": b"buttersink-x.part",
}
"""Names as good as any."""


@pytest.fixture
def world(make_fs: MakeFs) -> ServedWorld:
    return make_served_world(make_fs(mount_options="noatime"))


def assert_refused(answer: Answer, kind: str, world: ServedWorld) -> None:
    failure = answer.failure
    assert failure.kind == kind, failure
    for text in (failure.message, failure.hint):
        assert b"\n" not in text
        assert b"Traceback" not in text
        assert b"secret" not in text
        assert world.outside.name.encode() not in text or b"../elsewhere" in text


class TestWhatMayBeMade:
    """In mode a; w is no wider in this."""

    @pytest.mark.parametrize("mode", [Mode.APPEND, Mode.WRITE], ids=lambda mode: mode.letter)
    @pytest.mark.parametrize("link", [False, True], ids=["plain", "link"])
    def test_nothing_is_received_at_a_wrong_path(
        self, world: ServedWorld, mode: Mode, *, link: bool
    ) -> None:
        before = picture(world.fs)
        with world.server(mode) as client:
            for path, kind in REFUSED.values():
                uuid = uuid4()
                if link and kind in {"PathTakenError", "TransferError"}:
                    continue  # a link has a name of its own, and leaves its path alone
                answer = client.upload(receive(uuid, path, link=link), made_stream(uuid))
                assert_refused(answer, kind, world)
            assert client.end().status == 0
        assert_untouched(before, world.fs)

    @pytest.mark.parametrize("mode", [Mode.APPEND, Mode.WRITE], ids=lambda mode: mode.letter)
    def test_nothing_is_put_at_a_wrong_path(self, world: ServedWorld, mode: Mode) -> None:
        before = picture(world.fs)
        with world.server(mode) as client:
            for path, kind in REFUSED.values():
                answer = client.ask(messages.Adopt(uuid=world.two, path=path))
                assert_refused(answer, kind, world)
            assert client.end().status == 0
        assert_untouched(before, world.fs)

    def test_nothing_is_looked_for_through_a_link(self, world: ServedWorld) -> None:
        asked = (b"way-out/secret-1", b"way-out/nothing", b"way-to-one/seen", b"way-to-one/none")
        with world.server(Mode.READ) as client:
            taken = client.ask(messages.FindTaken(paths=asked)).reply(messages.Taken)
            assert taken.indices == (0, 1, 2, 3)  # in the way, whatever is behind

    def test_nothing_is_looked_for_at_a_path_that_is_none(self, world: ServedWorld) -> None:
        with world.server(Mode.READ) as client:
            for path in SENSELESS.values():
                answer = client.ask(messages.FindTaken(paths=(b"one", path)))
                assert_refused(answer, "UsageError", world)
            for path in UNUSABLE.values():
                answer = client.ask(messages.FindTaken(paths=(b"one", path)))
                assert answer.reply(messages.Taken).indices == (0,)

    @pytest.mark.parametrize("kind", ["leftover", "link"])
    def test_what_another_run_left_stays(self, world: ServedWorld, kind: str) -> None:
        before = picture(world.fs)
        with world.server(Mode.APPEND) as client:
            uuid: UUID = getattr(world, kind)
            if kind == "link":
                answer = client.upload(receive(uuid, "x", link=True), made_stream(uuid))
                assert_refused(answer, "PathTakenError", world)
                assert_refused(client.ask(messages.Release(uuid=uuid)), "RefusedError", world)
            suffix = "part" if kind == "leftover" else "link"
            name = f".buttersink-{uuid}.{suffix}".encode()
            for refused in (messages.Clean(path=name, uuid=uuid), messages.Delete(uuid, name)):
                assert_refused(client.ask(refused), "RefusedError", world)
            client.end()
        assert_untouched(before, world.fs)

    def test_a_directory_that_is_missing_has_to_be_made_first(self, world: ServedWorld) -> None:
        before = picture(world.fs)
        directory = world.directory / "plain" / "missing" / "deep"
        with RawClient.greeted(Mode.APPEND, directory) as client:
            for request in (
                messages.Lock(),
                messages.Adopt(uuid=world.two, path=b"new"),
                receive(uuid4(), "new"),
                messages.Release(uuid=world.link),
            ):
                assert client.ask(request).failure.kind in {"MissingError", "RefusedError"}
            client.ask(messages.Create()).reply(Done)
            uuid = uuid4()
            client.upload(receive(uuid, "new"), made_stream(uuid)).reply(Done)
            client.end()
        assert identity(directory / "new") == str(uuid)
        assert before.lines.keys() < picture(world.fs).lines.keys()

    @pytest.mark.parametrize("name", LEGAL)
    def test_any_legal_name_survives(self, world: ServedWorld, name: str) -> None:
        path, uuid = LEGAL[name], uuid4()
        before = picture(world.fs)
        with world.server(Mode.WRITE) as client:
            client.upload(receive(uuid, path), made_stream(uuid)).reply(Done)
            full = os.path.join(os.fsencode(world.directory), path)
            assert os.path.isdir(full)
            found = client.ask(messages.ListSnapshots()).all_of(messages.Found)
            assert (path,) in {s.paths for part in found for s in part.snapshots if s.uuid == uuid}
            taken = client.ask(messages.FindTaken(paths=(path,))).reply(messages.Taken)
            assert taken.indices == (0,)
            client.ask(messages.Delete(uuid=uuid, path=path)).reply(Done)
            assert not os.path.lexists(full)
            client.ask(messages.Adopt(uuid=world.two, path=path)).reply(Done)
            assert os.path.isdir(full)
            client.end()
        assert before.lines.keys() <= picture(world.fs).lines.keys()


class TestWhatMayBeDeleted:
    """In mode w."""

    @pytest.fixture
    def client(self, world: ServedWorld) -> object:
        with world.server(Mode.WRITE) as client:
            yield client

    def test_nothing_but_a_listed_snapshot(self, world: ServedWorld, client: RawClient) -> None:
        work = UUID(own_uuid(world.directory / "work"))
        top = UUID(own_uuid(world.fs.path))
        wrong = {
            "another uuid": (world.two, b"one"),
            "no such uuid": (uuid4(), b"one"),
            "no such path": (world.one, b"three"),
            "an outside one": (world.secret_1, b"secret-1"),
            "an outside one by ..": (world.secret_1, b"../elsewhere/secret-1"),
            "an outside one by a link": (world.secret_1, b"way-out/secret-1"),
            "an outside one, absolute": (world.secret_1, os.fsencode(world.outside / "secret-1")),
            "an outside one from the top": (world.secret_1, b"elsewhere/secret-1"),
            "an outside one as inside": (world.secret_1, b"one"),
            "by a link to it": (world.one, b"way-to-one"),
            "with a dot": (world.one, b"./one"),
            "with a slash": (world.one, b"one/"),
            "through another": (world.one, b"plain/../one"),
            "with a NUL": (world.one, b"one\0"),
            "a writable one": (work, b"work"),
            "the outside live one": (world.secret_live, b"../elsewhere/secret-live"),
            "the directory": (top, b""),
            "the directory by a dot": (top, b"."),
            "above": (top, b".."),
            "an ordinary directory": (top, b"plain"),
            "a file": (top, b"notes"),
            "a leftover": (world.leftover, f".buttersink-{world.leftover}.part".encode()),
            "a link": (world.link, f".buttersink-{world.link}.link".encode()),
        }
        before = picture(world.fs)
        for name, (uuid, path) in wrong.items():
            answer = client.ask(messages.Delete(uuid=uuid, path=path))
            assert answer.failure.kind == "MissingError", (name, answer.failure)
        client.end()
        assert_untouched(before, world.fs)

    def test_nothing_but_a_listed_leftover(self, world: ServedWorld, client: RawClient) -> None:
        wrong = [
            (b"work", None),
            (b"one", world.one),
            (b"plain", None),
            (b"notes", None),
            (b"", None),
            (b"..", None),
            (b"../elsewhere/secret-1", world.secret_1),
            (f".buttersink-{world.leftover}.part".encode(), None),
            (f".buttersink-{world.leftover}.part".encode(), world.one),
            (f"plain/../.buttersink-{world.leftover}.part".encode(), world.leftover),
        ]
        before = picture(world.fs)
        for path, uuid in wrong:
            answer = client.ask(messages.Clean(path=path, uuid=uuid))
            assert answer.failure.kind == "MissingError", (path, answer.failure)
        for uuid in (world.one, world.secret_1, world.leftover, uuid4()):
            assert client.ask(messages.Release(uuid=uuid)).failure.kind == "MissingError"
        client.end()
        assert_untouched(before, world.fs)

    def test_what_lies_outside_in_its_own_leftovers_stays(
        self, world: ServedWorld, client: RawClient
    ) -> None:
        leftover = uuid4()
        name = f".buttersink-{leftover}.part"
        create_subvolume(world.outside / name)
        before = picture(world.fs)
        client.ask(messages.ListSnapshots()).reply(messages.Listed)
        for path in (name, f"../elsewhere/{name}", f"way-out/{name}"):
            answer = client.ask(messages.Clean(path=path.encode(), uuid=leftover))
            assert answer.failure.kind == "MissingError"
        client.end()
        assert_untouched(before, world.fs)

    def test_not_what_has_taken_the_place_of_a_snapshot(
        self, world: ServedWorld, client: RawClient
    ) -> None:
        client.ask(messages.ListSnapshots()).reply(messages.Listed)
        (world.directory / "one").rename(world.directory / "moved")
        (world.directory / "one").symlink_to("../elsewhere/secret-1")
        (world.directory / "two").rename(world.directory / "moved too")
        snapshot_read_only(world.outside / "secret-2", world.directory / "two")
        before = picture(world.fs)
        for uuid, path in ((world.one, b"one"), (world.two, b"two")):
            answer = client.ask(messages.Delete(uuid=uuid, path=path))
            assert answer.failure.kind == "MissingError"
        client.end()
        assert_untouched(before, world.fs)

    def test_not_through_a_directory_that_has_become_a_link(
        self, world: ServedWorld, client: RawClient
    ) -> None:
        inner = world.directory / "plain" / "secret-1"
        snapshot_read_only(world.outside / "secret-live", inner)
        uuid = UUID(own_uuid(inner))
        client.ask(messages.ListSnapshots()).reply(messages.Listed)
        (world.directory / "plain").rename(world.directory / "moved")
        (world.directory / "plain").symlink_to("../elsewhere")
        before = picture(world.fs)
        answer = client.ask(messages.Delete(uuid=uuid, path=b"plain/secret-1"))
        assert answer.failure.kind == "MissingError"
        client.end()
        assert_untouched(before, world.fs)

    def test_only_the_one_that_is_meant(self, world: ServedWorld, client: RawClient) -> None:
        before = picture(world.fs)
        client.ask(messages.Delete(uuid=world.one, path=b"one")).reply(Done)
        client.end()
        assert before.lines.keys() - picture(world.fs).lines.keys() == {"served/one"}


class TestMounts:
    """What is mounted below the directory is not the directory's."""

    @pytest.fixture
    def client(self, world: ServedWorld) -> object:
        (world.outside / "deep").mkdir()
        world.fs.mount_again(world.directory / "plain", bind=world.outside)
        with world.server(Mode.WRITE) as client:
            yield client

    def test_are_not_written_to(self, world: ServedWorld, client: RawClient) -> None:
        def times() -> dict[Path, int]:
            places = (world.outside, world.outside / "deep")
            return {p: os.stat(p).st_mtime_ns for top in places for p in (top, *top.iterdir())}

        before = times()
        for path in ("plain/new", "plain/deep/new", "plain/newer/new"):
            uuid = uuid4()
            for answer in (
                client.upload(receive(uuid, path), made_stream(uuid)),
                client.ask(messages.Adopt(uuid=world.two, path=path.encode())),
            ):
                assert answer.failure.kind == "TransferError"
                assert b"mounted in the way" in answer.failure.hint
        assert times() == before

    def test_are_not_looked_into(self, client: RawClient) -> None:
        paths = (b"plain/secret-1", b"plain/secret-live/base", b"plain/nothing", b"plain")
        taken = client.ask(messages.FindTaken(paths=paths)).reply(messages.Taken)
        assert taken.indices == (3,)

    def test_hide_no_snapshot_that_could_be_deleted(
        self, world: ServedWorld, make_fs: MakeFs
    ) -> None:
        inner = world.directory / "work" / "inner"
        snapshot_read_only(world.outside / "secret-live", inner)
        uuid = UUID(own_uuid(inner))
        other = make_fs(label="other")
        create_subvolume(other.path / "inner")
        other.mount_again(world.directory / "work")
        with world.server(Mode.WRITE) as client:
            answer = client.ask(messages.Delete(uuid=uuid, path=b"work/inner"))
        assert answer.failure.kind == "TransferError"
        assert (other.path / "inner").is_dir()


def test_a_listing_may_be_longer_than_a_message(world: ServedWorld) -> None:
    deep = world.directory.joinpath(*["x" * 250] * 14)
    deep.mkdir(parents=True)
    leftovers = {uuid4() for _ in range(2500)}
    for uuid in leftovers:
        create_subvolume(deep / f".buttersink-{uuid}.part")
    with world.server(Mode.READ) as client:
        answer = client.ask(messages.ListSnapshots())
    assert sum(map(len, answer.items)) > MAX_MESSAGE
    assert max(map(len, answer.items)) < MAX_MESSAGE / 6
    told = {p.uuid for part in answer.all_of(messages.Found) for p in part.partials}
    assert leftovers <= told
