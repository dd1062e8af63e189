"""The destination's machine loses its power in the middle of a transfer, and goes on afterwards.

What is on the disk then is a clone of the file that the file system is in, made while it is
written to: see test_power_cut.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from random import Random
from typing import TYPE_CHECKING

import pytest

from support.demanding import NAMES, Amount, Whole, demanding_snapshots
from support.kernel_calls import clone
from support.loopfs import LoopFs, unmount
from support.loopfs import run as run_program
from support.processes import Background, wait_until
from support.resuming import kept_bytes, names
from support.resuming import run as resume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import MakeFs

MIB = 1 << 20
CUTS = 5
RATE = "20M"


@contextmanager
def powered_up(image: Path, at: Path) -> Iterator[Path]:
    """Mount a disk as it was when the power was cut."""
    at.mkdir(exist_ok=True)
    run_program("mount", "-t", "btrfs", "-o", "loop", image, at)
    try:
        yield at / "backup"
    finally:
        unmount(os.fspath(at))


def cut(image: Path, copy: Path) -> Path:
    """Keep what is on a disk right now."""
    with image.open("rb") as original, copy.open("xb") as kept:
        clone(original.fileno(), kept.fileno())
    return copy


def marks(backup: Path) -> set[str]:
    """Return the names of what is kept, or about to be."""
    with suppress(FileNotFoundError):
        return {path.name for path in backup.glob(".buttersink-*.part/mark-*")}
    return set()


@pytest.fixture
def source(make_fs: MakeFs) -> Path:
    return demanding_snapshots(make_fs(label="source"), Amount(large=16 * MIB, small=400))


class Disks:
    """Copies of a disk, each of which has to be whole, and to be gone on with."""

    def __init__(self, source: Path, outer: LoopFs, inner: LoopFs, at: Path) -> None:
        self._source = source
        self._whole = Whole(source)
        self._outer = outer
        self._inner = inner
        self._at = at
        self._copies: list[Path] = []
        self.kept: list[int] = []

    def cut(self) -> None:
        copy = self._outer.path / f"cut {len(self._copies)}"
        self._copies.append(cut(self._inner.image, copy))

    def check(self) -> None:
        """Fail unless a run brings each of them to the end, sending only what was not kept."""
        for copy in self._copies:
            with powered_up(copy, self._at) as backup:
                here = {name for name in names(backup) if not name.startswith(".")}
                for name in here:
                    self._whole.check(name, backup / name, flags=True)
                kept = kept_bytes(backup)
                self.kept.append(kept)
                finished, _, _ = resume(self._source, backup, nbytes=MIB)
                assert (finished.failed, finished.present) == (0, len(here))
                assert finished.resumed_bytes == kept
                for name in NAMES:
                    self._whole.check(name, backup / name, flags=True)
                assert names(backup) == set(NAMES)


@pytest.fixture
def disks(make_fs: MakeFs, scratch: Path, source: Path) -> Iterator[tuple[Disks, Path]]:
    outer = make_fs(label="outer", size="6G")
    with LoopFs.create(outer.path, size="1G", label="inner") as inner:
        backup = inner.path / "backup"
        backup.mkdir()
        yield Disks(source, outer, inner, scratch / "mnt"), backup


@pytest.mark.parametrize("seed", range(2))
def test_the_power_may_fail_at_any_moment(
    disks: tuple[Disks, Path], source: Path, seed: int
) -> None:
    kept, backup = disks
    rng, now = Random(seed), 0.0
    with Background("--checkpoint", "1M", "--bwlimit", RATE, f"{source}/", f"{backup}/") as run:
        wait_until(lambda: run.ended() or marks(backup), "anything was kept")
        for moment in sorted(rng.uniform(0, 1.5) for _ in range(CUTS)):
            assert run.lives_for(moment - now)
            now = moment
            kept.cut()
        assert run.wait().status == 0
    kept.check()
    assert sum(map(bool, kept.kept)) >= CUTS - 1


def test_the_power_may_fail_while_a_checkpoint_is_made(
    disks: tuple[Disks, Path], source: Path
) -> None:
    kept, backup = disks
    with Background("--checkpoint", "1M", "--bwlimit", RATE, f"{source}/", f"{backup}/") as run:
        cut_at_each_checkpoint(kept, run, backup)
        assert run.wait().status == 0
    kept.check()
    assert any(kept.kept)


def cut_at_each_checkpoint(disks: Disks, run: Background, backup: Path) -> None:
    """Cut as soon as there is a new name, of a record or of a snapshot, so many times."""
    seen: set[str] = set()
    for _ in range(3 * CUTS):
        wait_until(lambda: run.ended() or not marks(backup) <= seen, "something was kept")
        seen.update(marks(backup))
        assert not run.ended()
        disks.cut()
