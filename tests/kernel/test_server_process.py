"""A server as a process: its greeting, its environment, and what it lacks."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
import pytest

from buttersink.model import Mode
from buttersink.wire import messages
from buttersink.wire.frames import PREAMBLE, Kind, encode_frame
from buttersink.wire.messages import Done, decode
from buttersink.wire.values import Failure
from support.kernel_calls import create_subvolume
from support.picture import assert_unchanged, picture
from support.raw_client import RawClient, hello, server_arguments
from support.served_worlds import (
    ServedWorld,
    made_stream,
    make_served_world,
    receive,
)
from support.started_servers import GREETING, gave_up, started

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeFs


@pytest.fixture
def world(make_fs: MakeFs) -> ServedWorld:
    return make_served_world(make_fs(mount_options="noatime"))


def test_the_environment_is_not_passed_on(world: ServedWorld, tmp_path: Path) -> None:
    program = tmp_path / "btrfs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n", encoding="utf-8")
    program.chmod(0o755)
    environment = {"PATH": os.fspath(tmp_path), "SHELL": os.fspath(program)}
    arguments = server_arguments(Mode.APPEND, world.directory)
    with RawClient(*arguments, environment=environment) as client:
        client.greet()
        uuid = uuid4()
        client.upload(receive(uuid, "new"), made_stream(uuid)).reply(Done)
        client.end()
    assert not (tmp_path / "was-run").exists()


def test_a_directory_that_is_a_writable_subvolume_can_be_served(world: ServedWorld) -> None:
    create_subvolume(world.directory / "work" / "nested")
    with started(world.directory / "work") as client:
        client.greet()
        uuid = uuid4()
        client.upload(receive(uuid, "new"), made_stream(uuid)).reply(Done)
        client.ask(messages.Delete(uuid=uuid, path=b"new")).reply(Done)
        client.end()
    assert (world.directory / "work" / "nested").is_dir()


class TestTheGreeting:
    @pytest.mark.parametrize(("oldest", "newest"), [(900, 901), (0, 0)])
    def test_of_another_version_is_told_so_whatever_else_it_says(
        self, world: ServedWorld, oldest: int, newest: int
    ) -> None:
        told = {"release": "9", "oldest": oldest, "newest": newest, "stall_seconds": "later"}
        with started(world.directory) as client:
            client.write(PREAMBLE + encode_frame(Kind.HELLO, msgspec.msgpack.encode(told)))
            said = client.next()
            assert said is not None
            assert said.kind is Kind.ERROR
            failure = decode(said.payload, Failure)
            assert b"does not speak with 9 here" in failure.message
            side = b"there" if newest > 0 else b"on this host"
            assert failure.hint == b"upgrade ButterSink " + side
            assert client.end().stderr == ""

    @pytest.mark.parametrize("seconds", [-1.0, 0.0, 1e9, float("inf"), float("nan")])
    def test_may_ask_for_any_time_and_gets_the_nearest(
        self, world: ServedWorld, seconds: float
    ) -> None:
        with started(world.directory) as client:
            client.greet(hello(stall_seconds=seconds))


class TestTheProcess:
    def test_takes_names_for_utf8_or_gives_up(self, world: ServedWorld) -> None:
        environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        words = server_arguments(Mode.WRITE, world.directory)
        with RawClient(*words, environment=environment) as client:
            assert "not UTF-8" in gave_up(client)

    @pytest.mark.parametrize("descriptors", range(5, 12))
    def test_says_what_it_lacks_in_one_line(self, world: ServedWorld, descriptors: int) -> None:
        done = served_by_shell(f"ulimit -n {descriptors}", world.directory, GREETING)
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == (done.returncode != 0)

    def test_says_of_a_failure_that_nobody_foresaw_where_it_was(self, world: ServedWorld) -> None:
        with started(world.directory) as client:
            client.greet()
            client.limit(resource.RLIMIT_NOFILE, 3)
            failure = client.ask(messages.FindTaken(paths=(b"one",))).failure
            assert failure == Failure("ButterSinkError", b"the server failed: OSError", b"")
            client.limit(resource.RLIMIT_NOFILE, 100)
            client.ask(messages.FindTaken(paths=(b"one",))).reply(Done)
            (line,) = client.end().stderr.splitlines()
        start = "buttersink server: a request failed with OSError at buttersink.stores."
        assert line.startswith(start)

    @pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
    def test_needs_no_standard_descriptor(self, world: ServedWorld, closed: str) -> None:
        before = picture(world.fs)
        done = served_by_shell(f"exec {closed}", world.directory, GREETING)
        assert (done.returncode, done.stderr) == (0, "")
        assert_unchanged(before, world.fs)

    @pytest.mark.parametrize("stderr", ["&-", "/dev/full"])
    def test_never_complains_where_the_client_listens(
        self, world: ServedWorld, stderr: str
    ) -> None:
        done = served_by_shell(f"exec 2>{stderr}", world.directory / "a/../b", GREETING)
        assert (done.returncode, done.stdout) == (2, "")


def served_by_shell(first: str, directory: Path, said: bytes) -> subprocess.CompletedProcess[str]:
    """Run a server in whose place a shell does something first."""
    script = f'{first}; exec "$0" -m buttersink "$@"'
    return subprocess.run(
        ["sh", "-c", script, sys.executable, *server_arguments(Mode.WRITE, directory)],
        check=False,
        input=said.decode("latin-1"),
        capture_output=True,
        encoding="latin-1",
    )
