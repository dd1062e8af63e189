"""Requests of a kind that fail for good: a clear error, nothing false, and mended by a run."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from buttersink.settings import Settings
from support.command import buttersink, directory
from support.faults import Answer, Fault
from support.history import simple_history
from support.proxy import S3Proxy
from support.stored_runs import (
    MIB,
    Bucket,
    Goal,
    Ran,
    endpoint_port,
    memory_source,
    random_contents,
    run,
)
from support.stored_runs import STORING as SMALL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from support.loopfs import LoopFs
    from support.s3_servers import S3Server
    from support.stored_runs import Contents

STORING = replace(SMALL, sse="none")
"""Without encryption there are fewer ways to begin an upload that are tried, each for a while."""
SECONDS = 0.2
"""How long requests are repeated, besides what boto3 does by itself."""
NONE = ""
CONTENTS = random_contents(large=100_000)
"""What is restored, and of which some is removed."""
KEPT = {path: CONTENTS[path] for path in ("home/1", "home/2")}
NEW = {"home/1": random_contents(large=11 * MIB)["home/1"], "home/2": CONTENTS["home/2"]}
"""What is stored."""

STORING_KINDS = [
    *("ListObjectsV2", "ListMultipartUploads", "ListParts", "HeadObject", "PutObject"),
    *("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload"),
]
RESTORING_KINDS = ["ListObjectsV2", "GetObject"]
REMOVING_KINDS = ["HeadObject", "CopyObject", "UploadPartCopy", "DeleteObject"]
CASES = [
    *(("storing", kind) for kind in [NONE, *STORING_KINDS]),
    *(("restoring", kind) for kind in [NONE, *RESTORING_KINDS]),
    *(("removing", kind) for kind in [NONE, *REMOVING_KINDS]),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What came of an outage, and of the time after it.

    Attributes:
        failed: The run during it.
        streams_then: SHA-256 of the streams at its end, by key.
        goal_then: What was restored by then.
        again: The run after it.
        streams: SHA-256 of the streams after that, by key.
        goal: What was restored in the end.
        uploads: Keys of uploads that are still open.
        journals: Records of uploads that are still there.
    """

    failed: Ran
    streams_then: Mapping[str, str]
    goal_then: Contents
    again: Ran
    streams: Mapping[str, str]
    goal: Contents
    uploads: list[str]
    journals: list[str]


def suffer(server: S3Server, state: Path, doing: str, kind: str) -> Outage:
    """Let all requests of a kind fail while something is done, then do it again in peace."""
    fault = Fault(action=Answer(500, "InternalError"), operation=kind, times=1_000_000)
    with S3Proxy(endpoint_port(server)) as proxy:
        bucket = Bucket(server, state, endpoint_url=proxy.url)
        goal = Goal()

        def work() -> Ran:
            with bucket.store(STORING, seconds=SECONDS) as store:
                match doing:
                    case "storing":
                        return run(memory_source(NEW), store)
                    case "restoring":
                        return run(store, goal.store)
                settings = Settings(storing=STORING, delete=True, force=True)
                return run(memory_source(KEPT), store, settings)

        if doing == "storing":
            leave_an_upload(bucket, proxy)
        else:
            with bucket.store() as store:
                assert run(memory_source(CONTENTS), store).status == 0
        if kind:
            proxy.inject(fault)
        failed = work()
        proxy.forget_faults()
        streams_then, goal_then = sums(bucket), goal.contents()
        again = work()
        return Outage(
            failed=failed,
            streams_then=streams_then,
            goal_then=goal_then,
            again=again,
            streams=sums(bucket),
            goal=goal.contents(),
            uploads=bucket.uploads(),
            journals=bucket.journals(),
        )


def leave_an_upload(bucket: Bucket, proxy: S3Proxy) -> None:
    """Let a run fail after the first part of "home/1", so that there are parts to list."""
    proxy.inject(Fault(action=Answer(403, "AccessDenied"), operation="UploadPart", first=5))
    with bucket.store() as store:
        assert run(memory_source({"home/1": NEW["home/1"]}), store).status == 3
    proxy.forget_faults()


def sums(bucket: Bucket) -> Mapping[str, str]:
    """Return the SHA-256 of all streams, by key."""
    return {
        key: hashlib.sha256(bucket.read(key)).hexdigest()
        for key in bucket.stored_keys()
        if key.endswith(".zst")
    }


@pytest.fixture(scope="module")
def outages(
    seaweed: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[tuple[str, str], Future[Outage]]]:
    """Return all of them, suffered at once, as each of them waits most of the time."""
    with ThreadPoolExecutor(len(CASES)) as pool:
        yield {
            case: pool.submit(suffer, seaweed, tmp_path_factory.mktemp("state"), *case)
            for case in CASES
        }


@pytest.mark.parametrize("case", [case for case in CASES if case[1]], ids=" without ".join)
class TestAnOutage:
    @pytest.fixture
    def outage(
        self, outages: Mapping[tuple[str, str], Future[Outage]], case: tuple[str, str]
    ) -> Outage:
        return outages[case].result()

    @pytest.fixture
    def peace(
        self, outages: Mapping[tuple[str, str], Future[Outage]], case: tuple[str, str]
    ) -> Outage:
        return outages[case[0], NONE].result()

    def test_is_told_in_one_line_for_each_thing(self, outage: Outage) -> None:
        assert outage.failed.status in {1, 3}
        errors = [*outage.failed.errors.values(), outage.failed.error]
        lines = [str(error) for error in errors if error is not None]
        assert any("the service had an internal error" in line for line in lines), lines
        assert not any("\n" in line or "Traceback" in line for line in lines)

    def test_leaves_nothing_that_looks_whole_and_is_not(
        self, outage: Outage, peace: Outage
    ) -> None:
        known = {**peace.streams, **{f"trash/{key}": sum_ for key, sum_ in peace.streams.items()}}
        for key, found in outage.streams_then.items():
            moved = key.removeprefix("trash/")
            assert found in {known.get(key), known.get(f"trash/{moved}")}, key
        assert outage.goal_then.items() <= CONTENTS.items()

    def test_is_mended_by_the_next_run(self, outage: Outage, peace: Outage) -> None:
        assert (outage.again.status, outage.again.told()) == (0, "")
        assert outage.streams == peace.streams
        assert outage.goal == peace.goal

    def test_leaves_no_litter(self, outage: Outage, case: tuple[str, str]) -> None:
        assert outage.journals == []
        assert not outage.uploads or case[1] == "AbortMultipartUpload"


def test_a_service_that_is_not_there_is_one_line_and_no_long_wait(
    fs_a: LoopFs, seaweed: S3Server
) -> None:
    simple_history(fs_a, 1)
    with S3Proxy(endpoint_port(seaweed)) as proxy:
        url = proxy.url  # where nothing listens after that

    done = buttersink("--endpoint-url", url, directory(fs_a.path / "snaps"), "s3://bucket/")

    assert done.status == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: listing s3://bucket/: the service can't be reached")
