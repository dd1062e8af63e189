"""Histories of a live subvolume, to take snapshots of."""

from __future__ import annotations

import os
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from support.attribute_changes import ATTRIBUTE_CHANGES
from support.content_changes import CONTENT_CHANGES
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.live import Live
from support.name_changes import NAME_CHANGES, delete

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from support.loopfs import LoopFs

StrPath = str | os.PathLike[str]

_CHANGES = (*CONTENT_CHANGES, *NAME_CHANGES, *ATTRIBUTE_CHANGES)
_CROWD = 4000
"""Entries above which more is deleted, so that long histories stay quick to compare."""


class History:
    """Random, awkward changes to a subvolume: the same seed makes the same tree, but for times.

    Attributes:
        live: The subvolume; made if it does not exist, else it must be empty.
        log: The names of the changes so far.
    """

    def __init__(
        self,
        seed: int,
        live: StrPath,
        *,
        more: Sequence[tuple[float, Callable[[Live], bool]]] = (),
    ) -> None:
        """Start with an empty subvolume; `more` are further changes to draw from, with weights."""
        self._changes = (*_CHANGES, *more)
        self._weights = tuple(accumulate(weight for weight, _ in self._changes))
        self.live = Path(live)
        self.log: list[str] = []
        if not self.live.exists():
            create_subvolume(live)
        if os.listdir(live):
            raise ValueError(f"{live} is not empty: a history must know all that is there")
        self._rng = Random(seed)
        self._state = Live(os.fsencode(live), self._rng)

    def step(self, n: int = 1) -> None:
        """Make `n` changes."""
        target = len(self.log) + n
        while len(self.log) < target:
            ((_, change),) = self._rng.choices(self._changes, cum_weights=self._weights)
            if len(self._state) > _CROWD and self._rng.random() < 0.5:
                change = delete
            if change(self._state):
                self.log.append(change.__name__)

    def snapshot(self, path: StrPath) -> Path:
        """Make a read-only snapshot of the subvolume as it is now; return its path."""
        snapshot_read_only(self.live, path)
        return Path(path)


def simple_history(fs: LoopFs, count: int, *, size: int = 1 << 20) -> list[Path]:
    """Make snaps/1, snaps/2, ... of a subvolume `live` that grows by a few KiB in between.

    Args:
        fs: A file system without `live` and `snaps`.
        count: Number of snapshots, 0 or more.
        size: Bytes in the files that are there from the start.

    Returns:
        The paths of the snapshots, oldest first.
    """
    rng = Random(size)
    live = fs.path / "live"
    create_subvolume(live)
    base = live / "base"
    base.mkdir()
    for number, start in enumerate(range(0, size, 256 << 10)):
        (base / f"{number}").write_bytes(rng.randbytes(min(size - start, 256 << 10)))
    snapshots = []
    (fs.path / "snaps").mkdir()
    for number in range(1, count + 1):
        (live / f"file {number}").write_bytes(rng.randbytes(5000))
        with (live / "log").open("a", encoding="utf-8") as log:
            log.write(f"snapshot {number}\n")
        snapshots.append(fs.path / "snaps" / str(number))
        snapshot_read_only(live, snapshots[-1])
    return snapshots


def many_snapshots(fs: LoopFs, count: int) -> list[Path]:
    """Make snaps/1, snaps/2, ... as fast as it goes: each differs in one small file."""
    live = fs.path / "live"
    create_subvolume(live)
    (fs.path / "snaps").mkdir()
    snapshots = [fs.path / "snaps" / str(number) for number in range(1, count + 1)]
    for path in snapshots:
        (live / "number").write_text(path.name, encoding="ascii")
        snapshot_read_only(live, path)
    return snapshots
