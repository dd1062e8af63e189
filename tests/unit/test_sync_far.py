"""Runs with an end that is far away: it has secrets, may be opened for little, and answers late."""

from __future__ import annotations

import shutil
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from buttersink import events
from buttersink.errors import UnavailableError
from buttersink.model import Mode
from buttersink.plan import Adopt, Transfer
from buttersink.settings import Settings
from buttersink.stores.directory import DirectoryShelf
from buttersink.stores.streams import StreamStore
from buttersink.storing import Storing
from buttersink.sync import sync
from contract.memory_disk import MemoryDisk
from contract.memory_far import FarMemoryStore
from contract.memory_store import MemoryStore
from support.sync_ends import Told, contents, copied, history, run, source_disk, transfers

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID


def moved(disk: MemoryDisk, path: str, goal: str) -> None:
    disk.snapshots[goal] = disk.snapshots.pop(path)


def test_what_a_far_destination_keeps_to_itself_is_built_on() -> None:
    source, destination = source_disk(3), MemoryDisk("destination")
    run(MemoryStore(source, "snaps"), MemoryStore(destination, "old"), Settings(one="2"))
    moved(source, "snaps/2", "outside/2")
    far = FarMemoryStore(destination, "backup", mode=Mode.APPEND)
    finished, told = run(MemoryStore(source, "snaps"), far)
    assert transfers(told.the(events.Planned).plan) == {"1": "outside/2", "3": "outside/2"}
    assert (finished.transferred, finished.failed) == (2, 0)
    assert contents(destination, "backup") == contents(source, "snaps")


def test_what_a_far_destination_keeps_to_itself_comes_all_the_same_if_it_is_wanted() -> None:
    source, destination = source_disk(3), MemoryDisk("destination")
    run(MemoryStore(source, "snaps"), MemoryStore(destination, "old"), Settings(one="2"))
    far = FarMemoryStore(destination, "backup", mode=Mode.APPEND)
    finished, told = run(MemoryStore(source, "snaps"), far)
    steps = told.the(events.Planned).plan.steps
    assert [type(step) for step in steps] == [Transfer] * 3
    assert (finished.transferred, finished.failed) == (3, 0)
    assert contents(destination, "backup") == contents(source, "snaps")
    near = MemoryStore(destination, "another")
    _, told = run(MemoryStore(source, "snaps"), near)
    assert {type(step) for step in told.the(events.Planned).plan.steps} == {Adopt}


def test_a_stored_stream_is_restored_on_what_only_a_far_destination_knows(tmp_path: Path) -> None:
    source, destination = source_disk(2), MemoryDisk("destination")
    near, stored = MemoryStore(source, "snaps"), tmp_path / "stored"
    stored.mkdir()
    shelf = DirectoryShelf(str(stored))
    with closing(StreamStore(shelf, "", name="stored", storing=Storing())) as streams:
        run(near, streams)
        (base,) = (path for path in ("1", "2") if list(stored.glob(f"{path}/*_None.*")))
        shutil.rmtree(stored / base)
        run(near, MemoryStore(destination, "old"), Settings(one=base))
        finished, _ = run(streams, FarMemoryStore(destination, "backup", mode=Mode.APPEND))
    assert (finished.transferred, finished.failed) == (1, 0)
    assert contents(destination, "backup").keys() == {"1", "2"} - {base}


def test_what_a_far_source_keeps_to_itself_is_built_on_and_never_sent() -> None:
    source, destination = source_disk(3), MemoryDisk("destination")
    run(MemoryStore(source, "snaps"), MemoryStore(destination, "backup"), Settings(one="2"))
    moved(source, "snaps/2", "outside/2")
    far = FarMemoryStore(source, "snaps", mode=Mode.READ)
    assert {s.path for s in far.inventory().snapshots} == {"1", "3"}
    finished, told = run(far, MemoryStore(destination, "backup"))
    assert transfers(told.the(events.Planned).plan) == {"1": "2", "3": "2"}
    assert (finished.transferred, finished.failed) == (2, 0)
    assert contents(destination, "backup").keys() == {"1", "2", "3"}


def test_nobody_learns_of_secrets_whose_identity_he_does_not_know() -> None:
    disk = source_disk(2)
    far = FarMemoryStore(disk, "elsewhere")
    known = disk.snapshots["snaps/1"].image.uuid
    assert far.inventory().snapshots == ()
    assert far.parents(()) == ()
    (found,) = far.parents({known})
    assert (found.uuid, found.paths, found.elsewhere) == (known, (), ())


@pytest.mark.parametrize("dry_run", [False, True])
def test_leftovers_are_removed_where_that_was_asked_for(*, dry_run: bool) -> None:
    source, destination = source_disk(), MemoryDisk("destination")
    destination.partials["backup/.partial"] = source.snapshots["snaps/2"].image.uuid
    mode = Mode.READ if dry_run else Mode.WRITE
    far = FarMemoryStore(destination, "backup", mode=mode)
    _, told = run(MemoryStore(source, "snaps"), far, Settings(delete=True, dry_run=dry_run))
    cleans = told.the(events.Planned).plan.cleans
    assert [clean.partial.path for clean in cleans] == [".partial"]


@pytest.mark.parametrize(("mode", "cleaned"), [(Mode.APPEND, 0), (Mode.READ, 0), (Mode.WRITE, 1)])
def test_where_nothing_may_be_removed_leftovers_are_replaced_by_what_comes(
    mode: Mode, cleaned: int
) -> None:
    source, destination = source_disk(), MemoryDisk("destination")
    uuid = source.snapshots["snaps/2"].image.uuid
    destination.partials[f"backup/.partial-{uuid}"] = uuid
    far = FarMemoryStore(destination, "backup", mode=mode)
    finished, told = run(MemoryStore(source, "snaps"), far)
    assert len(told.the(events.Planned).plan.cleans) == cleaned
    assert (finished.transferred, finished.undeleted) == (3, 0)
    assert destination.partials == {}


def test_a_far_source_is_asked_few_questions() -> None:
    disk = MemoryDisk("source")
    history(disk, 50)
    far = FarMemoryStore(disk, "snaps", mode=Mode.READ)
    run(far, MemoryStore(MemoryDisk("destination"), "backup"))
    assert far.rounds <= 3


class LostStore(MemoryStore):
    """Can't be reached any more from some deletion on, or only when all is done."""

    def __init__(self, disk: MemoryDisk, directory: str, *, deletions: int) -> None:
        super().__init__(disk, directory)
        self._left = deletions

    def _answer(self) -> None:
        if self._left <= 0:
            raise UnavailableError("the connection is lost")
        self._left -= 1

    def delete(self, uuid: UUID, path: str) -> None:
        self._answer()
        super().delete(uuid, path)

    def flush(self) -> None:
        self._answer()
        super().flush()


@pytest.fixture
def source() -> MemoryDisk:
    return source_disk(1)


def with_more(source: MemoryDisk, count: int) -> MemoryDisk:
    """Return a destination that has what the source has, and `count` others."""
    disk = copied(source, ["1"])
    history(disk, count, within="backup/other", lineage="other")
    return disk


def test_a_destination_that_is_lost_among_deletions_is_not_asked_for_each_of_them(
    source: MemoryDisk,
) -> None:
    sink = LostStore(with_more(source, 8), "backup", deletions=3)

    finished, told = run(MemoryStore(source, "snaps"), sink, Settings(delete=True))

    assert (finished.deleted, finished.undeleted) == (3, 5)
    assert len(told.all(events.Failed)) == 2
    assert "nothing more is removed" in told.the(events.Warned).message
    assert told.the(events.Finished) == finished


def test_a_destination_that_is_lost_at_the_very_end_is_told_after_what_was_done(
    source: MemoryDisk,
) -> None:
    sink = LostStore(with_more(source, 2), "backup", deletions=2)
    told = Told()

    with pytest.raises(UnavailableError):
        sync(MemoryStore(source, "snaps"), sink, Settings(delete=True), told.append)

    finished = told.the(events.Finished)
    assert (finished.deleted, finished.undeleted, finished.failed) == (2, 0, 0)
