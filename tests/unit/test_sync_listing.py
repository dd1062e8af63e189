"""Listings, and cleaning up what interrupted transfers left."""

from __future__ import annotations

import re

import pytest

from buttersink import events
from buttersink.errors import (
    TransferError,
    UsageError,
)
from buttersink.listing import list_snapshots
from buttersink.model import Diff, StreamOptions
from buttersink.settings import Settings
from buttersink.sync import clean_partials
from contract.memory_disk import MemoryDisk
from contract.memory_store import MemoryStore
from support.sync_ends import (
    ReadOnlyStore,
    RecordingStore,
    RefusingStore,
    Told,
    UnmeasuringStore,
    contents,
    history,
    run,
    source_disk,
)


def test_a_listing_tells_what_each_snapshot_adds_to_the_one_before_it() -> None:
    source = source_disk()
    history(source, 1, within="snaps/root", lineage="root")
    store = MemoryStore(source, "snaps")
    told = Told()
    list_snapshots(store, Settings(), told.append)
    listed = told.the(events.Listed)
    assert listed.end == "source:snaps"
    assert listed.inventory == store.inventory()
    found = {e.snapshot.path: e.predecessor and e.predecessor.path for e in listed.entries}
    assert found == {"1": None, "2": "1", "3": "2", "root/1": None}
    for entry in listed.entries:
        parent = entry.predecessor.uuid if entry.predecessor else None
        assert entry.increment == store.measure(
            Diff(entry.snapshot.uuid, parent), StreamOptions(version=1)
        )
    assert told.all(events.Measuring)[-1] == events.Measuring(done=4, total=4)


def test_a_listing_can_be_of_some_snapshots_and_estimated() -> None:
    store = UnmeasuringStore(source_disk(12), "snaps")
    told = Told()
    excludes = (re.compile("1"),)
    list_snapshots(store, Settings(estimate=True, excludes=excludes), told.append)
    listed = told.the(events.Listed)
    assert [e.snapshot.path for e in listed.entries] == ["2", "3", "4", "5", "6", "7", "8", "9"]
    assert not any(e.increment.exact for e in listed.entries)
    told.clear()
    list_snapshots(store, Settings(estimate=True, one="2"), told.append)
    assert [e.snapshot.path for e in told.the(events.Listed).entries] == ["2"]
    with pytest.raises(UsageError):
        list_snapshots(store, Settings(one="no such"), told.append)


def test_cleaning_removes_all_partials_and_nothing_else() -> None:
    disk = source_disk()
    disk.partials |= {"snaps/.a": Diff(disk.snapshots["snaps/1"].image.uuid).to}
    disk.partials |= {"snaps/b/.c": disk.partials["snaps/.a"]}
    before = contents(disk, "snaps")
    told = Told()
    rehearsal = clean_partials(ReadOnlyStore(disk, "snaps"), Settings(dry_run=True), told.append)
    assert rehearsal == events.Finished()
    assert len(told.the(events.Planned).plan.cleans) == len(disk.partials) == 2
    told.clear()
    clean_partials(MemoryStore(disk, "snaps"), Settings(), told.append)
    assert [e.clean.partial.path for e in told.all(events.Cleaned)] == [".a", "b/.c"]
    assert disk.partials == {}
    assert contents(disk, "snaps") == before


def test_what_was_left_of_a_snapshot_that_comes_anew_is_cleaned_first() -> None:
    source, destination = source_disk(), MemoryDisk("destination")
    stranger = MemoryDisk("another").take_snapshot("1", {})
    ours = source.snapshots["snaps/2"].image.uuid
    destination.partials |= {"backup/.ours": ours, "backup/.stranger": stranger}
    sink = RecordingStore(destination, "backup")
    run(MemoryStore(source, "snaps"), sink)
    assert sink.changes[0] == "clean .ours"
    assert destination.partials == {"backup/.stranger": stranger}


def test_a_partial_that_cannot_be_cleaned_is_told_and_the_run_goes_on() -> None:
    source, destination = source_disk(), MemoryDisk("destination")
    destination.partials["backup/.ours"] = source.snapshots["snaps/2"].image.uuid
    sink = RefusingStore(destination, "backup", refused={".ours"})
    finished, told = run(MemoryStore(source, "snaps"), sink)
    assert isinstance(told.the(events.Failed).error, TransferError)
    assert (finished.transferred, finished.undeleted) == (3, 1)
