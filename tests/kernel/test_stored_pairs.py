"""Every kind of end as source of every other: what arrives, what is left alone, what follows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import pytest

from support.command import run_module, sync
from support.pair_ends import Ends, Origin, continued
from support.proxy import S3Proxy
from support.stored_ends import (
    BucketEnd,
    End,
    SubvolumeEnd,
    assert_restores,
    set_up_s3,
    snapshots_below,
)
from support.tree import assert_same_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import MakeFs
    from support.loopfs import LoopFs
    from support.s3_servers import S3Server

KINDS = ("btrfs", "dir", "s3")
READ_OPERATIONS = {"ListObjectsV2", "ListMultipartUploads", "HeadBucket", "GetObject", "HeadObject"}
MOST_RECEIPTS = 8
"""Objects that are read to learn how well streams get compressed."""
PAGE = 1000
"""Objects that S3 lists at a time."""


@pytest.fixture
def proxy(seaweed: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Proxy]:
    """Return what is between the command and the buckets."""
    with S3Proxy(int(seaweed.endpoint_url.rpartition(":")[2])) as made:
        set_up_s3(monkeypatch, seaweed, made.url)
        yield made


@pytest.fixture
def ends(scratch: Path, make_fs: MakeFs, seaweed: S3Server) -> Ends:
    return Ends(scratch, make_fs, seaweed)


@pytest.fixture
def origin(fs_a: LoopFs) -> Origin:
    return Origin(fs_a)


class Listings(NamedTuple):
    """Requests for lists that a run needs which finds that there is nothing to do."""

    objects: int
    uploads: int


def needed_listings(*ends: End) -> Listings:
    buckets = [end for end in ends if isinstance(end, BucketEnd)]
    pages = [math.ceil(len(bucket.stored_keys()) / PAGE) for bucket in buckets]
    return Listings(objects=sum(pages), uploads=len(buckets))


@pytest.mark.parametrize("goal", KINDS)
@pytest.mark.parametrize("start", KINDS)
def test_snapshots_arrive_equal_are_left_alone_and_are_continued(
    *, ends: Ends, proxy: S3Proxy, origin: Origin, fs_b: LoopFs, start: str, goal: str
) -> None:
    origin.add("home/1", "home/2", "3")
    source = origin.end if start == "btrfs" else ends.make(start, "source")
    destination = ends.make(goal, "destination")
    if source is not origin.end:
        sync(origin.end.url, source.url)

    first = sync(source.url, destination.url)
    assert first.the("finished")["transferred"] == 3

    before, requests = destination.traces(), proxy.counts()
    again = sync(source.url, destination.url)
    assert again.the("finished")["transferred"] == 0
    assert again.the("finished")["present"] == 3
    assert again.the("finished")["sent_bytes"] == 0
    assert destination.traces() == before
    made = proxy.counts() - requests
    assert made.keys() <= READ_OPERATIONS
    assert (made["ListObjectsV2"], made["ListMultipartUploads"]) == needed_listings(
        source, destination
    )
    assert made["GetObject"] + made["HeadObject"] <= MOST_RECEIPTS

    origin.add("home/4")
    if source is not origin.end:
        sync(origin.end.url, source.url)
    continued = sync(source.url, destination.url)
    (step,) = continued.steps("send")
    assert step["path"] == "home/4"
    assert step["parent"]["path"] in {"home/1", "home/2", "3"}
    if isinstance(destination, SubvolumeEnd):
        for path, original in origin.snapshots.items():
            assert_same_tree(original, destination.path / path)
        assert snapshots_below(destination.path) == sorted(origin.snapshots)
    else:
        assert_restores(destination, origin.snapshots, fs_b.path / "restored")


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize("shelf", ["dir", "s3"])
@pytest.mark.parametrize("way_back", ["direct", "stored"])
def test_what_was_restored_goes_on_incrementally_and_comes_back_so(
    ends: Ends, origin: Origin, fs_b: LoopFs, shelf: str, way_back: str
) -> None:
    origin.add("home/1", "home/2")
    stored = ends.make(shelf, "stored")
    restored = fs_b.path / "restored"
    sync(origin.end.url, stored.url)
    assert_restores(stored, origin.snapshots, restored)
    for path, original in origin.snapshots.items():
        tool = "buttersink.tools.checksumdir"
        compared = run_module(tool, "--compare", original, restored / path)
        assert (compared.status, compared.stdout) == (0, "")

    moved_on = continued(fs_b, restored / "home" / "2", restored / "home" / "3")
    if way_back == "stored":
        (outward,) = sync(restored, stored.url).steps("send")
        assert outward["parent"]["path"] == "home/2"
        back = sync(stored.url, origin.end.url)
    else:
        back = sync(restored, origin.end.url)

    (step,) = back.steps("send")
    assert (step["path"], step["parent"]["path"]) == ("home/3", "home/2")
    assert_same_tree(moved_on, origin.end.path / "home" / "3")
    assert back.paths("keep") == ["home/1", "home/2"]
