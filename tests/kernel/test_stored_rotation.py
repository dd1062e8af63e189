"""Years of rotation, in short: whatever comes and goes, all that is listed can be restored."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import pytest

from buttersink.chains import best_chains
from buttersink.settings import Settings
from buttersink.stores.btrfs import BtrfsStore
from buttersink.stores.directory import DirectoryShelf
from buttersink.stores.streams import StreamStore
from buttersink.storing import Storing
from buttersink.sync import sync
from support.history import History
from support.loopfs import run
from support.stored_ends import snapshots_below
from support.tree import Entry, describe, differences

if TYPE_CHECKING:
    from pathlib import Path

    from buttersink.events import Finished
    from buttersink.store import Sink, Source
    from support.loopfs import LoopFs

ROUNDS = 25
MAX_CHAIN = 4


@dataclass(slots=True)
class Rotation:
    """A directory of snapshots that come and go.

    Attributes:
        source: The directory.
        rng: Where all chance comes from.
        trees: What is in each snapshot that ever was, by its path.
        left: The paths of the snapshots that are there.
    """

    source: Path
    rng: Random
    trees: dict[str, dict[bytes, Entry]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def turn(self, history: History) -> None:
        """Make new snapshots, and delete some of the others if there are enough."""
        for _ in range(self.rng.choice((1, 1, 2))):
            history.step(8)
            path = f"{len(self.trees)}"
            self.trees[path] = describe(history.snapshot(self.source / path))
            self.left.append(path)
        doomed = [path for path in self.left[:-1] if self.rng.random() < 0.3]
        if doomed and len(self.left) > 3:
            run("btrfs", "--quiet", "subvolume", "delete", *(self.source / p for p in doomed))
            self.left = [path for path in self.left if path not in doomed]

    def assert_restores(self, streams: StreamStore, directory: Path) -> None:
        """Restore everything, compare it with what it was, and delete it again."""
        directory.mkdir()
        shown = shown_paths(streams)
        with closing(BtrfsStore(f"{directory}/")) as goal:
            synced(streams, goal, Settings())
        assert snapshots_below(directory) == sorted(shown)
        for path in shown:
            assert differences(self.trees[path], describe(directory / path)) == []
        run("btrfs", "--quiet", "subvolume", "delete", *(directory / path for path in shown))


def shown_paths(streams: StreamStore) -> set[str]:
    return {path for snapshot in streams.inventory().inside() for path in snapshot.paths}


def assert_tidy(streams: StreamStore) -> None:
    """Check that every stream is needed for a snapshot that is shown."""
    held = streams.inventory()
    chains = best_chains(held.stored)
    needed = {diff.to for s in held.inside() for diff in chains.streams(s.uuid)}
    assert needed == {diff.to for diff, _ in held.stored}


def most_links(streams: StreamStore) -> int:
    held = streams.inventory()
    chains = best_chains(held.stored).costs
    return max(chains[s.uuid].links for s in held.inside())


def synced(source: Source, goal: Sink, settings: Settings) -> Finished:
    finished = sync(source, goal, settings, lambda _: None)
    assert (finished.failed, finished.undeleted) == (0, 0)
    return finished


@pytest.mark.parametrize(("seed", "max_restore"), [(11, 1.5), (12, 100.0)])
def test_no_chain_is_ever_broken_or_too_long(
    scratch: Path, fs_a: LoopFs, fs_b: LoopFs, seed: int, max_restore: float
) -> None:
    storing = Storing(max_chain=MAX_CHAIN, max_restore=max_restore, trash=False, level=1)
    (fs_a.path / "snaps").mkdir()
    rotation = Rotation(fs_a.path / "snaps", Random(seed))
    history = History(seed, fs_a.path / "live")
    (fs_a.path / "live" / "ballast").write_bytes(rotation.rng.randbytes(100_000))
    hidden = again = 0

    with ExitStack() as stack:

        def opened(name: str) -> StreamStore:
            (scratch / name).mkdir()
            shelf = DirectoryShelf(os.fspath(scratch / name))
            return stack.enter_context(closing(StreamStore(shelf, "", name=name, storing=storing)))

        streams, mirror = opened("streams"), opened("mirror")
        for number in range(ROUNDS):
            rotation.turn(history)
            delete = rotation.rng.random() < 0.8
            settings = Settings(delete=delete, storing=storing)
            with closing(BtrfsStore(f"{rotation.source}/")) as source:
                hidden += synced(source, streams, settings).hidden
                again += synced(source, streams, settings).transferred
            synced(streams, mirror, settings)

            for end in (streams, mirror):
                assert shown_paths(end) >= {*rotation.left}
                assert not delete or shown_paths(end) == {*rotation.left}
                if delete:
                    assert_tidy(end)
            assert most_links(streams) <= MAX_CHAIN  # a mirror can't make other diffs
            rotation.assert_restores(streams, fs_b.path / f"{number}")
            if number % 5 == 4:
                rotation.assert_restores(mirror, fs_b.path / f"{number} mirrored")

    assert hidden, "or this was too easy"
    assert not again, "a second run has nothing to do"
