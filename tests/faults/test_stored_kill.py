"""Uploads that are killed or interrupted at any moment: gone on with, and no byte is false."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import tempfile
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from support.command import Argument, buttersink, directory
from support.faults import Fault, Side, Slow
from support.history import simple_history
from support.loopfs import LoopFs, scratch_root
from support.processes import Background, wait_until
from support.proxy import S3Proxy
from support.stored_ends import BucketEnd, streams
from support.stored_runs import Directory, endpoint_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.s3_servers import S3Server

MIB = 1 << 20
OBJECT_BYTES = 24 * MIB
"""About so many: there is nothing in it that can be compressed."""
PART_MIB = 5
JOBS = 2
RESENT_BYTES = JOBS * PART_MIB * MIB
"""What may be sent again after a kill."""
KILLS = 4
SERIES = 2
STATE = Path("/var/lib/buttersink")
STOPPED = "error: interrupted: nothing half-done counts; the next run goes on from here"
OPTIONS = ("--json", "--part-size", f"{PART_MIB}", "--jobs", f"{JOBS}")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="buttersink-test-", dir=scratch_root()) as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def source(home: Path) -> Iterator[bytes]:
    with LoopFs.create(home, label="a") as fs:
        simple_history(fs, 1, size=OBJECT_BYTES)
        yield directory(fs.path / "snaps")


@pytest.fixture(scope="module")
def undisturbed(source: bytes, home: Path) -> list[tuple[str, str]]:
    """What a run stores that nobody kills, wherever."""
    end = Directory(home / "undisturbed")
    end.path.mkdir()
    assert buttersink(*OPTIONS, source, end.url).status == 0
    return sums(end)


def sums(end: BucketEnd | Directory) -> list[tuple[str, str]]:
    """Return names, without the prefix, and SHA-256 of the streams."""
    return [
        (key.removeprefix(end.prefix), hashlib.sha256(end.read(key)).hexdigest())
        for key in streams(end)
    ]


def journals(end: BucketEnd) -> list[str]:
    """Return the names of this machine's records of uploads of what is stored there."""
    stored = [key.removeprefix(end.prefix).encode() for key in streams(end)]
    return [
        path.name
        for path in STATE.glob("*.upload")
        if any(key in path.read_bytes() for key in stored)
    ]


def open_uploads(end: BucketEnd) -> list[str]:
    """Return the keys of open uploads."""
    answer = end.client.list_multipart_uploads(Bucket=end.bucket)
    return [upload["Key"] for upload in answer.get("Uploads", ())]


def kill(run: Background) -> None:
    run.send_all(signal.SIGKILL)
    assert run.wait().status == -signal.SIGKILL, "it came too late"
    run.wait_for_all()


class TestAnUploadToABucket:
    """Through a proxy that counts."""

    @pytest.fixture
    def proxy(self, seaweed: S3Server) -> Iterator[S3Proxy]:
        with S3Proxy(endpoint_port(seaweed)) as proxy:
            # Slowly enough that a kill comes in time.
            slow = Slow(Side.REQUEST, 30 * MIB)
            proxy.inject(Fault(action=slow, operation="UploadPart", times=1_000_000))
            yield proxy

    @pytest.fixture
    def end(self, seaweed: S3Server) -> BucketEnd:
        return BucketEnd(seaweed)

    def arguments(self, proxy: S3Proxy, source: bytes, end: BucketEnd) -> tuple[Argument, ...]:
        return (*OPTIONS, "--endpoint-url", proxy.url, source, end.url)

    def assert_converges(
        self,
        arguments: tuple[Argument, ...],
        end: BucketEnd,
        undisturbed: list[tuple[str, str]],
    ) -> int:
        """Let a last run finish; return how many bytes it did not need to send again."""
        done = buttersink(*arguments)
        assert (done.status, done.stderr) == (0, "")
        assert sums(end) == undisturbed
        assert open_uploads(end) == []
        assert journals(end) == []
        resumed: int = done.the("finished")["resumed_bytes"]
        return resumed

    @pytest.mark.parametrize("seed", range(SERIES))
    def test_may_be_killed_at_any_moment(
        self,
        proxy: S3Proxy,
        end: BucketEnd,
        source: bytes,
        undisturbed: list[tuple[str, str]],
        seed: int,
    ) -> None:
        arguments = self.arguments(proxy, source, end)
        rng, start = Random(seed), proxy.body_bytes("UploadPart")
        kills = 0
        for share in sorted(rng.uniform(0, 0.9) for _ in range(KILLS)):
            at = start + int(share * OBJECT_BYTES) + kills * MIB
            with Background(*arguments) as run:
                begun = proxy.body_bytes("UploadPart")
                wait_until(
                    lambda at=at, begun=begun, run=run: (  # type: ignore[misc]  # bound now
                        run.ended() or proxy.body_bytes("UploadPart") > max(at, begun + MIB)
                    ),
                    "so much was sent",
                )
                kill(run)
            kills += 1
            assert streams(end) == []

        self.assert_converges(arguments, end, undisturbed)

        (key,) = streams(end)
        sent = proxy.body_bytes("UploadPart") - start
        assert sent - len(end.read(key)) <= kills * RESENT_BYTES

    def test_may_be_interrupted(
        self,
        proxy: S3Proxy,
        end: BucketEnd,
        source: bytes,
        undisturbed: list[tuple[str, str]],
    ) -> None:
        arguments = self.arguments(proxy, source, end)
        start = proxy.body_bytes("UploadPart")
        with Background(*arguments) as run:
            wait_until(
                lambda: run.ended() or proxy.body_bytes("UploadPart") > start + 13 * MIB,
                "so much was sent",
            )
            run.send_all(signal.SIGINT)
            done = run.wait()
        assert (done.status, done.stderr.splitlines()[-1:]) == (130, [STOPPED]), done
        assert "Traceback" not in done.stderr
        assert streams(end) == []

        assert self.assert_converges(arguments, end, undisturbed) >= PART_MIB * MIB

    def test_may_be_killed_before_it_is_on_record(
        self, proxy: S3Proxy, end: BucketEnd, source: bytes
    ) -> None:
        arguments = self.arguments(proxy, source, end)
        already = proxy.counts()["CreateMultipartUpload"]
        with Background(*arguments) as run:
            wait_until(
                lambda: run.ended() or proxy.counts()["CreateMultipartUpload"] > already, "it began"
            )
            kill(run)

        # Nobody can tell any more whose it is: it stays until it is asked to go.
        assert buttersink(*arguments).status == 0
        assert len(open_uploads(end)) == 1
        done = buttersink("--delete", "--force", *arguments)

        assert (done.status, done.stderr) == (0, "")
        assert open_uploads(end) == []
        assert len(streams(end)) == 1

    @pytest.mark.parametrize("operation", ["CompleteMultipartUpload", "PutObject"])
    def test_may_be_killed_while_it_is_completed(
        self,
        proxy: S3Proxy,
        end: BucketEnd,
        source: bytes,
        undisturbed: list[tuple[str, str]],
        operation: str,
    ) -> None:
        arguments = self.arguments(proxy, source, end)
        already = proxy.counts()[operation]
        with Background(*arguments) as run:
            wait_until(
                lambda: run.ended() or proxy.counts()[operation] > already, "it was asked for"
            )
            run.send_all(signal.SIGKILL)
            run.wait()
            run.wait_for_all()

        self.assert_converges(arguments, end, undisturbed)


class TestAnUploadToADirectory:
    @pytest.fixture
    def end(self, scratch: Path) -> Directory:
        path = scratch / "streams"
        path.mkdir()
        return Directory(path)

    @pytest.mark.parametrize("seed", range(SERIES))
    def test_may_be_killed_at_any_moment(
        self, end: Directory, source: bytes, undisturbed: list[tuple[str, str]], seed: int
    ) -> None:
        arguments = (*OPTIONS, source, end.url)
        rng = Random(seed)
        reached = 0
        for share in sorted(rng.uniform(0, 0.9) for _ in range(KILLS)):
            with Background("--bwlimit", "80M", *arguments) as run:
                wait_until(
                    lambda share=share, run=run: (  # type: ignore[misc]  # bound now
                        run.ended() or uploaded_bytes(end) >= share * OBJECT_BYTES
                    ),
                    "so much was there",
                )
                kill(run)
            reached = max(reached, uploaded_bytes(end))
            assert streams(end) == []

        done = buttersink(*arguments)

        assert (done.status, done.stderr) == (0, "")
        assert sums(end) == undisturbed
        assert end.unfinished() == []
        assert done.the("finished")["resumed_bytes"] >= reached - RESENT_BYTES

    def test_may_be_interrupted(
        self, end: Directory, source: bytes, undisturbed: list[tuple[str, str]]
    ) -> None:
        arguments = (*OPTIONS, source, end.url)
        with Background("--bwlimit", "40M", *arguments) as run:
            wait_until(
                lambda: run.ended() or uploaded_bytes(end) > OBJECT_BYTES // 2, "half was there"
            )
            run.send_all(signal.SIGINT)
            done = run.wait()
        assert (done.status, done.stderr.splitlines()[-1:]) == (130, [STOPPED]), done
        assert re.search("Traceback", done.stderr) is None
        assert streams(end) == []

        done = buttersink(*arguments)

        assert (done.status, done.stderr) == (0, "")
        assert done.the("finished")["resumed_bytes"] >= PART_MIB * MIB
        assert sums(end) == undisturbed
        assert end.unfinished() == []


def uploaded_bytes(end: Directory) -> int:
    """Return the size of the file that is being uploaded; 0 if there is none."""
    sizes = [0]
    for top, _, names in os.walk(end.path):
        sizes += [
            os.stat(os.path.join(top, name)).st_size
            for name in names
            if name.startswith(".buttersink-upload-") and not name.endswith(".journal")
        ]
    return max(sizes)
