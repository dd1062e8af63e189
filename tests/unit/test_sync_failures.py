"""What a run does when something fails: the rest still goes, and the next run makes good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buttersink import events
from buttersink.errors import (
    CorruptStreamError,
    NoSpaceError,
    PathTakenError,
    TransferError,
    UnavailableError,
)
from buttersink.model import StreamOptions
from buttersink.plan import Reason
from buttersink.settings import Settings
from contract.memory_disk import MemoryDisk
from contract.memory_store import MemoryStore
from support.sync_ends import (
    LARGE,
    BreakingStore,
    RecordingStore,
    RefusingStore,
    UnfaithfulStore,
    contents,
    copied,
    history,
    run,
    source_disk,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


def test_what_depends_on_a_failed_snapshot_is_skipped_and_the_rest_still_goes() -> None:
    source, destination = MemoryDisk("source"), MemoryDisk("destination")
    history(source, 4, within="snaps/home", lineage="home")
    history(source, 2, within="snaps/root", lineage="root")
    sink = RefusingStore(destination, "backup", refused={"home/2"})
    finished, told = run(MemoryStore(source, "snaps"), sink)
    assert contents(destination, "backup").keys() == {"home/1", "root/1", "root/2"}
    failed = told.the(events.Failed)
    assert (failed.step.path, str(failed.error)) == ("home/2", "no home/2")  # type: ignore[union-attr] # a Clean has no path
    skips = [event.skip for event in told.all(events.Skipped)]
    assert [(s.path, s.reason, s.detail) for s in skips] == [
        ("home/3", Reason.PARENT_FAILED, "home/2"),
        ("home/4", Reason.PARENT_FAILED, "home/3"),
    ]
    assert (finished.transferred, finished.failed) == (3, 3)


def test_what_builds_on_a_failed_adoption_still_goes_as_that_is_on_the_file_system() -> None:
    source = source_disk(2)
    destination = copied(source, ["1"])
    sink = RefusingStore(destination, "new place", refused={"1"})
    finished, told = run(MemoryStore(source, "snaps"), sink)
    assert isinstance(told.the(events.Failed).error, TransferError)
    assert contents(destination, "new place").keys() == {"2"}
    assert (finished.adopted, finished.transferred, finished.failed) == (0, 1, 1)


def test_an_end_that_cannot_be_reached_twice_in_a_row_is_not_tried_again_and_again() -> None:
    source, destination = MemoryDisk("source"), MemoryDisk("destination")
    for name in "abcde":
        history(source, 1, within=f"snaps/{name}", lineage=name)
    paths = sorted(contents(source, "snaps"))
    sink = RefusingStore(destination, "backup", refused={*paths[1:]}, kind=UnavailableError)
    finished, told = run(MemoryStore(source, "snaps"), sink)
    assert [event.step.path for event in told.all(events.Failed)] == paths[1:3]  # type: ignore[union-attr] # a Clean has no path
    skips = [event.skip for event in told.all(events.Skipped)]
    assert [(s.path, s.reason) for s in skips] == [(p, Reason.UNAVAILABLE) for p in paths[3:]]
    assert (finished.transferred, finished.failed) == (1, 4)


def test_a_single_one_that_cannot_be_reached_stops_nothing() -> None:
    source, destination = MemoryDisk("source"), MemoryDisk("destination")
    for name in "abcd":
        history(source, 1, within=f"snaps/{name}", lineage=name)
    paths = sorted(contents(source, "snaps"))
    sink = RefusingStore(destination, "backup", refused={paths[0], paths[2]}, kind=UnavailableError)
    finished, _ = run(MemoryStore(source, "snaps"), sink)
    assert contents(destination, "backup").keys() == {paths[1], paths[3]}
    assert (finished.transferred, finished.failed) == (2, 2)


@pytest.mark.parametrize("after", [0, 1000, LARGE, None])
@pytest.mark.parametrize("kind", [TransferError, UnavailableError, CorruptStreamError])
def test_a_failing_sender_fails_its_snapshot_and_the_next_run_makes_good(
    after: int | None, kind: type[TransferError | UnavailableError | CorruptStreamError]
) -> None:
    source, destination = source_disk(), MemoryDisk("destination")
    error = kind("the disk could not be read")
    store = BreakingStore(source, "snaps", error=error, after=after)
    finished, told = run(store, MemoryStore(destination, "backup"))
    assert destination.snapshots == {}
    assert told.the(events.Failed).error is error
    assert (finished.transferred, finished.failed) == (0, 3)
    finished, told = run(MemoryStore(source, "snaps"), MemoryStore(destination, "backup"))
    assert contents(destination, "backup") == contents(source, "snaps")
    assert (finished.transferred, finished.failed) == (3, 0)
    assert destination.partials == {}


def test_an_interrupted_run_leaves_no_snapshot_and_no_lock() -> None:
    source, destination = source_disk(), MemoryDisk("destination")
    store = BreakingStore(source, "snaps", error=KeyboardInterrupt(), after=1000)
    with pytest.raises(KeyboardInterrupt):
        run(store, MemoryStore(destination, "backup"))
    assert destination.snapshots == {}
    run(MemoryStore(source, "snaps"), MemoryStore(destination, "backup"))
    assert contents(destination, "backup") == contents(source, "snaps")


def test_a_path_taken_since_the_plan_fails_only_its_snapshot() -> None:
    source, destination = source_disk(), MemoryDisk("destination")

    class OccupiedMeanwhile(MemoryStore):
        def taken(self, paths: Iterable[str]) -> frozenset[str]:
            found = super().taken(paths)
            destination.files.add("backup/3")
            return found

    finished, told = run(MemoryStore(source, "snaps"), OccupiedMeanwhile(destination, "backup"))
    assert isinstance(told.the(events.Failed).error, PathTakenError)
    assert (finished.transferred, finished.failed) == (2, 1)


def test_a_transfer_that_surely_does_not_fit_is_not_begun() -> None:
    source = source_disk()
    destination = MemoryDisk("destination", capacity=LARGE // 2)
    sink = RecordingStore(destination, "backup")
    finished, told = run(MemoryStore(source, "snaps"), sink)
    failed = told.the(events.Failed)
    assert isinstance(failed.error, NoSpaceError)
    assert failed.error.hint
    assert sink.changes == ["flush"]
    assert finished.failed == 3


def test_what_fits_is_sent_until_the_space_ends() -> None:
    source = source_disk()
    destination = MemoryDisk("destination", capacity=LARGE + 2500)
    finished, told = run(MemoryStore(source, "snaps"), MemoryStore(destination, "backup"))
    assert contents(destination, "backup").keys() == {"1", "2"}
    assert isinstance(told.the(events.Failed).error, NoSpaceError)
    assert (finished.transferred, finished.failed) == (2, 1)


def test_an_estimated_size_does_not_keep_a_transfer_from_being_tried() -> None:
    source = source_disk(1)
    destination = MemoryDisk("destination", capacity=LARGE // 2)
    sink = RecordingStore(destination, "backup")
    _, told = run(MemoryStore(source, "snaps"), sink, Settings(estimate=True))
    assert sink.changes == ["receive 1"]
    assert isinstance(told.the(events.Failed).error, NoSpaceError)


class CompressedSink(RecordingStore):
    def accepts(self) -> StreamOptions:
        return StreamOptions(version=2, compressed=True)


@pytest.mark.parametrize(
    ("compressed_only", "receives"), [(True, 2), (False, 3)], ids=["compressed", "incremental"]
)
def test_a_stream_that_lacks_something_is_sent_again_in_a_way_that_does_not(
    *, compressed_only: bool, receives: int
) -> None:
    source = source_disk(2)
    destination = copied(source, ["1"])
    sink = CompressedSink(destination, "backup", version=2)

    finished, told = run(UnfaithfulStore(source, "snaps", compressed_only=compressed_only), sink)

    assert (finished.transferred, finished.failed) == (1, 0)
    assert contents(destination, "backup") == contents(source, "snaps")
    assert len([change for change in sink.changes if change.startswith("receive")]) == receives
    assert len(told.all(events.Warned)) == receives - 1
