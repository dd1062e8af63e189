"""Deleting what the source has not: only that, and only when it is safe."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink import events
from buttersink.errors import RefusedError, TransferError
from buttersink.settings import Settings
from contract.memory_disk import MemoryDisk
from contract.memory_store import MemoryStore
from support.sync_ends import (
    BreakingStore,
    RecordingStore,
    RefusingStore,
    contents,
    copied,
    run,
    source_disk,
)

DELETE = Settings(delete=True)


def old(disk: MemoryDisk, *names: str) -> None:
    """Put snapshots, which no source has, into the directory `backup`."""
    for name in names:
        disk.take_snapshot(f"backup/{name}", {b"file": name.encode()})


def names(disk: MemoryDisk) -> set[str]:
    return set(contents(disk, "backup"))


def test_delete_removes_only_what_is_not_in_the_source() -> None:
    source = source_disk()
    destination = copied(source, ["1", "2"])
    old(destination, "old", "dir/older")
    destination.take_snapshot("beside/kept", {})
    destination.files.add("backup/file")
    finished, told = run(MemoryStore(source, "snaps"), MemoryStore(destination, "backup"), DELETE)
    assert names(destination) == {"1", "2", "3"}
    assert [e.delete.path for e in told.all(events.Deleted)] == ["dir/older", "old"]
    assert (finished.deleted, finished.undeleted) == (2, 0)
    assert "beside/kept" in destination.snapshots
    assert destination.files == {"backup/file"}


def test_without_delete_nothing_is_deleted() -> None:
    destination = MemoryDisk("destination")
    old(destination, "old")
    finished, _ = run(MemoryStore(source_disk(), "snaps"), MemoryStore(destination, "backup"))
    assert names(destination) == {"1", "2", "3", "old"}
    assert finished.deleted == 0


@given(
    there=st.sets(st.integers(1, 6), min_size=1),
    strange=st.sets(st.sampled_from(["a", "b", "c/d"])),
    excluded=st.sets(st.sampled_from("123456abc")),
)
def test_after_delete_the_destination_has_the_source_and_what_was_excluded(
    there: set[int], strange: set[str], excluded: set[str]
) -> None:
    source = source_disk(6)
    destination = copied(source, [str(number) for number in sorted(there)])
    old(destination, *strange)
    settings = Settings(delete=True, excludes=tuple(re.compile(start) for start in excluded))
    run(MemoryStore(source, "snaps"), MemoryStore(destination, "backup"), settings)
    wanted = {str(number) for number in range(1, 7)} - excluded
    spared = {name for name in strange | {str(n) for n in there} if name[0] in excluded}
    assert names(destination) == wanted | spared


def test_an_excluded_snapshot_is_spared_also_under_another_name() -> None:
    source = source_disk(2)
    destination = copied(source, ["1"])
    destination.snapshots["backup/renamed"] = destination.snapshots.pop("backup/1")
    settings = Settings(delete=True, excludes=(re.compile("1$"),))
    run(MemoryStore(source, "snaps"), MemoryStore(destination, "backup"), settings)
    assert names(destination) == {"renamed", "2"}


def test_deletions_come_after_all_transfers() -> None:
    destination = MemoryDisk("destination")
    old(destination, "old")
    sink = RecordingStore(destination, "backup")
    run(MemoryStore(source_disk(2), "snaps"), sink, DELETE)
    assert sink.changes == ["receive 1", "receive 2", "delete old", "flush"]


def test_nothing_is_deleted_after_a_failed_transfer() -> None:
    destination = MemoryDisk("destination")
    old(destination, "old", "older")
    store = BreakingStore(source_disk(), "snaps", error=TransferError("broken"), after=0)
    finished, told = run(store, MemoryStore(destination, "backup"), DELETE)
    assert names(destination) == {"old", "older"}
    assert (finished.deleted, finished.undeleted) == (0, 2)
    assert "nothing was deleted" in told.the(events.Warned).message


def test_a_deletion_that_fails_is_told_and_the_others_go_on() -> None:
    destination = MemoryDisk("destination")
    old(destination, "a", "b", "c")
    sink = RefusingStore(destination, "backup", refused={"b"})
    finished, told = run(MemoryStore(source_disk(1), "snaps"), sink, DELETE)
    assert names(destination) == {"1", "b"}
    assert isinstance(told.the(events.Failed).error, TransferError)
    assert (finished.deleted, finished.undeleted) == (2, 1)


def test_delete_with_one_snapshot_as_source_is_refused_without_force() -> None:
    source = source_disk()
    destination = copied(source, ["1", "2"])
    before = dict(destination.snapshots)
    for dry_run in (True, False):
        settings = Settings(delete=True, one="1", dry_run=dry_run)
        with pytest.raises(RefusedError) as refused:
            run(MemoryStore(source, "snaps"), MemoryStore(destination, "backup"), settings)
        assert "--force" in refused.value.hint
    assert destination.snapshots == before


def test_delete_with_an_empty_source_is_refused_without_force() -> None:
    destination = MemoryDisk("destination")
    old(destination, "old")
    with pytest.raises(RefusedError) as refused:
        run(MemoryStore(MemoryDisk("empty"), "snaps"), MemoryStore(destination, "backup"), DELETE)
    assert "--force" in refused.value.hint
    assert names(destination) == {"old"}


def test_delete_with_an_empty_source_and_force_empties_the_destination() -> None:
    destination = MemoryDisk("destination")
    old(destination, *(str(number) for number in range(20)))
    settings = Settings(delete=True, force=True)
    run(MemoryStore(MemoryDisk("empty"), "snaps"), MemoryStore(destination, "backup"), settings)
    assert names(destination) == set()


@pytest.mark.parametrize(
    ("count", "force", "refused"), [(9, False, False), (10, False, True), (10, True, False)]
)
def test_deleting_all_of_a_large_destination_needs_force(
    count: int, *, force: bool, refused: bool
) -> None:
    destination = MemoryDisk("destination")
    doomed = {f"old {number}" for number in range(count)}
    old(destination, *doomed)
    settings = Settings(delete=True, force=force)
    store, sink = MemoryStore(source_disk(2), "snaps"), MemoryStore(destination, "backup")
    if refused:
        with pytest.raises(RefusedError, match=f"all {count} snapshots"):
            run(store, sink, settings)
        assert names(destination) == doomed
    else:
        run(store, sink, settings)
        assert names(destination) == {"1", "2"}


def test_deleting_much_is_not_refused_if_the_ends_share_a_snapshot() -> None:
    source = source_disk(2)
    destination = copied(source, ["1"])
    old(destination, *(f"old {number}" for number in range(20)))
    run(MemoryStore(source, "snaps"), MemoryStore(destination, "backup"), DELETE)
    assert names(destination) == {"1", "2"}


def test_with_delete_all_partials_are_cleaned() -> None:
    source, destination = source_disk(1), MemoryDisk("destination")
    stranger = MemoryDisk("another").take_snapshot("1", {})
    destination.partials["backup/.stranger"] = stranger
    _, told = run(MemoryStore(source, "snaps"), MemoryStore(destination, "backup"), DELETE)
    assert destination.partials == {}
    assert told.the(events.Cleaned).clean.partial.uuid == stranger


def test_nothing_is_deleted_if_a_partial_could_not_be_cleaned() -> None:
    source, destination = source_disk(1), MemoryDisk("destination")
    old(destination, "old")
    destination.partials["backup/.left"] = source.snapshots["snaps/1"].image.uuid
    sink = RefusingStore(destination, "backup", refused={".left"})
    finished, _ = run(MemoryStore(source, "snaps"), sink, DELETE)
    assert names(destination) == {"1", "old"}
    assert (finished.deleted, finished.undeleted) == (0, 2)


def test_what_is_left_alone_does_not_hide_that_all_the_rest_would_go() -> None:
    source, destination = source_disk(1), MemoryDisk("destination")
    old(destination, *(f"home/{n}" for n in range(10)), "root/1")
    settings = Settings(delete=True, excludes=(re.compile("root/"),))
    with pytest.raises(RefusedError, match="all 10 snapshots"):
        run(MemoryStore(source, "snaps"), MemoryStore(destination, "backup"), settings)
    assert len(names(destination)) == 11
