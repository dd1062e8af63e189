"""How a server is started: only what its command line grants, in that directory, is served."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from buttersink.model import Mode
from buttersink.wire import messages
from buttersink.wire.frames import Kind
from buttersink.wire.messages import Done, Ready, decode
from buttersink.wire.values import Failure
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.picture import assert_unchanged, picture
from support.raw_client import RawClient
from support.served_worlds import (
    ServedWorld,
    lasting_served_world,
    made_stream,
    make_served_world,
    receive,
)
from support.started_servers import GREETING, gave_up, refusal, started

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from conftest import MakeFs
    from support.picture import Picture


@pytest.fixture
def world(make_fs: MakeFs) -> ServedWorld:
    return make_served_world(make_fs(mount_options="noatime"))


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[ServedWorld, Picture]]:
    """Return a world that nothing may change, and its picture."""
    with lasting_served_world() as made:
        yield made


def command(directory: Path | str, letter: str = "w") -> str:
    return f"sudo buttersink --server --mode {letter} {directory}"


def assert_too_long(client: RawClient) -> None:
    """Check that a server says so, in place of its greeting or as soon as it is to make it."""
    client.write(GREETING)
    said = client.next()
    assert said is not None
    if said.kind is Kind.HELLO:
        failure = client.ask(messages.Create()).failure
    else:
        failure = decode(said.payload, Failure)
    assert failure.kind == "TransferError"
    assert b"File name too long" in failure.message
    run = client.end()
    assert (run.status, run.stderr) == (0, "")


class TestTheCommandLine:
    @pytest.mark.parametrize(
        "words",
        [
            ["--server"],
            ["--server", "--mode"],
            ["--server", "--mode", "w"],
            ["--server", "--mode", "rw", "{}"],
            ["--server", "--mode", "", "{}"],
            ["--server", "--mode", "W", "{}"],
            ["--server", "--mode=w", "{}"],
            ["--mode", "w", "--server", "{}"],
            ["--server", "--mode", "w", "{}", "{}"],
            ["--server", "--mode", "r", "{}", "--mode", "w", "{}"],
            ["--server", "--server", "--mode", "w", "{}"],
            ["--server", "--mode", "w", "--", "{}"],
            ["--server", "--mode", "w", "{}", "--ssh-command", "sh"],
            ["--quiet", "--server", "--mode", "w", "{}"],
            ["--server", "--mode", "w", "relative/"],
            ["--server", "--mode", "w", ""],
            ["--server", "--mode", "w", "{}/../elsewhere/"],
            ["--server", "--mode", "w", "{}//plain/"],
            ["--server", "--mode", "w", "{}/./"],
            ["--server", "--mode", "w", "{}//"],
            ["--server", "--mode", "w", "a\nb\x1b[2J"],
            ["{}", "{}", "--server"],
        ],
        ids=lambda words: " ".join(words).encode("unicode_escape").decode(),
    )
    def test_of_another_shape_ends_with_status_2(
        self, shared: tuple[ServedWorld, Picture], words: Sequence[str]
    ) -> None:
        world, before = shared
        with RawClient(*(word.format(world.directory) for word in words)) as client:
            assert gave_up(client).startswith("2 buttersink server: ")
        assert_unchanged(before, world.fs)

    def test_may_lead_through_links_of_who_wrote_it(self, world: ServedWorld) -> None:
        shortcut = world.fs.path / "shortcut"
        shortcut.symlink_to("served")
        with started(shortcut) as client:
            assert client.greet().directory == os.fsencode(shortcut) + b"/"
            client.ask(messages.Delete(uuid=world.one, path=b"one")).reply(Done)

    @pytest.mark.parametrize("name", ["notes", "one", "way-to-one"])
    def test_of_what_is_no_directory_of_snapshots_is_told_in_the_greeting(
        self, world: ServedWorld, name: str
    ) -> None:
        before = picture(world.fs)
        with started(world.directory / name) as client:
            assert refusal(client).kind in {"UsageError", "IsSnapshotError"}
        assert_unchanged(before, world.fs)

    def test_of_a_directory_elsewhere_is_told_in_the_greeting(self, tmp_path: Path) -> None:
        with started(tmp_path) as client:
            assert refusal(client).kind in {"NotBtrfsError", "NotPermittedError"}

    @pytest.mark.parametrize("name", ["x" * 300, "/".join(["deep"] * 2000)])
    def test_of_a_directory_that_can_not_be_made(self, world: ServedWorld, name: str) -> None:
        before = picture(world.fs)
        with started(world.directory / name) as client:
            assert_too_long(client)
        assert_unchanged(before, world.fs)

    @pytest.mark.parametrize("inside", ["", "new", "new/deeper", "missing"])
    def test_of_what_a_transfer_has_made_is_refused(self, world: ServedWorld, inside: str) -> None:
        made = world.directory / f".buttersink-{world.leftover}.part"
        create_subvolume(made / "new")
        (made / "new" / "deeper").mkdir()
        before = picture(world.fs)
        with started(made / inside) as client:
            assert refusal(client).kind == "RefusedError"
        assert_unchanged(before, world.fs)


class TestAForcedCommand:
    """What the client asked for is in SSH_ORIGINAL_COMMAND, and only narrows."""

    @pytest.mark.parametrize("granted", Mode, ids=lambda mode: mode.letter)
    @pytest.mark.parametrize("asked", Mode, ids=lambda mode: mode.letter)
    def test_the_mode_is_the_lesser_one(
        self, world: ServedWorld, granted: Mode, asked: Mode
    ) -> None:
        wanted = command(world.directory, asked.letter)
        with started(world.directory, mode=granted, asked=wanted) as client:
            assert client.greet().mode == min(granted, asked).letter
            uuid = uuid4()
            made = client.upload(receive(uuid, "new"), made_stream(uuid))
            gone = client.ask(messages.Delete(uuid=world.one, path=b"one"))
        assert (world.directory / "new").exists() == (min(granted, asked) >= Mode.APPEND)
        assert (world.directory / "one").exists() == (min(granted, asked) < Mode.WRITE)
        refused = [answer.end.kind is Kind.ERROR for answer in (made, gone)]
        assert refused == [min(granted, asked) < mode for mode in (Mode.APPEND, Mode.WRITE)]

    def test_a_directory_beneath_is_all_that_is_served(self, world: ServedWorld) -> None:
        snapshot_read_only(world.outside / "secret-live", world.directory / "plain" / "inside")
        wanted = command(world.directory / "plain")
        with started(world.directory, asked=wanted) as client:
            assert client.greet().directory == os.fsencode(world.directory / "plain") + b"/"
            parts = client.ask(messages.ListSnapshots()).all_of(messages.Found)
            assert [s.paths for part in parts for s in part.snapshots] == [(b"inside",)]
            for path in (b"one", b"../one"):
                answer = client.ask(messages.Delete(uuid=world.one, path=path))
                assert answer.failure.kind == "MissingError"
            uuid = uuid4()
            client.upload(receive(uuid, "new"), made_stream(uuid)).reply(Done)
            client.end()
        assert (world.directory / "plain" / "new").is_dir()
        assert (world.directory / "one").is_dir()

    def test_what_another_client_is_sending_can_not_be_named(self, world: ServedWorld) -> None:
        uuid = uuid4()
        stream = made_stream(uuid)
        with world.server(Mode.APPEND) as victim:
            victim.ask(receive(uuid, "new")).reply(Ready)
            victim.send_data(stream[:-40])
            inner = world.directory / f".buttersink-{uuid}.part" / "new"
            with started(world.directory, asked=command(inner)) as client:
                assert "names that begin with .buttersink- belong to transfers" in gave_up(client)
            victim.send_data(stream[-40:])
            victim.send(Kind.END)
            victim.answer().reply(Done)
        assert os.listdir(world.directory / "new") == [f"file of {uuid}"]

    def test_another_mount_beneath_is_not_entered(self, world: ServedWorld) -> None:
        world.fs.mount_again(world.directory / "plain", bind=world.outside)
        for beneath in ("plain", "plain/new"):
            with started(world.directory, asked=command(world.directory / beneath)) as client:
                failure = refusal(client)
            assert failure.kind == "RefusedError"
            assert b"is mounted" in failure.message
        with started(world.directory / "plain") as client:  # who started it may mean that
            client.greet()

    def test_a_directory_beneath_that_is_missing_can_be_made(self, world: ServedWorld) -> None:
        wanted = command(world.directory / "plain" / "a" / "b")
        with started(world.directory, asked=wanted) as client:
            assert client.greet().missing
            client.ask(messages.Create()).reply(Done)
            client.end()
        assert (world.directory / "plain" / "a" / "b").is_dir()

    @pytest.mark.parametrize(
        "beneath",
        ["way-out", "way-out/secret-live", "way-to-one", "notes", "notes/x", "one", "one/x"],
    )
    def test_a_link_beneath_is_not_followed(
        self, shared: tuple[ServedWorld, Picture], beneath: str
    ) -> None:
        world, before = shared
        with started(world.directory, asked=command(world.directory / beneath)) as client:
            client.write(GREETING)
            said = client.next()
            assert said is not None
            if said.kind is Kind.HELLO:  # in a snapshot, where nothing can be made
                answer = client.ask(messages.Create())
                assert answer.failure.kind == "TransferError"
            else:
                assert decode(said.payload, Failure).kind in {
                    "RefusedError",
                    "UsageError",
                    "IsSnapshotError",
                }
            client.end()
            assert b"secret" not in client.heard.stdout + client.heard.stderr
        assert_unchanged(before, world.fs)

    def test_a_link_that_comes_between_is_not_followed(self, world: ServedWorld) -> None:
        wanted = command(world.directory / "plain" / "a" / "b")
        with started(world.directory, asked=wanted) as client:
            assert client.greet().missing
            (world.directory / "plain" / "a").symlink_to(world.outside)
            before = picture(world.fs)
            assert client.ask(messages.Create()).failure.kind == "PathTakenError"
            client.end()
        assert_unchanged(before, world.fs)

    @pytest.mark.parametrize("beneath", ["x" * 300, "/".join(["deep"] * 2000)])
    def test_a_name_that_is_too_long_is_told_in_one_line(
        self, world: ServedWorld, beneath: str
    ) -> None:
        before = picture(world.fs)
        with started(world.directory, asked=command(world.directory / beneath)) as client:
            assert_too_long(client)
        assert_unchanged(before, world.fs)

    @pytest.mark.parametrize(
        "asked",
        [
            "",
            "sh",
            "scp -t /etc/passwd",
            "sudo buttersink --server --mode w {outside}/",
            "sudo buttersink --server --mode w {top}/",
            "sudo buttersink --server --mode w /",
            "sudo buttersink --server --mode w {directory}-too/",
            "sudo buttersink --server --mode w {directory}/../elsewhere/",
            "sudo buttersink --server --mode w {directory}/; rm -rf /",
            "sudo buttersink --server --mode w {directory}/ && sh",
            "sudo buttersink --server --mode w '{directory}/",
            "sudo buttersink --server --mode x {directory}/",
            "x " * 10_000,
            "x" * 100_000,
            "\x1b[2J\n\n",
        ],
        ids=range(15),
    )
    def test_anything_wider_is_refused(
        self, shared: tuple[ServedWorld, Picture], asked: str
    ) -> None:
        world, before = shared
        places = {"directory": world.directory, "outside": world.outside, "top": world.fs.path}
        with started(world.directory, asked=asked.format(**places)) as client:
            line = gave_up(client)
        assert line.startswith("1 buttersink server: this key is for buttersink in ")
        assert "\x1b" not in line
        assert len(line) < 1000
        assert_unchanged(before, world.fs)
