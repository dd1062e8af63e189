"""Bringing snapshots to a destination: what a run does, what it is asked, what it measures."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink import events
from buttersink.errors import (
    BusyError,
    RefusedError,
    UsageError,
)
from buttersink.model import Certainty, Diff, StreamOptions
from buttersink.plan import Reason
from buttersink.settings import Settings
from contract.memory_disk import MemoryDisk
from contract.memory_store import MemoryStore
from support.sync_ends import (
    LARGE,
    LyingStore,
    ReadOnlyStore,
    RecordingStore,
    UnmeasurableStore,
    UnmeasuringStore,
    contents,
    copied,
    history,
    run,
    source_disk,
    transfers,
)

HISTORIES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.dictionaries(st.sampled_from([b"x", b"y", b"z"]), st.binary(max_size=200)),
    ),
    min_size=1,
    max_size=8,
)


# What a run does


def test_sync_makes_the_destination_equal() -> None:
    source, destination = source_disk(), MemoryDisk("destination")
    finished, told = run(MemoryStore(source, "snaps"), MemoryStore(destination, "backup"))
    assert contents(destination, "backup") == contents(source, "snaps")
    assert (finished.transferred, finished.present, finished.failed) == (3, 0, 0)
    assert told.the(events.Finished) == finished
    assert transfers(told.the(events.Planned).plan) == {"1": None, "2": "1", "3": "2"}


@given(taken=HISTORIES, before=st.integers(0, 8))
def test_sync_makes_the_destination_equal_whatever_the_history(
    taken: list[tuple[str, dict[bytes, bytes]]], before: int
) -> None:
    source, destination = MemoryDisk("source"), MemoryDisk("destination")
    store, sink = MemoryStore(source, "snaps"), RecordingStore(destination, "backup")
    for number, (lineage, content) in enumerate(taken):
        source.take_snapshot(f"snaps/{lineage}/{number}", content, lineage=lineage)
        if number == before:
            run(store, sink)
    finished, told = run(store, sink)
    assert contents(destination, "backup") == contents(source, "snaps")
    assert finished.transferred + finished.present == len(taken)
    assert finished.sent_bytes == told.the(events.Planned).plan.cost.nbytes
    assert told.the(events.Planned).plan.cost.exact
    sink.changes.clear()
    assert run(store, sink)[0] == events.Finished(present=len(taken))
    assert sink.changes == []


def test_a_second_sync_does_nothing() -> None:
    source = source_disk()
    sink = RecordingStore(copied(source, ["1", "2", "3"]), "backup")
    finished, told = run(MemoryStore(source, "snaps"), sink)
    assert finished == events.Finished(present=3)
    assert sink.changes == []
    assert told.all(events.Measuring) == []


def test_sync_sends_only_what_is_missing_on_top_of_what_is_there() -> None:
    source = source_disk()
    destination = copied(source, ["2"])
    finished, told = run(MemoryStore(source, "snaps"), MemoryStore(destination, "backup"))
    assert transfers(told.the(events.Planned).plan) == {"1": "2", "3": "2"}
    assert finished.sent_bytes < LARGE
    assert contents(destination, "backup") == contents(source, "snaps")


def test_snapshots_of_the_destination_that_the_source_lacks_stay() -> None:
    destination = MemoryDisk("destination")
    other = destination.take_snapshot("backup/other", {b"file": b"precious"})
    run(MemoryStore(source_disk(), "snaps"), MemoryStore(destination, "backup"))
    assert contents(destination, "backup")["other"] == (other, {b"file": b"precious"})


def test_everything_done_is_flushed_at_last() -> None:
    sink = RecordingStore(MemoryDisk("destination"), "backup")
    run(MemoryStore(source_disk(), "snaps"), sink)
    assert sink.changes == ["receive 1", "receive 2", "receive 3", "flush"]


def test_what_is_elsewhere_on_the_file_system_is_put_in_place_without_a_transfer() -> None:
    source = source_disk()
    destination = copied(source, ["1", "2"])
    sink = RecordingStore(destination, "new place")
    finished, told = run(MemoryStore(source, "snaps"), sink)
    assert sink.changes == ["adopt 1", "adopt 2", "receive 3", "flush"]
    assert (finished.adopted, finished.transferred) == (2, 1)
    assert [e.adopt.path for e in told.all(events.Adopted)] == ["1", "2"]
    assert contents(destination, "new place") == contents(source, "snaps")


def test_streams_are_of_the_newest_version_that_both_ends_know() -> None:
    for made, accepted in ((1, 2), (2, 1), (2, 2)):
        sink = RecordingStore(MemoryDisk("destination"), "backup", version=accepted)
        run(MemoryStore(source_disk(1), "snaps", version=made), sink)
        assert sink.options == [StreamOptions(version=min(made, accepted))]


def test_progress_is_told_up_to_the_last_byte() -> None:
    _, told = run(MemoryStore(source_disk(1), "snaps"), MemoryStore(MemoryDisk("d"), "backup"))
    done = told.the(events.TransferDone)
    seen = [progress.plain_bytes for progress in told.all(events.TransferProgress)]
    assert seen == sorted(seen)
    assert seen[-1] == done.plain_bytes == done.sent_bytes == done.transfer.size.nbytes


def test_a_limited_rate_changes_nothing_but_the_time() -> None:
    source, destination = source_disk(), MemoryDisk("destination")
    settings = Settings(bytes_per_second=1e9)
    run(MemoryStore(source, "snaps"), MemoryStore(destination, "backup"), settings)
    assert contents(destination, "backup") == contents(source, "snaps")


def test_a_destination_that_another_run_holds_is_busy_and_left_alone() -> None:
    destination = MemoryDisk("destination")
    sink, other = MemoryStore(destination, "backup"), MemoryStore(destination, "backup")
    with other.lock(), pytest.raises(BusyError):
        run(MemoryStore(source_disk(), "snaps"), sink)
    assert destination.snapshots == {}


# Dry runs


@pytest.mark.parametrize("settings", [Settings(), Settings(delete=True), Settings(estimate=True)])
def test_a_dry_run_changes_nothing_and_tells_the_plan_of_the_real_run(settings: Settings) -> None:
    source = source_disk(5)
    destination = copied(source, ["1", "4"])
    destination.take_snapshot("backup/old", {b"file": b"old"})
    destination.partials["backup/.partial"] = source.take_snapshot("snaps/6", {b"file": b"6"})
    run(MemoryStore(source, "snaps"), MemoryStore(destination, "beside"), Settings(one="5"))
    dry = Settings(dry_run=True, delete=settings.delete, estimate=settings.estimate)
    finished, rehearsal = run(
        ReadOnlyStore(source, "snaps"), ReadOnlyStore(destination, "backup"), dry
    )
    _, performance = run(MemoryStore(source, "snaps"), MemoryStore(destination, "backup"), settings)
    planned = rehearsal.the(events.Planned)
    assert planned.dry_run
    assert planned.plan == performance.the(events.Planned).plan
    assert finished == events.Finished()
    assert {type(event) for event in rehearsal} <= {events.Planned, events.Measuring}
    assert planned.plan.cleans
    assert len(planned.plan.deletes) == settings.delete


def test_a_dry_run_needs_no_lock() -> None:
    destination = MemoryDisk("destination")
    with MemoryStore(destination, "backup").lock():
        _, told = run(
            MemoryStore(source_disk(), "snaps"),
            MemoryStore(destination, "backup"),
            Settings(dry_run=True),
        )
    assert len(told.the(events.Planned).plan.transfers) == 3


def test_a_dry_run_counts_what_could_not_arrive() -> None:
    destination = MemoryDisk("destination")
    destination.files.add("backup/2")
    finished, _ = run(
        MemoryStore(source_disk(), "snaps"),
        ReadOnlyStore(destination, "backup"),
        Settings(dry_run=True),
    )
    assert finished.failed == 1


# What is asked for


def test_one_snapshot_is_chosen_by_its_path() -> None:
    source, destination = source_disk(), MemoryDisk("destination")
    finished, _ = run(
        MemoryStore(source, "snaps"), MemoryStore(destination, "backup"), Settings(one="2")
    )
    assert finished.transferred == 1
    assert contents(destination, "backup").keys() == {"2"}


def test_one_snapshot_is_chosen_by_the_last_part_of_its_path() -> None:
    source, destination = MemoryDisk("source"), MemoryDisk("destination")
    history(source, 3, within="snaps/home")
    run(MemoryStore(source, "snaps"), MemoryStore(destination, "backup"), Settings(one="2"))
    assert contents(destination, "backup").keys() == {"home/2"}


def test_a_path_goes_before_the_last_part_of_another() -> None:
    source, destination = source_disk(), MemoryDisk("destination")
    history(source, 3, within="snaps/home")
    run(MemoryStore(source, "snaps"), MemoryStore(destination, "backup"), Settings(one="2"))
    assert contents(destination, "backup").keys() == {"2"}


def test_one_snapshot_that_is_not_there_is_a_wrong_usage() -> None:
    destination = MemoryDisk("destination")
    with pytest.raises(UsageError, match="7"):
        run(
            MemoryStore(source_disk(), "snaps"),
            MemoryStore(destination, "backup"),
            Settings(one="7"),
        )
    assert destination.snapshots == {}


def test_excluded_snapshots_stay_behind() -> None:
    source, destination = source_disk(21), MemoryDisk("destination")
    settings = Settings(excludes=(re.compile("1"), re.compile(r".*[02468]$")))
    finished, _ = run(MemoryStore(source, "snaps"), MemoryStore(destination, "backup"), settings)
    assert contents(destination, "backup").keys() == {"3", "5", "7", "9", "21"}
    assert finished.transferred == 5


def test_a_source_without_snapshots_is_refused() -> None:
    source, destination = MemoryDisk("source"), MemoryDisk("destination")
    source.take_snapshot("elsewhere/1", {})
    for settings in (Settings(), Settings(force=True), Settings(dry_run=True)):
        with pytest.raises(RefusedError, match="source:snaps"):
            run(MemoryStore(source, "snaps"), MemoryStore(destination, "backup"), settings)
    assert destination.snapshots == {}


def test_a_path_that_is_taken_is_skipped_and_counts_as_failed() -> None:
    source, destination = source_disk(), MemoryDisk("destination")
    destination.files.add("backup/2")
    finished, told = run(MemoryStore(source, "snaps"), MemoryStore(destination, "backup"))
    assert told.the(events.Skipped).skip.reason is Reason.PATH_TAKEN
    assert (finished.transferred, finished.failed) == (2, 1)
    assert contents(destination, "backup").keys() == {"1", "3"}
    assert destination.files == {"backup/2"}


# Measuring and estimating


def test_the_plan_of_a_run_is_measured() -> None:
    _, told = run(MemoryStore(source_disk(), "snaps"), MemoryStore(MemoryDisk("d"), "backup"))
    plan = told.the(events.Planned).plan
    sent = [done.sent_bytes for done in told.all(events.TransferDone)]
    assert [transfer.size.nbytes for transfer in plan.transfers] == sent
    assert plan.cost.exact
    progress = told.all(events.Measuring)
    assert all(m.done <= m.total for m in progress)
    assert progress[-1].done == progress[-1].total > 0


def test_estimate_measures_nothing() -> None:
    source, destination = source_disk(), MemoryDisk("destination")
    _, told = run(
        UnmeasuringStore(source, "snaps"),
        MemoryStore(destination, "backup"),
        Settings(estimate=True),
    )
    assert told.the(events.Planned).plan.cost.certainty is Certainty.ESTIMATE
    assert told.all(events.Warned) == []
    assert contents(destination, "backup") == contents(source, "snaps")


@pytest.mark.parametrize("estimate", [False, True])
def test_a_diff_that_cannot_be_measured_is_avoided(*, estimate: bool) -> None:
    source, destination = source_disk(), MemoryDisk("destination")
    one, two, three = (source.snapshots[f"snaps/{n}"].image.uuid for n in (1, 2, 3))
    store = UnmeasurableStore(source, "snaps", failing={Diff(two, one), Diff(three, two)})
    finished, told = run(store, MemoryStore(destination, "backup"), Settings(estimate=estimate))
    assert finished.failed == 0
    assert contents(destination, "backup") == contents(source, "snaps")
    assert not {Diff(two, one), Diff(three, two)} & {
        transfer.diff for transfer in told.the(events.Planned).plan.transfers
    }
    assert bool(told.all(events.Warned)) is not estimate


def test_a_snapshot_that_cannot_be_sent_at_all_is_skipped_and_others_go() -> None:
    source, destination = source_disk(), MemoryDisk("destination")
    uuids = [source.snapshots[f"snaps/{n}"].image.uuid for n in (1, 2, 3)]
    bad = uuids[1]
    failing = {Diff(to, parent) for to in uuids for parent in (None, *uuids) if bad in (to, parent)}
    store = UnmeasurableStore(source, "snaps", failing=failing)
    finished, told = run(store, MemoryStore(destination, "backup"))
    assert contents(destination, "backup").keys() == {"1", "3"}
    assert (finished.transferred, finished.failed) == (2, 1)
    assert told.the(events.Skipped).skip.reason is Reason.UNREACHABLE


def test_a_size_that_was_measured_wrongly_is_told() -> None:
    source, destination = source_disk(1), MemoryDisk("destination")
    _, told = run(LyingStore(source, "snaps", factor=1.01), MemoryStore(destination, "backup"))
    assert "measured" in told.the(events.Warned).message
    assert contents(destination, "backup") == contents(source, "snaps")


def test_a_size_that_was_measured_almost_rightly_is_not_worth_a_warning() -> None:
    assert LARGE * 0.0001 > 9
    for off in (-9, 9):
        store = LyingStore(source_disk(1), "snaps", factor=1, off=off)
        _, told = run(store, MemoryStore(MemoryDisk("destination"), "backup"))
        assert told.all(events.Warned) == []


def test_an_estimated_size_is_never_compared() -> None:
    _, told = run(
        MemoryStore(source_disk(), "snaps"),
        MemoryStore(MemoryDisk("destination"), "backup"),
        Settings(estimate=True),
    )
    done = told.all(events.TransferDone)
    assert any(d.transfer.size.nbytes != d.plain_bytes for d in done)
    assert told.all(events.Warned) == []
