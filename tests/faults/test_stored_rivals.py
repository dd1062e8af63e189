"""Two runs that store the same at once: each object is there once, and is right."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import PathTakenError
from buttersink.model import Diff
from contract.carrying import OPTIONS, carry
from support.command import Argument, buttersink, directory
from support.history import simple_history
from support.processes import Background, wait_until
from support.proxy import S3Proxy
from support.stored_ends import BucketEnd, streams
from support.stored_runs import (
    MIB,
    Bucket,
    Directory,
    Goal,
    Ran,
    endpoint_port,
    memory_source,
    random_contents,
    run,
)

if TYPE_CHECKING:
    from pathlib import Path

    from support.loopfs import LoopFs
    from support.s3_servers import S3Server

CONTENTS = random_contents(large=6 * MIB)
ROUNDS = 2


@pytest.fixture
def bucket(seaweed: S3Server, tmp_path: Path) -> Bucket:
    return Bucket(seaweed, tmp_path)


def assert_refused(name: str, *arguments: Argument) -> None:
    """Fail unless a run says in one line that another one is at work."""
    done = buttersink(*arguments)
    assert done.status == 1, done
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: another run is ")
    assert name in line


class TestOnOneMachine:
    @pytest.fixture
    def source(self, fs_a: LoopFs) -> bytes:
        simple_history(fs_a, 1, size=4 * MIB)
        return directory(fs_a.path / "snaps")

    def test_the_second_run_to_a_directory_gives_up(self, source: bytes, scratch: Path) -> None:
        end = Directory(scratch / "streams")
        end.path.mkdir()
        with Background("--bwlimit", "100K", source, end.url) as first:
            first.wait_for_handlers()
            wait_until(lambda: first.ended() or is_locked(end), "it was at work")
            assert_refused(end.url, source, end.url)
            assert buttersink("--dry-run", source, end.url).status == 0
            assert not first.ended()
        assert buttersink(source, end.url).status == 0
        assert len(streams(end)) == 1

    def test_the_second_run_to_a_prefix_gives_up(self, source: bytes, seaweed: S3Server) -> None:
        end = BucketEnd(seaweed)
        with S3Proxy(endpoint_port(seaweed)) as proxy:
            arguments = ("--endpoint-url", proxy.url, source, end.url)
            with Background("--bwlimit", "100K", *arguments) as first:
                wait_until(lambda: first.ended() or proxy.requests(), "it was at work")
                assert_refused(end.url, *arguments)
                assert not first.ended()
            assert buttersink(*arguments).status == 0
        assert len(streams(end)) == 1


def is_locked(end: Directory) -> bool:
    """Whether a process holds the lock of a directory (format: /proc/locks, proc(5))."""
    inode = end.path.stat().st_ino
    with open("/proc/locks", encoding="ascii") as lines:
        return any(line.split()[-3].endswith(f":{inode}") for line in lines if "->" not in line)


def assert_right(bucket: Bucket) -> None:
    """Fail unless each stream is there once, whole, with nothing else about it."""
    assert [key.split("/")[2:4] for key in streams(bucket)] == [
        *(["home", f"{n}"] for n in (1, 2, 3)),
        *[["other", streams(bucket)[-1].split("/")[3]]],
    ]
    goal = Goal()
    with bucket.store() as store:
        assert run(store, goal.store).status == 0
    assert goal.contents() == CONTENTS
    assert (bucket.uploads(), bucket.journals()) == ([], [])


class TestOnTwoMachines:
    """S3 has no locks: what is there first counts."""

    @pytest.mark.parametrize("number", range(ROUNDS))
    def test_the_same_is_stored_once_and_right(self, bucket: Bucket, number: int) -> None:
        start = Barrier(2)

        def store_all(machine: str) -> Ran:
            with bucket.store(machine=machine) as store:
                start.wait()
                return run(memory_source(CONTENTS), store)

        with ThreadPoolExecutor(2) as pool:
            rivals = list(pool.map(store_all, ["one", "two"]))

        for ran in rivals:
            assert ran.status in {0, 3}, number
            for error in ran.errors.values():
                assert "already" in str(error), (number, error)
        assert_right(bucket)
        for machine in ("one", "two"):
            with bucket.store(machine=machine) as store:
                again = run(memory_source(CONTENTS), store)
            assert (again.status, again.done) == (0, {})

    @pytest.mark.parametrize("path", ["home/1", "other"])
    def test_who_comes_last_changes_nothing(self, bucket: Bucket, path: str) -> None:
        source = memory_source(CONTENTS)
        (uuid,) = (s.uuid for s in source.inventory().snapshots if path in s.paths)
        diff = Diff(uuid)
        with bucket.store(machine="one") as late, bucket.store(machine="two") as first:
            late.inventory()
            with (  # noqa: PT012 - the block is what is tested
                pytest.raises(PathTakenError, match="already"),
                late.receive(diff, path, OPTIONS) as writer,
            ):
                with source.send(diff, OPTIONS) as reader:
                    buffer = memoryview(bytearray(MIB))
                    while count := reader.readinto(buffer):
                        writer.write(buffer[:count])
                carry(source, first, diff, path)
                (key,) = streams(bucket)
                before = hashlib.sha256(bucket.read(key)).digest(), bucket.traces()

        assert (hashlib.sha256(bucket.read(key)).digest(), bucket.traces()) == before
        assert (bucket.uploads(), bucket.journals()) == ([], [])
