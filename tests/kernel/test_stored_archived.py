"""Archived objects count as there, and are restored once they are thawed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from support.command import buttersink, directory, sync
from support.history import simple_history
from support.kernel_calls import snapshot_read_only
from support.stored_ends import BucketEnd, set_up_s3, streams
from support.tree import assert_same_tree

if TYPE_CHECKING:
    from pathlib import Path

    from support.loopfs import LoopFs
    from support.s3_servers import S3Server

ALL = ["3", "2", "1"]
"""The snapshots in the order in which each builds on the one before it."""


@pytest.fixture
def bucket(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> BucketEnd:
    """Return a prefix of a new bucket, of a server that has archives."""
    set_up_s3(monkeypatch, moto)
    return BucketEnd(moto)


@pytest.fixture
def originals(fs_a: LoopFs, bucket: BucketEnd) -> dict[str, Path]:
    """Return snapshots that are stored, of which the second in the chain is archived."""
    found = {path.name: path for path in simple_history(fs_a, len(ALL))}
    assert sync(fs_a.path / "snaps", bucket.url).paths("send") == ALL
    archive(bucket, "2")
    return found


def archive(bucket: BucketEnd, path: str) -> str:
    """Do what a rule for the life cycle of objects does; return the key."""
    (key,) = streams(bucket, path)
    bucket.client.copy_object(
        Bucket=bucket.bucket,
        Key=key,
        CopySource={"Bucket": bucket.bucket, "Key": key},
        StorageClass="GLACIER",
    )
    return key


def test_they_are_listed_and_built_on(
    bucket: BucketEnd, originals: dict[str, Path], fs_a: LoopFs
) -> None:
    archive(bucket, "3")
    new = fs_a.path / "snaps" / "4"
    snapshot_read_only(fs_a.path / "live", new)

    listed = buttersink("--json", bucket.url).the("listed")
    done = sync(fs_a.path / "snaps", bucket.url)

    assert {s["path"]: s["chain"]["links"] for s in listed["snapshots"]} == {
        "3": 1,
        "2": 2,
        "1": 3,
    }
    assert sorted(done.paths("keep")) == sorted(originals)
    (step,) = done.steps("send")
    assert (step["path"], step["parent"]["path"]) == ("4", "3")


def test_what_needs_them_is_skipped_until_they_are_thawed(
    bucket: BucketEnd, originals: dict[str, Path], fs_b: LoopFs
) -> None:
    (key,) = streams(bucket, "2")

    skipped = buttersink("--json", bucket.url, directory(fs_b.path))

    assert skipped.status == 3
    assert {s["path"]: s["reason"] for s in skipped.steps("skip")} == {
        "1": "archived",
        "2": "archived",
    }
    assert all(key in step["detail"] for step in skipped.steps("skip"))
    assert sorted(os.listdir(fs_b.path)) == ["3"]
    assert bucket.client.head_object(Bucket=bucket.bucket, Key=key).get("Restore") is None

    dry = buttersink("--json", "--dry-run", "--thaw", "2", bucket.url, directory(fs_b.path))
    assert dry.status == 3
    assert bucket.client.head_object(Bucket=bucket.bucket, Key=key).get("Restore") is None

    asked = buttersink("--json", "--thaw", "2", bucket.url, directory(fs_b.path))
    assert asked.status == 3
    assert (asked.the("thaw_requested")["count"], asked.the("thaw_requested")["days"]) == (1, 2)
    assert bucket.client.head_object(Bucket=bucket.bucket, Key=key)["Restore"]

    sync(bucket.url, fs_b.path)  # that service thaws at once
    for name, path in originals.items():
        assert_same_tree(path, fs_b.path / name)


@pytest.mark.usefixtures("originals")
def test_a_run_that_lacks_them_tells_a_person_what_to_do(bucket: BucketEnd, fs_b: LoopFs) -> None:
    (key,) = streams(bucket, "2")

    done = buttersink(f"{bucket.url}1", directory(fs_b.path))

    assert done.status == 3
    assert key in done.stderr
    assert "--thaw" in done.stderr
    assert os.listdir(fs_b.path) == []


@pytest.mark.usefixtures("originals")
def test_nothing_is_deleted_while_something_is_archived(bucket: BucketEnd, fs_b: LoopFs) -> None:
    simple_history(fs_b, 1)
    (name,) = os.listdir(fs_b.path / "snaps")

    done = buttersink("--json", "--delete", bucket.url, directory(fs_b.path / "snaps"))

    assert done.status == 3
    assert done.steps("delete") == []
    assert sorted(os.listdir(fs_b.path / "snaps")) == sorted({name, "3"})
