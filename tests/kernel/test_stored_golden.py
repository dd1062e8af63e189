"""What ButterSink 0.6.9 left in a bucket is listed, restored, built on, and never touched."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import pytest

from buttersink.model import Diff
from support.command import buttersink, directory, sync
from support.golden_bucket import GoldenBucket, golden_bucket
from support.history import simple_history
from support.kernel_calls import snapshot_read_only
from support.stored_ends import PREFIX, BucketEnd, DirectoryEnd, StoredEnd, streams
from support.subvolume_facts import identity, own_uuid
from support.tree import assert_same_tree

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from support.command import Run
    from support.loopfs import LoopFs

COUNT = 4


class Golden(NamedTuple):
    """An end that 0.6.9 has filled.

    Attributes:
        end: The end.
        bucket: What it was filled with.
        originals: The snapshots, by their uuids.
    """

    end: StoredEnd
    bucket: GoldenBucket
    originals: Mapping[UUID, Path]

    def is_untouched(self) -> bool:
        """Tell whether each object is as it was; others may have come."""
        there = set(self.end.stored_keys())
        return all(
            key in there and self.end.read(key) == content
            for key, content in self.bucket.objects.items()
            if not key.endswith("/")
        )

    def path(self, number: int) -> str:
        """Return the path of a snapshot at the end, by its age from 0 on."""
        return [*self.bucket.paths.values()][number]


KINDS = ["dir", "s3", "s3 without prefix"]
on_a_few = pytest.mark.parametrize("golden", KINDS[:2], indirect=True)
"""For tests that take long, of what does not depend on the prefix."""


@pytest.fixture(params=KINDS)
def golden(request: pytest.FixtureRequest, fs_a: LoopFs) -> Golden:
    end: StoredEnd
    if request.param == "dir":
        end = request.getfixturevalue("directory_end")
    else:
        request.getfixturevalue("bucket_end")  # which also sets up the environment
        prefix = PREFIX if request.param == "s3" else ""
        end = BucketEnd(request.getfixturevalue("seaweed"), prefix=prefix)
    return filled(end, fs_a)


def filled(end: StoredEnd, fs: LoopFs) -> Golden:
    """Let an end hold four snapshots in a row, and another increment to the last one."""
    originals = {UUID(own_uuid(path)): path for path in simple_history(fs, COUNT)}
    first, second, third, fourth = originals
    diffs = [
        Diff(first),
        Diff(second, first),
        Diff(third, second),
        Diff(fourth, third),
        Diff(fourth, first),
    ]
    bucket = golden_bucket({diff: sent(diff, originals) for diff in diffs}, prefix=end.prefix)
    for key, content in bucket.objects.items():
        end.write(key, content)
    return Golden(end, bucket, originals)


def sent(diff: Diff, originals: Mapping[UUID, Path]) -> bytes:
    """Return what `btrfs send` makes of a diff."""
    parent: list[str | Path] = ["-p", originals[diff.parent]] if diff.parent else []
    return subprocess.run(
        ["btrfs", "send", "--quiet", "--proto", "1", *parent, originals[diff.to]],
        check=True,
        capture_output=True,
    ).stdout


def with_source(golden: Golden, name: str, fs: LoopFs) -> Path:
    """Make another snapshot of what the others were made of."""
    (fs.path / "live" / name).write_bytes(b"made by a newer version")
    snapshot_read_only(fs.path / "live", fs.path / "snaps" / name)
    assert not [path for path in golden.bucket.paths.values() if path == name]
    return fs.path / "snaps" / name


def listed(end: StoredEnd, *options: str) -> Run:
    done = buttersink("--json", *options, end.url)
    assert done.status == 0, done.stderr
    return done


class TestListing:
    def test_shows_the_snapshots_and_counts_the_rest(self, golden: Golden) -> None:
        found = listed(golden.end).the("listed")

        assert {s["uuid"]: s["paths"] for s in found["snapshots"]} == {
            str(uuid): [path] for uuid, path in golden.bucket.paths.items()
        }
        assert all(s["chain"] for s in found["snapshots"])
        assert found["foreign"] == len(golden.bucket.foreign)
        assert (found["partials"], found["problems"]) == ([], [])
        assert golden.is_untouched()


class TestRestoring:
    @on_a_few
    def test_gives_what_was_sent_also_with_stale_bytes_behind_the_stream(
        self, golden: Golden, fs_b: LoopFs
    ) -> None:
        wanted = golden.bucket.streams[golden.bucket.overlong].to
        path = golden.bucket.paths[wanted]

        sync(golden.end.url, fs_b.path, "--exclude", f"(?!{path})")

        assert restored(fs_b.path) == [fs_b.path / path]
        assert_same_tree(golden.originals[wanted], fs_b.path / path)
        assert golden.is_untouched()

    @on_a_few
    def test_puts_only_one_of_two_snapshots_at_one_path_and_says_so(
        self, golden: Golden, fs_b: LoopFs
    ) -> None:
        assert golden.path(2) == golden.path(3)

        done = buttersink("--json", golden.end.url, directory(fs_b.path))

        assert done.status == 3
        (skipped,) = done.steps("skip")
        assert (skipped["path"], skipped["reason"]) == (golden.path(3), "path_taken")
        assert len(restored(fs_b.path)) == COUNT - 1
        for path in restored(fs_b.path):
            assert_same_tree(golden.originals[UUID(identity(path))], path)

    def test_takes_old_streams_as_parents_of_new_ones(
        self, golden: Golden, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        new = with_source(golden, "new", fs_a)

        done = sync(fs_a.path / "snaps", golden.end.url)

        assert len(done.paths("keep")) == COUNT
        (step,) = done.steps("send")
        assert UUID(step["parent"]["uuid"]) in golden.originals
        assert step["chain"]["links"] > 1
        assert golden.is_untouched()
        (key,) = streams(golden.end, "new")
        assert key.endswith(".zst")

        assert buttersink(f"{golden.end.url}new", directory(fs_b.path)).status == 0
        assert_same_tree(new, fs_b.path / "new")
        assert restored(fs_b.path) == [fs_b.path / "new"]


class TestOneSnapshotInADirectoryOfItsOwn:
    """As snapper lays them out: what `<prefix>/12/snapshot` builds on is in other directories."""

    @pytest.fixture
    def golden(self, bucket_end: BucketEnd, fs_a: LoopFs) -> Golden:
        golden = filled(bucket_end, fs_a)
        for key in golden.bucket.foreign:  # one of them is a stream for who looks from further up
            bucket_end.remove(key)
        return golden

    def test_can_be_restored_with_what_is_elsewhere_in_the_bucket(
        self, golden: Golden, fs_b: LoopFs
    ) -> None:
        done = buttersink("--whole-bucket", golden.end.url + golden.path(1), directory(fs_b.path))

        assert done.status == 0, done.stderr
        assert restored(fs_b.path) == [fs_b.path / "snapshot"]
        wanted = [*golden.originals.values()][1]
        assert_same_tree(wanted, fs_b.path / "snapshot")

    def test_can_be_stored_elsewhere_with_what_it_builds_on(
        self, golden: Golden, directory_end: DirectoryEnd, fs_b: LoopFs
    ) -> None:
        source = golden.end.url + golden.path(1)

        done = buttersink("--json", "--whole-bucket", source, directory_end.url)

        assert done.status == 0, done.stderr
        assert buttersink(directory_end.url, directory(fs_b.path)).status == 0
        assert restored(fs_b.path) == [fs_b.path / "snapshot"]
        hidden = [key for key in directory_end.stored_keys() if key.endswith(".hidden")]
        assert len(hidden) == 1

    def test_is_not_restored_without_and_says_why(self, golden: Golden, fs_b: LoopFs) -> None:
        done = buttersink(golden.end.url + golden.path(1), directory(fs_b.path))

        assert done.status == 3
        assert "of which there is no stream below this prefix" in done.stderr
        assert restored(fs_b.path) == []


class TestDeleting:
    @on_a_few
    def test_takes_only_streams_that_nothing_needs(
        self, golden: Golden, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        uuids = [*golden.originals]
        for uuid in uuids[:2]:  # the others need them, or have to be stored anew
            subprocess.run(
                ["btrfs", "--quiet", "subvolume", "delete", golden.originals[uuid]], check=True
            )

        done = sync(fs_a.path / "snaps", golden.end.url, "--delete", "--no-trash")

        changed = {s["uuid"] for action in ("delete", "hide") for s in done.steps(action)}
        assert changed == {str(uuid) for uuid in uuids[:2]}
        gone = golden.bucket.objects.keys() - set(golden.end.stored_keys())
        assert {key for key in gone if not key.endswith("/")} <= golden.bucket.streams.keys()
        shown = listed(golden.end).the("listed")["snapshots"]
        assert {s["uuid"] for s in shown if s["paths"]} == {str(uuid) for uuid in uuids[2:]}
        done = buttersink(golden.end.url, directory(fs_b.path))
        for path in restored(fs_b.path):
            assert_same_tree(golden.originals[UUID(identity(path))], path)


class TestOpenUploads:
    def test_are_shown_and_aborted_only_if_forced(
        self, bucket_end: BucketEnd, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        golden = filled(bucket_end, fs_a)
        client = bucket_end.client
        key = f"{bucket_end.prefix}14/snapshot/{own_uuid(fs_a.path / 'live')}_None"
        upload = client.create_multipart_upload(Bucket=bucket_end.bucket, Key=key)["UploadId"]
        part = {"Bucket": bucket_end.bucket, "Key": key, "UploadId": upload, "PartNumber": 1}
        client.upload_part(**part, Body=bytes(5 << 20))

        def are_open() -> bool:
            return "Uploads" in client.list_multipart_uploads(Bucket=bucket_end.bucket)

        (partial,) = listed(bucket_end).the("listed")["partials"]
        assert partial["path"] == key.removeprefix(bucket_end.prefix)
        assert partial["bytes"] == 5 << 20
        assert "less than a day ago" in partial["guarded"]

        with_source(golden, "new", fs_a)
        sync(fs_a.path / "snaps", bucket_end.url)
        warned = buttersink("--delete", f"{fs_a.path}/snaps/", bucket_end.url)
        assert (warned.status, "--force removes it" in warned.stderr) == (0, True)
        listed(bucket_end, "--delete", "--dry-run", "--force")
        assert are_open()

        listed(bucket_end, "--delete", "--force")
        assert not are_open()
        assert golden.is_untouched()
        assert buttersink(f"{bucket_end.url}new", directory(fs_b.path)).status == 0


def restored(directory: Path) -> list[Path]:
    """Return the snapshots in a directory, which are two directories deep at most."""
    return [path for path in (*directory.glob("*"), *directory.glob("*/snapshot")) if is_top(path)]


def is_top(path: Path) -> bool:
    return path.stat().st_ino == 256
