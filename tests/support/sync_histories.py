"""Histories side by side in one file system, to be synced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.history import History
from support.tree import assert_same_tree

if TYPE_CHECKING:
    from pathlib import Path

    from support.loopfs import LoopFs


def histories(fs: LoopFs, count: int) -> list[History]:
    """Start histories of different seeds; each has a directory snaps/<number>."""
    started = []
    for number in range(count):
        (fs.path / "snaps" / str(number)).mkdir(parents=True)
        # Seed 0 runs into the second of the kernel's faults that test_content has.
        started.append(History(number + 1, fs.path / f"live {number}"))
    return started


def extend(fs: LoopFs, started: list[History], *names: str, steps: int = 60) -> list[str]:
    """Let each history go on, with a snapshot after so many steps; return their paths."""
    paths = []
    for number, history in enumerate(started):
        for name in names:
            history.step(steps)
            history.snapshot(fs.path / "snaps" / str(number) / name)
            paths.append(f"{number}/{name}")
    return paths


def assert_arrived(source: Path, destination: Path, paths: list[str]) -> None:
    for path in paths:
        assert_same_tree(source / path, destination / path)
