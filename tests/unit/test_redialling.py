"""Runs that lose the link to an end, and get it back."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink import events
from buttersink.errors import (
    BusyError,
    ButterSinkError,
    NotPermittedError,
    UnavailableError,
)
from buttersink.linking import Patience
from buttersink.listing import list_snapshots
from buttersink.redialled import RedialledSink, RedialledSource
from buttersink.redialling import Redialler
from buttersink.settings import Settings
from buttersink.stores.directory import DirectoryShelf
from buttersink.stores.streams import StreamStore
from buttersink.storing import Storing
from buttersink.sync import clean_partials, sync
from contract.memory_disk import MemoryDisk
from contract.memory_store import MemoryStore
from support.dropping_ends import Drop, DroppingStore, Retrying, When
from support.sync_ends import LARGE, Told, contents, copied, history, run, source_disk

if TYPE_CHECKING:
    from pathlib import Path

    from buttersink.model import Partial

AT_ONCE = Settings(patience=Patience(first_pause_seconds=0))
WHENS = list(When)
READING = ["inventory", "parents", "taken", "free_bytes", "lock", "flush"]


def source() -> MemoryDisk:
    """Return a source whose snapshot 3 is not at the destination of `destination`."""
    return source_disk(3)


def destination(disk: MemoryDisk) -> MemoryDisk:
    """Return one where a run with --delete has to do everything that there is to do."""
    found = copied(disk, ["1"])
    run(MemoryStore(disk, "snaps"), MemoryStore(found, "old"), Settings(one="2"))
    history(found, 2, within="backup/gone", lineage="gone")
    found.partials["backup/.partial"] = disk.snapshots["snaps/3"].image.uuid
    return found


def assert_done(finished: events.Finished, told: Told, disk: MemoryDisk, goal: MemoryDisk) -> None:
    assert not told.all(events.Failed)
    assert (finished.failed, finished.undeleted) == (0, 0)
    assert contents(goal, "backup") == contents(disk, "snaps")
    assert (goal.partials, goal.links) == ({}, {})


@given(
    st.builds(
        Patience,
        retries=st.integers(0, 10**9),
        first_pause_seconds=st.floats(0, 100),
        longest_pause_seconds=st.floats(0, 100),
    ),
    st.integers(1, 10**9),
)
def test_pauses_never_get_shorter_and_stay_within_their_limit(
    patience: Patience, attempt: int
) -> None:
    pauses = [patience.pause_seconds(n) for n in (attempt, attempt + 1)]
    assert pauses == sorted(pauses)
    assert max(pauses) <= patience.longest_pause_seconds


def test_pauses_double_up_to_half_a_minute() -> None:
    patience = Patience()
    pauses = [patience.pause_seconds(n) for n in range(1, patience.retries + 1)]
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]


@pytest.mark.parametrize("when", WHENS)
@pytest.mark.parametrize("verb", [*READING, "receive", "adopt", "delete", "clean"])
def test_a_run_gets_its_destination_back_whatever_it_is_doing(verb: str, when: When) -> None:
    disk = source()
    goal = destination(disk)
    far = DroppingStore(goal, "backup", Drop(verb, when))
    finished, told = run(MemoryStore(disk, "snaps"), far, replace(AT_ONCE, delete=True))
    assert_done(finished, told, disk, goal)
    assert (far.drops_left, far.dials) == (0, 1)
    assert (finished.transferred, finished.adopted, finished.deleted) == (1, 1, 2)
    assert told.the(events.Redialling).end == told.the(events.Reconnected).end == far.name
    assert [far.done.count(verb) for verb in ("receive", "adopt", "delete")] == [1, 1, 2]


@pytest.mark.parametrize("after", [0, 1, 1000, LARGE])
@pytest.mark.parametrize("verb", ["inventory", "parents", "measure_each", "send"])
def test_a_run_gets_its_source_back_whatever_it_is_doing(verb: str, after: int) -> None:
    disk, goal = source(), MemoryDisk("destination")
    history(goal, 1, within="elsewhere", lineage="other")
    far = DroppingStore(disk, "snaps", Drop(verb, after=after))
    finished, told = run(far, MemoryStore(goal, "backup"), AT_ONCE)
    assert_done(finished, told, disk, goal)
    assert (far.drops_left, far.dials) == (0, 1)


class OfOneNetwork(DroppingStore):
    """Takes another one with it when its link drops."""

    other: DroppingStore

    def _lose(self, verb: str) -> UnavailableError:
        self.other._lose(verb)
        return super()._lose(verb)


@pytest.mark.parametrize("verb", ["inventory", "measure_each", "send"])
def test_a_run_gets_both_ends_back_that_are_lost_together(verb: str) -> None:
    disk, goal = source(), MemoryDisk("destination")
    far = OfOneNetwork(disk, "snaps", Drop(verb, after=1000))
    far.other = DroppingStore(goal, "backup")
    finished, told = run(far, far.other, AT_ONCE)
    assert_done(finished, told, disk, goal)
    assert (far.dials, far.other.dials) == (1, 1)
    assert far.other.done.count("receive") == 3


def test_old_sizes_are_asked_for_again() -> None:
    disk, goal = source(), MemoryDisk("destination")
    far = DroppingStore(disk, "snaps", Drop("recorded_sizes"))
    other = DroppingStore(goal, "backup", Drop("recorded_sizes", When.ANSWERING))
    finished, told = run(far, other, replace(AT_ONCE, estimate=True))
    assert_done(finished, told, disk, goal)
    assert (far.dials, other.dials) == (1, 1)


@pytest.mark.parametrize("when", WHENS)
@pytest.mark.parametrize("verb", ["receive", "release"])
def test_links_of_a_restore_come_and_go_once(tmp_path: Path, verb: str, when: When) -> None:
    disk, goal = source_disk(2), MemoryDisk("destination")
    shelf = DirectoryShelf(str(tmp_path))
    with closing(StreamStore(shelf, "", name="stored", storing=Storing())) as streams:
        run(MemoryStore(disk, "snaps"), streams)
        (wanted,) = (path for path in "12" if not list(tmp_path.glob(f"{path}/*_None.*")))
        far = DroppingStore(goal, "backup", Drop(verb, when))
        finished, told = run(streams, far, replace(AT_ONCE, one=wanted))
    assert told.all(events.Released)
    assert not told.all(events.Failed)
    assert (finished.transferred, finished.undeleted, far.dials) == (2, 0, 1)
    assert contents(goal, "backup").keys() == {wanted}
    assert goal.links == {}


def test_what_was_measured_when_the_link_was_lost_is_not_measured_again() -> None:
    disk = source_disk(12)
    far = DroppingStore(disk, "snaps", *(Drop("measure_each", after=1) for _ in range(10)))
    once = replace(AT_ONCE, patience=Patience(retries=1, first_pause_seconds=0))
    told = Told()
    list_snapshots(far, once, told.append)
    assert all(entry.increment.exact for entry in told.the(events.Listed).entries)
    assert len(far.measured) == len(set(far.measured)) == 12
    assert far.dials == 10


def test_leftovers_are_cleaned_although_the_link_is_lost() -> None:
    goal = MemoryDisk("destination")
    goal.partials["backup/.a"] = goal.partials["backup/.b"] = (
        source().snapshots["snaps/1"].image.uuid
    )
    far = DroppingStore(goal, "backup", Drop("clean", When.ANSWERING), Drop("clean"))
    told = Told()
    finished = clean_partials(far, AT_ONCE, told.append)
    assert len(told.all(events.Cleaned)) == 2
    assert (finished.undeleted, goal.partials, far.dials) == (0, {}, 2)


class TestAnEndThatDoesNotComeBack:
    def test_is_dialled_as_often_as_was_said_and_told_as_it_was_lost(self) -> None:
        far = DroppingStore(source(), "snaps", Drop("inventory"), is_down_for_ever=True)
        retrying = Retrying(far)
        with pytest.raises(UnavailableError, match="inventory: the connection was lost") as caught:
            retrying.end.inventory()
        assert str(caught.value.__cause__) == "connection refused"
        assert retrying.pauses == [1, 2, 4, 8, 16, 30, 30, 30]
        told = retrying.told.all(events.Redialling)
        assert [(event.attempt, event.attempts) for event in told] == [(n, 8) for n in range(1, 9)]
        assert [str(event.error) for event in told] == [
            "inventory: the connection was lost",
            *["connection refused"] * 7,
        ]
        assert not retrying.told.all(events.Reconnected)

    def test_is_not_waited_for_a_second_time(self) -> None:
        far = DroppingStore(source(), "snaps", Drop("flush"), is_down_for_ever=True)
        retrying = Retrying(far, retries=3)
        for _ in range(3):
            with pytest.raises(UnavailableError):
                retrying.end.flush()
        assert far.dials == 3

    @pytest.mark.parametrize("retries", [0, 2])
    def test_stops_a_run_as_any_that_cannot_be_reached(self, retries: int) -> None:
        disk, goal = MemoryDisk("source"), MemoryDisk("destination")
        for name in "abcde":
            history(disk, 1, within=f"snaps/{name}", lineage=name)
        far = DroppingStore(goal, "backup", Drop("receive"), is_down_for_ever=True)
        patience = Patience(retries=retries, first_pause_seconds=0)
        finished, told = run(MemoryStore(disk, "snaps"), far, Settings(patience=patience))
        assert len(told.all(events.Redialling)) == far.dials == retries
        assert [str(event.error) for event in told.all(events.Failed)] == [
            "receive: the connection was lost",
            "free_bytes: the connection is lost",
        ]
        assert (finished.transferred, finished.failed) == (0, 5)

    @pytest.mark.parametrize("verb", ["delete", "flush"])
    def test_at_the_end_is_told_after_all_that_was_done(self, verb: str) -> None:
        disk = source()
        goal = destination(disk)
        far = DroppingStore(goal, "backup", Drop(verb), is_down_for_ever=True)
        settings = replace(AT_ONCE, delete=True)
        told = Told()
        if verb == "flush":
            with pytest.raises(UnavailableError):
                sync(MemoryStore(disk, "snaps"), far, settings, told.append)
        else:
            sync(MemoryStore(disk, "snaps"), far, settings, told.append)
        assert told.the(events.Finished).undeleted == (2 if verb == "delete" else 0)
        assert far.dials == 8

    @pytest.mark.parametrize("verb", ["receive", "flush"])
    def test_for_a_reason_that_does_not_pass_is_told_at_once(self, verb: str) -> None:
        disk, goal = source(), MemoryDisk("destination")
        refusals = [NotPermittedError("the host let nobody in")] * 9
        far = DroppingStore(goal, "backup", Drop(verb), refusals=refusals)
        told = Told()
        if verb == "flush":
            with pytest.raises(NotPermittedError, match="nobody"):
                sync(MemoryStore(disk, "snaps"), far, AT_ONCE, told.append)
        else:
            sync(MemoryStore(disk, "snaps"), far, AT_ONCE, told.append)
            assert "let nobody in" in str(told.all(events.Failed)[0].error)
        assert told.the(events.Finished)
        assert far.dials == len(told.all(events.Redialling)) == 1


def test_the_lost_server_may_hold_the_lock_for_a_while() -> None:
    refusals: list[ButterSinkError] = [BusyError("another run is writing")] * 3
    far = DroppingStore(source(), "snaps", Drop("flush"), refusals=refusals)
    retrying = Retrying(far)
    retrying.end.flush()
    assert retrying.pauses == [1, 2, 4, 8]
    assert far.done == ["flush"]


def test_a_place_that_is_busy_only_after_a_loss_is_tried_again() -> None:
    class Busy(DroppingStore):
        times = 2

        def clean(self, partial: Partial) -> None:
            if self.dials and self.times:
                self.times -= 1
                raise BusyError("at work on it")
            super().clean(partial)

    disk = source()
    disk.partials["snaps/.a"] = disk.snapshots["snaps/1"].image.uuid
    far = Busy(disk, "snaps", Drop("clean"))
    retrying = Retrying(far)
    (partial,) = far.inventory().partials
    retrying.end.clean(partial)
    assert (retrying.pauses, disk.partials) == ([1, 2, 4], {})


def test_a_place_that_another_run_has_is_not_waited_for() -> None:
    far = DroppingStore(source(), "snaps")
    retrying = Retrying(far)
    with MemoryStore(far._disk, "snaps").lock(), pytest.raises(BusyError), retrying.end.lock():
        raise AssertionError
    assert retrying.pauses == []


def test_errors_of_an_end_that_is_not_lost_pass() -> None:
    class Unreachable(MemoryStore):
        def flush(self) -> None:
            raise UnavailableError("the service is down")

    redialler = Redialler(Patience(), Told().append)
    with pytest.raises(UnavailableError, match="the service"):
        RedialledSink(Unreachable(source(), "snaps"), redialler).flush()


def test_a_stream_that_never_comes_any_farther_is_given_up() -> None:
    disk, goal = source_disk(1), MemoryDisk("destination")
    far = DroppingStore(disk, "snaps", *(Drop("send", after=1000) for _ in range(9)))
    finished, told = run(far, MemoryStore(goal, "backup"), AT_ONCE)
    assert (finished.failed, far.dials, far.drops_left) == (1, 8, 0)
    assert told.the(events.Failed)


def test_attempts_count_anew_for_what_comes_next() -> None:
    disk, goal = source(), MemoryDisk("destination")
    far = DroppingStore(goal, "backup", *(Drop("receive") for _ in range(3)), Drop("flush"))
    patience = Patience(retries=3, first_pause_seconds=0)
    finished, told = run(MemoryStore(disk, "snaps"), far, Settings(patience=patience))
    assert_done(finished, told, disk, goal)
    assert [event.attempt for event in told.all(events.Redialling)] == [1, 2, 3, 1]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30), st.integers(1, 4))
def test_attempts_count_anew_for_whoever_comes_farther(reached: list[int], retries: int) -> None:
    far = DroppingStore(MemoryDisk("disk"), "snaps")
    redialler = Redialler(Patience(retries=retries), Told().append, sleep=lambda _: None)
    attempts, in_vain, best = redialler.attempts(far), 0, 0
    for distance in reached:
        error = far._lose("send")
        in_vain, best = (0, distance) if distance > best else (in_vain, best)
        in_vain += 1
        if in_vain > retries:
            with pytest.raises(UnavailableError):
                attempts.after(error, reached=distance)
            return
        attempts.after(error, reached=distance)
        assert not far.lost


def test_an_interrupt_ends_the_wait() -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    far = DroppingStore(source(), "snaps", Drop("inventory"))
    redialler = Redialler(Patience(), Told().append, sleep=interrupted)
    with pytest.raises(KeyboardInterrupt):
        RedialledSource(far, redialler).inventory()
    assert far.dials == 0
