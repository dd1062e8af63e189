"""Directories of streams whose disk is full, read-only, or gone: nothing false, and it goes on."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING

import pytest

from support.command import buttersink, directory
from support.kernel_calls import clone, create_subvolume, snapshot_read_only
from support.loopfs import LoopFs, unmount
from support.loopfs import run as run_program
from support.processes import Background, wait_until
from support.stored_ends import streams
from support.stored_runs import Directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import MakeFs

MIB = 1 << 20
LARGE = 24
"""MiB in the snapshot that does not fit."""
PART_BYTES = 5 * MIB
OPTIONS = ("--part-size", "5", "--jobs", "2")
CUTS = 5


def make_snapshots(fs: LoopFs) -> bytes:
    """Make a large snapshot, and a small one that has nothing to do with it."""
    (fs.path / "snaps").mkdir()
    for name, nbytes in (("large", LARGE * MIB), ("small", 10_000)):
        live = fs.path / name
        create_subvolume(live)
        (live / "file").write_bytes(Random(name).randbytes(nbytes))
        snapshot_read_only(live, fs.path / "snaps" / name)
    return directory(fs.path / "snaps")


@pytest.fixture
def source(fs_a: LoopFs) -> bytes:
    return make_snapshots(fs_a)


@pytest.fixture
def undisturbed(source: bytes, scratch: Path) -> dict[str, str]:
    """SHA-256 of the streams where nothing is wrong."""
    other = Directory(scratch / "undisturbed")
    other.path.mkdir()
    assert buttersink(source, other.url).status == 0
    return sums(other)


def sums(end: Directory) -> dict[str, str]:
    return {key: hashlib.sha256(end.read(key)).hexdigest() for key in streams(end)}


@pytest.fixture
def mounted(scratch: Path) -> Directory:
    """Return a directory on a file system of its own, with little room."""
    point = scratch / "mnt"
    point.mkdir()
    run_program("mount", "-t", "tmpfs", "-o", "size=16M", "tmpfs", point)
    (point / "streams").mkdir()
    return Directory(point / "streams")


def assert_converges(
    end: Directory, source: bytes, undisturbed: dict[str, str], *, strays: bool = False
) -> int:
    """Run once more; fail unless all is there. Return how many bytes were there already.

    With `strays` an upload may be left that has no journal yet, which is given up on request.
    """
    done = buttersink("--json", *OPTIONS, source, end.url)
    assert (done.status, done.stderr) == (0, "")
    assert sums(end) == undisturbed
    if strays and end.unfinished():
        assert buttersink("--delete", "--force", end.url).status == 0
        assert sums(end) == undisturbed
    assert end.unfinished() == []
    resumed: int = done.the("finished")["resumed_bytes"]
    return resumed


def test_a_full_disk_is_told_of_and_gone_on_with_once_there_is_room(
    source: bytes, mounted: Directory, undisturbed: dict[str, str]
) -> None:
    done = buttersink(*OPTIONS, source, mounted.url)

    assert done.status == 3, done
    told = done.stderr.splitlines()
    errors = [line for line in told if line.startswith("error:")]
    assert errors[0].startswith("error: could not send large: ")
    for error in errors:  # nothing else fits beside what is kept for the next run
        assert error.endswith("No space left on device")
        assert told[told.index(error) + 1] == "hint: free some space and run again"
    assert "Traceback" not in done.stderr
    assert sums(mounted).items() < undisturbed.items()

    run_program("mount", "-o", "remount,size=64M", mounted.path.parent)
    assert assert_converges(mounted, source, undisturbed) >= PART_BYTES


def test_a_disk_that_gets_full_by_small_objects_is_told_of(fs_a: LoopFs, scratch: Path) -> None:
    live = fs_a.path / "live"
    create_subvolume(live)
    (fs_a.path / "snaps").mkdir()
    for number in range(3):
        (live / f"{number}").write_bytes(Random(number).randbytes(700_000))
        snapshot_read_only(live, fs_a.path / "snaps" / f"{number}")
    point = scratch / "mnt"
    point.mkdir()
    run_program("mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", point)
    end = Directory(point)

    done = buttersink(directory(fs_a.path / "snaps"), end.url)

    assert done.status == 3
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert end.unfinished() == []
    run_program("mount", "-o", "remount,size=64M", point)
    assert buttersink(directory(fs_a.path / "snaps"), end.url).status == 0
    assert len(streams(end)) == 3


def test_a_read_only_disk_is_told_of_and_can_be_restored_from(
    source: bytes, mounted: Directory, fs_b: LoopFs
) -> None:
    run_program("mount", "-o", "remount,size=64M", mounted.path.parent)
    assert buttersink("--exclude", "large", source, mounted.url).status == 0
    run_program("mount", "-o", "remount,ro", mounted.path.parent)
    before = mounted.traces()

    done = buttersink(source, mounted.url)

    assert done.status == 3, done
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error:"))
    assert error.startswith("error: could not send large: ")
    assert error.endswith("Read-only file system")
    assert mounted.traces() == before
    assert buttersink(mounted.url, directory(fs_b.path)).status == 0
    assert (fs_b.path / "small" / "file").stat().st_size == 10_000


def test_a_disk_that_is_unmounted_in_the_middle_is_no_disaster(
    source: bytes, undisturbed: dict[str, str], make_fs: MakeFs
) -> None:
    fs = make_fs(size="512M", label="b")
    point = fs.path
    (point / "streams").mkdir()
    end = Directory(point / "streams")
    with Background("--bwlimit", "20M", *OPTIONS, source, end.url) as run:
        wait_until(lambda: run.ended() or uploaded_bytes(end) > 6 * MIB, "a part was there")
        assert not run.ended()
        run_program("umount", "--lazy", point)
        done = run.wait()

    assert done.status in {0, 3}, done
    assert "Traceback" not in done.stderr
    assert os.listdir(point) == [], "it went to what is below the mount point"
    run_program("mount", "-o", "loop", fs.image, point)
    assert sums(end).items() <= undisturbed.items()
    assert buttersink(*OPTIONS, source, end.url).status == 0
    assert sums(end) == undisturbed
    # The record of an upload is reached by its path, so it may have outlived it.
    assert all(name.endswith(".journal") for name in end.unfinished())


def test_a_directory_that_is_removed_in_the_middle_is_told_of(
    source: bytes, undisturbed: dict[str, str], scratch: Path
) -> None:
    end = Directory(scratch / "streams")
    end.path.mkdir()
    with Background("--bwlimit", "20M", *OPTIONS, source, end.url) as run:
        wait_until(lambda: run.ended() or uploaded_bytes(end) > 6 * MIB, "a part was there")
        run_program("rm", "-r", "--", end.path)
        done = run.wait()

    assert done.status == 3, done
    assert "Traceback" not in done.stderr
    assert not end.path.exists()
    end.path.mkdir()
    assert_converges(end, source, undisturbed)


def uploaded_bytes(end: Directory) -> int:
    """Return the size of the file that is being uploaded; 0 if there is none."""
    return max(
        (
            path.stat().st_size
            for path in end.path.rglob(".buttersink-upload-*")
            if path.suffix != ".journal"
        ),
        default=0,
    )


@contextmanager
def powered_up(image: Path, at: Path) -> Iterator[Directory]:
    """Mount a disk as it was when the power was cut."""
    at.mkdir(exist_ok=True)
    run_program("mount", "-t", "btrfs", "-o", "loop", image, at)
    try:
        yield Directory(at / "streams")
    finally:
        unmount(os.fspath(at))


def test_the_power_may_fail_at_any_moment(
    source: bytes, undisturbed: dict[str, str], make_fs: MakeFs, scratch: Path
) -> None:
    outer = make_fs(label="outer", size="4G")
    rng = Random(0)
    images = []
    with LoopFs.create(outer.path, size="512M", label="inner") as inner:
        end = Directory(inner.path / "streams")
        end.path.mkdir()
        run_program("btrfs", "filesystem", "sync", inner.path)
        with Background("--bwlimit", "40M", *OPTIONS, source, end.url) as run:
            for number, share in enumerate(sorted(rng.uniform(0.05, 1) for _ in range(CUTS))):
                wait_until(
                    lambda share=share: (  # type: ignore[misc]  # bound now
                        run.ended() or uploaded_bytes(end) > share * LARGE * MIB
                    ),
                    "so much was there",
                )
                if rng.random() < 0.7:
                    run_program("btrfs", "filesystem", "sync", inner.path)
                images.append(cut(inner.image, outer.path / f"cut {number}"))
            assert run.wait().status == 0
        images.append(cut(inner.image, outer.path / "cut at the end"))

    resumed = []
    for image in images:
        with powered_up(image, scratch / "after") as then:
            assert sums(then).items() <= undisturbed.items()
            resumed.append(assert_converges(then, source, undisturbed, strays=True))
    assert any(resumed), "the cuts came too early or too late to tell anything"


def cut(image: Path, copy: Path) -> Path:
    """Keep what is on a disk right now."""
    with image.open("rb") as original, copy.open("xb") as kept:
        clone(original.fileno(), kept.fileno())
    return copy
