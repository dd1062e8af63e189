"""What a bucket of ButterSink 0.6.9 means to us."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from buttersink.stored.keys import Entry, Other, SizesEntry, StreamEntry, parse_key, stream_key
from buttersink.stored.sizes import parse_sizes
from support.golden_bucket import GoldenBucket, example_streams, golden_bucket

if TYPE_CHECKING:
    from buttersink.model import Diff


@pytest.fixture(params=["laptop/", "hosts/laptop/", ""])
def bucket(request: pytest.FixtureRequest) -> GoldenBucket:
    return golden_bucket(example_streams(), prefix=request.param)


def read(bucket: GoldenBucket) -> dict[str, Entry]:
    return {key: parse_key(key, bucket.prefix) for key in bucket.objects}


def of_kind(bucket: GoldenBucket, kind: Other) -> frozenset[str]:
    return frozenset(key for key, entry in read(bucket).items() if entry is kind)


def test_each_stream_is_found_at_the_path_of_its_snapshot(bucket: GoldenBucket) -> None:
    found = {k: e for k, e in read(bucket).items() if isinstance(e, StreamEntry)}
    assert {key: entry.diff for key, entry in found.items()} == bucket.streams
    for key, entry in found.items():
        assert (entry.key, entry.path) == (key, bucket.paths[entry.diff.to])
        assert not entry.compressed
        assert not entry.quoted


def test_the_same_streams_would_get_the_same_keys(bucket: GoldenBucket) -> None:
    for key, diff in bucket.streams.items():
        path = bucket.paths[diff.to]
        again = stream_key(bucket.prefix, path, diff, compressed=False, text_only=True)
        assert again == key


def test_what_is_foreign_removed_outside_or_a_directory_is_told_apart(
    bucket: GoldenBucket,
) -> None:
    assert of_kind(bucket, Other.FOREIGN) == bucket.foreign
    assert of_kind(bucket, Other.TRASH) == bucket.trash
    assert of_kind(bucket, Other.OUTSIDE) == bucket.outside
    assert of_kind(bucket, Other.NOTHING) == bucket.silent


def test_sizes_are_read_in_spite_of_bad_lines(bucket: GoldenBucket) -> None:
    sizes: dict[Diff, int] = {}
    for key, entry in read(bucket).items():
        if isinstance(entry, SizesEntry):
            known = parse_sizes(bucket.objects[key])
            assert known.problem
            assert {bucket.paths[diff.to] for diff in known.sizes} == {entry.path}
            sizes |= known.sizes
    assert sizes == bucket.sizes


def test_the_bucket_has_everything_that_makes_such_buckets_hard(bucket: GoldenBucket) -> None:
    streams = [entry for entry in read(bucket).values() if isinstance(entry, StreamEntry)]
    uuids_of_path = Counter(path for path in bucket.paths.values())
    diffs_of_uuid = Counter(entry.diff.to for entry in streams)
    assert max(uuids_of_path.values()) == 2
    assert max(diffs_of_uuid.values()) == 2
    overlong = bucket.streams[bucket.overlong]
    assert len(bucket.objects[bucket.overlong]) > bucket.sizes[overlong]
