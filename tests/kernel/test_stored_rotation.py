"""Years of rotation, in short: whatever comes and goes, all that is listed can be restored."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import pytest

from buttersink.chains import best_chains
from buttersink.settings import Settings
from buttersink.storing import Storing
from buttersink.stores.btrfs import BtrfsStore
from buttersink.stores.directory import DirectoryShelf
from buttersink.stores.streams import StreamStore
from buttersink.sync import sync
from support.history import History
from support.loopfs import run
from support.stored_ends import snapshots_below
from support.tree import Entry, describe, differences

if TYPE_CHECKING:
    from pathlib import Path

    from buttersink.events import Finished
    from buttersink.model import Inventory
    from buttersink.store import Sink, Source
    from support.loopfs import LoopFs
    from support.stored_ends import DirectoryEnd

ROUNDS = 25
MAX_CHAIN = 4


@dataclass(slots=True)
class Rotation:
    """A source whose snapshots come and go, and a directory of streams that follows it.

    Attributes:
        source: The directory of snapshots.
        streams: The directory of streams.
        storing: How streams are stored.
        trees: What is in each snapshot that ever was, by its path.
        left: The paths of snapshots that the source still has.
    """

    source: Path
    streams: Path
    storing: Storing
    trees: dict[str, dict[bytes, Entry]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def add(self, history: History) -> None:
        path = f"{len(self.trees)}"
        self.trees[path] = describe(history.snapshot(self.source / path))
        self.left.append(path)

    def delete(self, paths: list[str]) -> None:
        if paths:
            run("btrfs", "--quiet", "subvolume", "delete", *(self.source / p for p in paths))
        self.left = [path for path in self.left if path not in paths]

    def store(self) -> StreamStore:
        return StreamStore(
            DirectoryShelf(os.fspath(self.streams)), "", name="streams", storing=self.storing
        )

    def follow(self, *, delete: bool) -> Finished:
        """Sync, and check that nothing was left undone."""
        with closing(BtrfsStore(f"{self.source}/")) as source, closing(self.store()) as goal:
            return synced(source, goal, Settings(delete=delete, storing=self.storing))

    def inventory(self) -> Inventory:
        with closing(self.store()) as store:
            return store.inventory()

    def restore(self, directory: Path) -> None:
        """Restore everything, compare it with what it was, and delete it again."""
        directory.mkdir()
        shown = sorted(path for s in self.inventory().inside() for path in s.paths)
        with closing(self.store()) as source, closing(BtrfsStore(f"{directory}/")) as goal:
            synced(source, goal, Settings())
        assert snapshots_below(directory) == shown
        for path in shown:
            assert differences(self.trees[path], describe(directory / path)) == []
        run("btrfs", "--quiet", "subvolume", "delete", *(directory / path for path in shown))


def synced(source: Source, goal: Sink, settings: Settings) -> Finished:
    finished = sync(source, goal, settings, lambda _: None)
    assert (finished.failed, finished.undeleted) == (0, 0)
    return finished


@pytest.mark.parametrize(("seed", "max_restore"), [(11, 1.5), (12, 100.0)])
def test_no_chain_is_ever_broken_or_too_long(
    directory_end: DirectoryEnd, fs_a: LoopFs, fs_b: LoopFs, seed: int, max_restore: float
) -> None:
    rng = Random(seed)
    storing = Storing(max_chain=MAX_CHAIN, max_restore=max_restore, trash=False, level=1)
    (fs_a.path / "snaps").mkdir()
    rotation = Rotation(fs_a.path / "snaps", directory_end.path, storing)
    history = History(seed, fs_a.path / "live")
    (fs_a.path / "live" / "ballast").write_bytes(rng.randbytes(100_000))
    hidden = replaced = 0

    for number in range(ROUNDS):
        for _ in range(rng.choice((1, 1, 2))):
            history.step(8)
            rotation.add(history)
        rotation.delete(
            [path for path in rotation.left[:-1] if rng.random() < 0.3]
            if len(rotation.left) > 3
            else []
        )
        delete = rng.random() < 0.8

        hidden += rotation.follow(delete=delete).hidden

        held = rotation.inventory()
        shown = {path for snapshot in held.inside() for path in snapshot.paths}
        assert shown >= {*rotation.left}
        assert not delete or shown == {*rotation.left}
        chains = best_chains(held.stored)
        assert all(chains.costs[s.uuid].links <= MAX_CHAIN for s in held.inside())
        needed = {diff.to for s in held.inside() for diff in chains.streams(s.uuid)}
        assert not delete or needed == {diff.to for diff, _ in held.stored}
        rotation.restore(fs_b.path / f"{number}")
        replaced += rotation.follow(delete=delete).transferred

    assert hidden, "or this was too easy"
    assert not replaced, "a second run has nothing to do"
