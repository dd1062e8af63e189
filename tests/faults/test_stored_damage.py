"""Stored streams that changed where they lie: refused by name, and all others are restored."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import pytest

from buttersink.stores.fetching import find_seek_table
from support.arrivals import subvolume_paths
from support.command import buttersink, directory
from support.history import simple_history
from support.stored_ends import streams
from support.stored_runs import (
    MIB,
    STORING,
    Bucket,
    Directory,
    Goal,
    Ran,
    memory_source,
    random_contents,
    run,
)
from support.tree import assert_same_tree

if TYPE_CHECKING:
    from pathlib import Path

    from support.loopfs import LoopFs
    from support.s3_servers import S3Server

CONTENTS = random_contents(large=5 * MIB)
"""The stream of "home/1" has two frames, if it is compressed."""
HOME = ["home/1", "home/2", "home/3"]
RANDOM_PLACES = 4


@pytest.fixture(params=["zstd", "plain"])
def end(request: pytest.FixtureRequest, tmp_path: Path) -> Directory:
    """Return a directory with all that there is, compressed or not."""
    (tmp_path / "streams").mkdir()
    end = Directory(tmp_path / "streams")
    storing = STORING if request.param == "zstd" else replace(STORING, level=None)
    with end.store(storing) as store:
        assert run(memory_source(CONTENTS), store).status == 0
    return end


@pytest.fixture
def bucket(seaweed: S3Server, tmp_path: Path) -> Bucket:
    """Return a prefix with all that there is."""
    bucket = Bucket(seaweed, tmp_path)
    with bucket.store() as store:
        assert run(memory_source(CONTENTS), store).status == 0
    return bucket


def restore(end: Directory | Bucket) -> tuple[Ran, Goal]:
    goal = Goal()
    with end.store() as store:
        return run(store, goal.store), goal


def key_of(end: Directory | Bucket, path: str) -> str:
    (key,) = streams(end, path)
    return key


def assert_refused(end: Directory | Bucket, path: str) -> None:
    """Fail unless exactly what needs the stream at a path is refused, by its name."""
    ran, goal = restore(end)
    lost = {p for p in HOME if p >= path} if path in HOME else {path}
    assert ran.status == 3
    assert goal.contents() == {p: c for p, c in CONTENTS.items() if p not in lost}
    assert {*ran.errors, *ran.skipped} == lost
    assert path in ran.errors or path in ran.skipped
    assert key_of(end, path) in ran.told()


def assert_refused_or_harmless(end: Directory, path: str) -> None:
    """Likewise; but zstd has a few bits that mean nothing, and need not have its table."""
    ran, goal = restore(end)
    if ran.status:
        assert_refused(end, path)
    else:
        assert goal.contents() == CONTENTS
        assert key_of(end, path).endswith(".zst")


def places(end: Directory, key: str) -> list[int]:
    """Return where to change an object: at both ends of whatever it consists of, and anywhere."""
    with end.shelf() as shelf:
        thing = shelf.stat(key)
        assert thing is not None
        table = find_seek_table(shelf, thing) if key.endswith(".zst") else None
    starts = [frame.start for frame in table.frames] if table else [0, 13, 17, 27]
    rng = Random(key)
    anywhere = [rng.randrange(thing.nbytes) for _ in range(RANDOM_PLACES)]
    around = [start + offset for start in starts for offset in (0, 5)]
    last = sum(frame.nbytes for frame in table.frames) if table else thing.nbytes
    return [*around, last - 1, *anywhere]


class TestAByteThatChanged:
    @pytest.mark.parametrize("path", ["home/1", "home/2", "other"])
    def test_is_found_wherever_it_is(self, end: Directory, path: str) -> None:
        key = key_of(end, path)
        whole = end.read(key)
        for place in places(end, key):
            data = bytearray(whole)
            data[place] ^= 1 << place % 8
            end.write(key, bytes(data))

            assert_refused_or_harmless(end, path)

        end.write(key, whole)
        ran, goal = restore(end)
        assert (ran.status, goal.contents()) == (0, CONTENTS)

    def test_of_the_table_of_frames_does_no_harm_or_is_found(self, end: Directory) -> None:
        key = key_of(end, "home/1")
        whole = end.read(key)
        for place in (1, 5, 9, 10, 14, 22, 27):
            data = bytearray(whole)
            data[-place] ^= 0x10
            end.write(key, bytes(data))

            ran, goal = restore(end)

            assert goal.contents().items() <= CONTENTS.items()
            assert ran.status == 0 or key in ran.told(), place
            assert {*goal.contents()} == {*CONTENTS} or {*goal.contents()} == {"other"}

    def test_is_found_in_a_bucket_too(self, bucket: Bucket) -> None:
        key = key_of(bucket, "home/3")
        data = bytearray(bucket.read(key))
        data[len(data) // 2] ^= 1
        bucket.write(key, bytes(data))

        assert_refused(bucket, "home/3")


class TestAnObjectThatIsNotWhole:
    @pytest.mark.parametrize("share", [0, 1e-6, 0.3, 0.9, 0.9999999])
    def test_is_refused(self, end: Directory, share: float) -> None:
        key = key_of(end, "home/2")
        whole = end.read(key)
        end.write(key, whole[: int(len(whole) * share)])

        assert_refused_or_harmless(end, "home/2")
        assert restore(end)[0].status or share > 0.99

    def test_is_refused_also_without_a_receipt(self, end: Directory) -> None:
        key = key_of(end, "home/2")
        end.write(key, end.read(key)[:-1])
        end.remove(f"{key}.json")

        assert_refused_or_harmless(end, "home/2")


class TestAnObjectWithTheContentOfAnother:
    @pytest.mark.parametrize(("path", "other"), [("home/2", "home/3"), ("other", "home/1")])
    def test_is_refused(self, end: Directory, path: str, other: str) -> None:
        end.write(key_of(end, path), end.read(key_of(end, other)))

        assert_refused(end, path)


class TestALinkThatIsGone:
    def test_is_told_of_all_that_builds_on_it(self, end: Directory) -> None:
        end.remove(key_of(end, "home/1"))

        ran, goal = restore(end)

        assert ran.status == 3
        assert ran.skipped == ["home/2", "home/3"]
        assert goal.contents() == {"other": CONTENTS["other"]}
        assert "home/2 can't be restored: it builds on" in ran.told()

    def test_is_sent_again_by_the_next_run_that_stores(self, end: Directory) -> None:
        key = key_of(end, "home/1")
        whole = end.read(key)
        end.remove(key)
        storing = STORING if key.endswith(".zst") else replace(STORING, level=None)

        with end.store(storing) as store:
            ran = run(memory_source(CONTENTS), store)

        assert (ran.status, [*ran.done]) == (0, ["home/1"])
        assert end.read(key) == whole
        restored, goal = restore(end)
        assert (restored.status, goal.contents()) == (0, CONTENTS)


class TestAReceipt:
    @pytest.mark.parametrize("data", [None, b"", b"{", b"\0" * 100, b"[]", b'{"format": 1}'])
    def test_that_is_of_no_use_is_not_needed(self, end: Directory, data: bytes | None) -> None:
        key = f"{key_of(end, 'home/1')}.json"
        if data is None:
            end.remove(key)
        else:
            end.write(key, data)

        ran, goal = restore(end)

        assert (ran.status, goal.contents()) == (0, CONTENTS)

    def test_of_another_stream_is_not_believed(self, end: Directory) -> None:
        keys = [f"{key_of(end, path)}.json" for path in ("home/1", "home/2")]
        end.write(keys[0], end.read(keys[1]))

        ran, goal = restore(end)

        assert (ran.status, goal.contents()) == (0, CONTENTS)

    def test_with_another_sum_refuses_its_stream(self, end: Directory) -> None:
        key = f"{key_of(end, 'home/2')}.json"
        receipt = json.loads(end.read(key))
        if not receipt["object"].get("compressed"):  # then the object is the stream
            receipt["object"]["sha256"] = "0" * 64
        receipt["stream"]["sha256"] = "0" * 64
        end.write(key, json.dumps(receipt).encode())

        assert_refused(end, "home/2")


def test_the_command_names_the_damaged_object_and_restores_the_others(
    fs_a: LoopFs, fs_b: LoopFs, scratch: Path
) -> None:
    originals = {path.name: path for path in simple_history(fs_a, 4, size=MIB)}
    end, goal = Directory(scratch / "streams"), fs_b.path / "restored"
    end.path.mkdir()
    goal.mkdir()
    assert buttersink(directory(fs_a.path / "snaps"), end.url).status == 0
    keys = {
        json.loads(end.read(f"{key}.json"))["snapshot"].get("parent"): key for key in streams(end)
    }
    chain = [keys[None]]
    while (below := keys.get(chain[-1].rpartition("/")[2].partition("_")[0])) is not None:
        chain.append(below)
    whole = end.read(chain[2])
    data = bytearray(whole)
    data[len(data) // 2] ^= 1
    end.write(chain[2], bytes(data))

    done = buttersink(end.url, directory(goal))

    assert done.status == 3, done
    told = done.stderr.splitlines()
    (error,) = (line for line in told if line.startswith("error:"))
    assert f"dir://{end.path}/{chain[2]}" in error
    assert [line.split(":")[0] for line in told if line.startswith("skipped")] == [
        f"skipped {chain[3].partition('/')[0]}"
    ]
    arrived = sorted(key.partition("/")[0] for key in chain[:2])
    assert subvolume_paths(goal) == arrived
    for name in arrived:
        assert_same_tree(originals[name], goal / name)

    end.write(chain[2], whole)
    assert buttersink(end.url, directory(goal)).status == 0
    for name, original in originals.items():
        assert_same_tree(original, goal / name)
