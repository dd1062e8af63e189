"""Bytes that change on the way: found, whichever they are; sent again, or else not believed."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import TYPE_CHECKING

import pytest

from support.arrivals import subvolume_paths
from support.command import buttersink, directory
from support.faults import Fault, Flip, Side
from support.history import simple_history
from support.proxy import S3Proxy
from support.stored_ends import BucketEnd
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
from support.tree import assert_same_tree

if TYPE_CHECKING:
    from pathlib import Path

    from support.loopfs import LoopFs
    from support.s3_servers import S3Server

CONTENTS = random_contents(large=11 * MIB)
HOME = ["home/1", "home/2", "home/3"]
UPLOADS = 4
DOWNLOADS = 8


def upload(server: S3Server, state: Path, seed: int) -> tuple[Ran, Ran, Bucket]:
    """Store all while some bytes flip, then again, and return what came of it."""
    rng = Random(seed)
    with S3Proxy(endpoint_port(server)) as proxy:
        bucket = Bucket(server, state, endpoint_url=proxy.url)
        flips = [
            Fault(action=Flip(Side.REQUEST, rng.randrange(MIB)), operation="UploadPart", first=nth)
            for nth in rng.sample(range(3, 9), 2)  # two come before, to try out the service
        ]
        flips += [
            Fault(action=Flip(Side.REQUEST, rng.randrange(400)), operation=kind, first=1 + 2 * n)
            for kind in ("PutObject", "CompleteMultipartUpload")
            for n in range(2)
        ]
        flips += [
            Fault(action=Flip(Side.RESPONSE, rng.randrange(200)), operation=kind)
            for kind in ("ListObjectsV2", "ListMultipartUploads", "CompleteMultipartUpload")
        ]
        proxy.inject(*flips)
        with bucket.store() as store:
            first = run(memory_source(CONTENTS), store)
        proxy.forget_faults()
        with bucket.store() as store:
            second = run(memory_source(CONTENTS), store)
    return first, second, bucket


@pytest.fixture(scope="module")
def stored(seaweed: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Bucket:
    """Return a prefix with all that there is, and no flaw."""
    bucket = Bucket(seaweed, tmp_path_factory.mktemp("state"))
    with bucket.store() as store:
        assert run(memory_source(CONTENTS), store).status == 0
    return bucket


def sums(bucket: Bucket) -> dict[str, str]:
    """Return the SHA-256 of all streams, by key."""
    return {
        key: hashlib.sha256(bucket.read(key)).hexdigest()
        for key in bucket.stored_keys()
        if key.endswith(".zst")
    }


def test_what_is_stored_is_what_was_sent_whatever_flips_on_the_way(
    seaweed: S3Server, stored: Bucket, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(UPLOADS) as pool:
        lives = [pool.submit(upload, seaweed, tmp_path / f"{n}", n) for n in range(UPLOADS)]
    for seed, life in enumerate(lives):
        first, second, bucket = life.result()
        # Only a request to complete can be spoiled so that trying again at once is not enough.
        assert first.status == 0 or "completing" in first.told(), (seed, first.told())
        assert (second.status, second.told()) == (0, ""), seed
        assert sums(bucket) == sums(stored), seed
        assert bucket.uploads() == bucket.journals() == [], seed
        receipts = [key for key in bucket.stored_keys() if key.endswith(".json")]
        for key in receipts:
            told = json.loads(bucket.read(key))["object"]["sha256"]
            assert told == sums(stored)[key.removesuffix(".json")], seed
        assert len(receipts) == 4 or first.status, seed


def download(server: S3Server, stored: Bucket, state: Path, seed: int) -> tuple[Ran, Goal, Ran]:
    """Restore all while one byte flips; return what came of it, and of a second run."""
    at = Random(seed).randrange(18 * MIB)
    goal = Goal()
    with S3Proxy(endpoint_port(server)) as proxy:
        bucket = Bucket(server, state, endpoint_url=proxy.url, bucket=stored.bucket)
        proxy.inject(Fault(action=Flip(Side.RESPONSE), operation="GetObject", at_total=at))
        with bucket.store() as store:
            first = run(store, goal.store)
            then = goal.contents()
            second = run(store, goal.store)
    assert then.items() <= CONTENTS.items(), "what arrived is not what it should be"
    assert {*CONTENTS} - {*then} == {*first.errors, *first.skipped}
    return first, goal, second


def test_what_is_restored_is_what_was_stored_whatever_flips_on_the_way(
    seaweed: S3Server, stored: Bucket, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(4) as pool:
        runs = [
            pool.submit(download, seaweed, stored, tmp_path / f"{seed}", seed)
            for seed in range(DOWNLOADS)
        ]
    for seed, restored in enumerate(runs):
        first, goal, second = restored.result()
        assert first.status == 3, seed
        (path, error), *others = first.errors.items()
        assert not others
        assert error.message.startswith(stored.url + path), (seed, error)
        assert first.skipped == [p for p in HOME if p > path and path in HOME], seed
        assert (second.status, second.told()) == (0, ""), seed
        assert goal.contents() == CONTENTS


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_the_command_tells_which_object_came_damaged_and_restores_the_others(
    fs_a: LoopFs, fs_b: LoopFs, seaweed: S3Server, compression: str
) -> None:
    originals = {path.name: path for path in simple_history(fs_a, 3, size=2 * MIB)}
    end, goal = BucketEnd(seaweed), fs_b.path / "restored"
    goal.mkdir()
    how = ("--compress", compression)
    stored = buttersink(*how, directory(fs_a.path / "snaps"), end.url)
    assert stored.status == 0, stored
    with S3Proxy(endpoint_port(seaweed)) as proxy:
        at_proxy = ("--endpoint-url", proxy.url)
        # The stream of the first one is by far the largest, so it is the one that is hit.
        proxy.inject(Fault(action=Flip(Side.RESPONSE), operation="GetObject", at_total=MIB))
        done = buttersink(*at_proxy, end.url, directory(goal))
        assert done.status == 3, done
        (error,) = (line for line in done.stderr.splitlines() if line.startswith("error:"))
        full = next(
            key for key in end.stored_keys() if "_None" in key and not key.endswith(".json")
        )
        assert f"s3://{end.bucket}/{full}" in error
        assert "Traceback" not in done.stderr
        assert subvolume_paths(goal) == []

        again = buttersink(*at_proxy, end.url, directory(goal))
        assert again.status == 0, again
    assert subvolume_paths(goal) == sorted(originals)
    for name, original in originals.items():
        assert_same_tree(original, goal / name)
