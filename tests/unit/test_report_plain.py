import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from buttersink.errors import BusyError, MissingError
from buttersink.events import (
    Event,
    Failed,
    Finished,
    Listed,
    ListEntry,
    Measuring,
    Planned,
    Skipped,
    TransferDone,
    TransferProgress,
    TransferStarted,
    Warned,
)
from buttersink.model import Certainty, Diff, Inventory, Partial, Size, Snapshot
from buttersink.plan import Clean, Plan, Reason, Skip, Transfer
from buttersink.report.wording import reason_text
from support.report_examples import (
    ADOPT,
    BLOCKED,
    CLEAN,
    DELETE,
    ERROR,
    EVENTS,
    FIVE,
    FULL,
    INCREMENTAL,
    LISTED,
    ONE,
    ORPHANED,
    PLANNED,
    THREE,
    TWO,
    Clock,
    Report,
    listed,
    planned,
    snapshot,
    transfer,
)


@pytest.fixture
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def err(*events: Event) -> list[str]:
    return Report().of(*events).err.splitlines()


def done(*, plain: int = 5120, sent: int = 5120, seconds: float = 0.1) -> TransferDone:
    return TransferDone(transfer=INCREMENTAL, plain_bytes=plain, sent_bytes=sent, seconds=seconds)


def test_a_plan_is_one_line_a_step_cleans_first_and_deletions_last() -> None:
    report = Report().of(PLANNED)
    assert report.out.splitlines() == [
        "remove partial              -  daily/.part  (left by an interrupted transfer)",
        "already there               -  daily/1  (the destination has it)",
        "send full          ~1.000 MiB  daily/2  (no relative at the destination or in this run)",
        (
            "send incremental    5.000 KiB  daily/3  on daily/2  "
            "(least bytes of all parents considered)"
        ),
        "put in place                -  daily/4  (the destination's file system has it elsewhere)",
        "cannot send                 -  daily/5  (something else is at its path)",
        "delete                      -  daily/old  (not in the source)",
        (
            "/mnt/snaps/ to ssh://backup/bak/: 2 to send (~1.005 MiB), 1 already there, "
            "1 to put in place, 1 cannot be sent, 1 to delete, 1 partial to remove"
        ),
    ]
    assert report.err == "Dry run: nothing was changed.\n"


def test_a_real_run_does_not_claim_to_be_dry() -> None:
    assert err(planned(FULL)) == []


def test_a_plan_of_nothing_says_so() -> None:
    assert Report().of(planned()).out == "/mnt/snaps/ to /bak/: nothing to do\n"


def test_a_plan_with_an_unknown_size_says_what_is_known() -> None:
    unknown = transfer(TWO, size=Size(99, Certainty.UNKNOWN))
    out = Report().of(planned(unknown, INCREMENTAL)).out.splitlines()
    assert out[0].split()[:3] == ["send", "full", "?"]
    assert out[-1].endswith("2 to send (5.000 KiB + ?)")


def test_a_parent_without_a_known_path_is_named_by_its_identity() -> None:
    step = Transfer(
        snapshot=TWO,
        diff=Diff(TWO.uuid, ONE.uuid),
        path="daily/2",
        size=Size(1),
        reason=Reason.CHEAPEST,
    )
    assert f"  on {ONE.uuid}  " in Report().of(planned(step)).out


@pytest.mark.usefixtures("in_utc")
def test_a_listing_tells_what_is_known_of_each_snapshot() -> None:
    out = Report().of(LISTED).out
    assert out.splitlines() == [
        (
            "partial   -                              -  total          -  exclusive          -  "
            "-                                     daily/.part"
        ),
        (
            "original  2024-01-01 03:00:00            ?  total          -  exclusive          -  "
            f"{ONE.uuid}  daily/1"
        ),
        (
            "received  2024-01-02 03:30:15    5.000 KiB  total  1.000 GiB  exclusive  4.000 KiB  "
            f"{TWO.uuid}  daily/2, also at weekly/1  on daily/1"
        ),
        (
            "/mnt/snaps/: 2 snapshots, increments 5.000 KiB + ?, 1 partial, "
            "2 writable subvolumes left alone"
        ),
    ]


def test_sizes_that_no_snapshot_has_get_no_column() -> None:
    entry = ListEntry(snapshot=ONE, predecessor=None, increment=Size(1))
    out = Report().of(listed(entry)).out
    assert "total" not in out
    assert "exclusive" not in out


def test_snapshots_outside_the_directory_are_not_listed() -> None:
    outside = Snapshot(uuid=TWO.uuid, paths=(), elsewhere=("other/2",), created=TWO.created)
    report = Report().of(
        listed(
            ListEntry(snapshot=outside, predecessor=None, increment=Size(1)),
            ListEntry(snapshot=THREE, predecessor=outside, increment=Size(1)),
        )
    )
    first, last = report.out.splitlines()
    assert first.endswith("daily/3  on other/2")
    assert last == "/mnt/snaps/: 1 snapshot, increments 1 byte"


def test_a_listing_is_sorted_by_path() -> None:
    entries = [
        ListEntry(snapshot=snapshot(number, path), predecessor=None, increment=Size(1))
        for number, path in enumerate(("c", "a", "b"), start=1)
    ]
    out = Report().of(listed(*entries)).out.splitlines()[:-1]
    assert [line[-1] for line in out] == ["a", "b", "c"]


def test_a_listing_of_nothing_says_so() -> None:
    empty = Listed(end="/mnt/snaps/", entries=(), inventory=Inventory(writable=1))
    assert Report().of(empty).out == ("/mnt/snaps/: 0 snapshots, 1 writable subvolume left alone\n")


def test_a_transfer_is_told_when_it_is_done() -> None:
    assert err(done()) == ["sent daily/3: 5.000 KiB in 0.1 s (50.0 KiB/s)"]
    assert err(done(sent=2048)) == [
        "sent daily/3: 5.000 KiB (2.000 KiB carried compressed) in 0.1 s (50.0 KiB/s)"
    ]
    assert err(done(seconds=0)) == ["sent daily/3: 5.000 KiB in under 0.1 s"]


def test_a_failure_names_what_was_tried_and_what_to_do() -> None:
    error = MissingError("it is gone", "look for it")
    told = [err(Failed(step=step, error=error)) for step in (INCREMENTAL, ADOPT, DELETE, CLEAN)]
    assert told == [
        [f"error: could not {tried}: it is gone", "hint: look for it"]
        for tried in (
            "send daily/3",
            "put daily/4 in place",
            "delete daily/old",
            "remove partial daily/.part",
        )
    ]


def test_a_failure_without_advice_is_one_line() -> None:
    assert len(err(Failed(step=FULL, error=MissingError("it is gone")))) == 1


def test_a_skipped_snapshot_tells_why() -> None:
    assert err(Skipped(skip=ORPHANED), Skipped(skip=BLOCKED)) == [
        "skipped daily/3: because daily/2, which it builds on, did not arrive",
        "skipped daily/5: because something else is at its path",
    ]


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_words_with_and_without_detail(reason: Reason) -> None:
    assert reason_text(reason)
    assert "de\\ntail" in reason_text(reason, "de\ntail")


def test_a_detail_takes_the_place_of_the_general_reason() -> None:
    detail = "'daily/5' exists in the destination; move it away there"
    skip = Skip(snapshot=FIVE, path="daily/5", reason=Reason.PATH_TAKEN, detail=detail)
    assert Report().of(planned(skip)).out.splitlines()[0].endswith(f"  daily/5  ({detail})")
    assert err(Skipped(skip=skip)) == [f"skipped daily/5: because {detail}"]


def test_a_plan_without_a_source_only_names_the_destination() -> None:
    plan = Planned(source="", destination="/bak/", plan=Plan(cleans=(CLEAN,)), dry_run=False)
    assert Report().of(plan).out.splitlines()[-1] == "/bak/: 1 partial to remove"


def test_problems_are_told_once_as_the_warnings_that_come_with_them() -> None:
    assert Report().of(LISTED).err == ""


def test_the_summary_leaves_out_what_did_not_happen() -> None:
    some = Finished(transferred=3, present=4, failed=1, deleted=2, sent_bytes=1 << 30, seconds=12)
    assert err(some) == ["3 sent (1.000 GiB in 12 s), 4 already there, 1 failed, 2 deleted"]
    assert err(Finished()) == ["done"]
    assert err(Finished(present=4)) == ["0 sent, 4 already there"]
    assert err(Finished(adopted=1, undeleted=2)) == ["0 sent, 1 put in place, 2 not deleted"]


def test_the_error_that_ends_a_run_is_one_line() -> None:
    report = Report()
    with report.reporter as reporter:
        reporter.error(BusyError("busy\nhere", "wait"))
    assert report.err == "error: busy\\nhere (wait)\n"


def test_nothing_from_outside_reaches_the_output_unescaped() -> None:
    evil = "a\nb\x1b]0;c\x07\udcff"
    path = snapshot(1, evil)
    step = transfer(path, snapshot(2, evil))
    report = Report().of(
        planned(step, Skip(snapshot=path, path=evil, reason=Reason.UNREACHABLE, detail=evil)),
        Listed(
            end=evil,
            entries=(ListEntry(snapshot=path, predecessor=path, increment=Size(1)),),
            inventory=Inventory(partials=(Partial(path=evil),)),
        ),
        Warned(message=evil),
        Failed(step=Clean(partial=Partial(path=evil)), error=BusyError(evil, evil)),
        TransferDone(transfer=step, plain_bytes=1, sent_bytes=1, seconds=1),
    )
    shown = report.out + report.err
    assert shown.replace("\n", "").isprintable()
    assert shown.count("a\\nb\\x1b]0;c\\x07\\xff") == 13


class TestProgress:
    def test_a_short_transfer_makes_no_line(self) -> None:
        clock = Clock()
        report = Report(clock=clock).of(TransferStarted(transfer=INCREMENTAL, number=1, count=1))
        clock.now += 29
        report.of(TransferProgress(transfer=INCREMENTAL, plain_bytes=5))
        assert report.err == ""

    def test_a_long_transfer_makes_a_line_each_half_minute(self) -> None:
        clock = Clock()
        step = transfer(THREE, TWO, size=Size(1 << 30, Certainty.ESTIMATE))
        report = Report(clock=clock).of(TransferStarted(transfer=step, number=1, count=1))
        for second in range(1, 65):
            clock.now += 1
            report.of(TransferProgress(transfer=step, plain_bytes=second << 20))
        assert report.err.splitlines() == [
            "sending daily/3: 30.00 MiB of ~1.000 GiB (2 %), 1.00 MiB/s, 16 min 34 s left",
            "sending daily/3: 60.00 MiB of ~1.000 GiB (5 %), 1.00 MiB/s, 16 min 04 s left",
        ]

    def test_a_transfer_beyond_its_estimate_has_no_percentage(self) -> None:
        clock = Clock()
        report = Report(clock=clock).of(TransferStarted(transfer=INCREMENTAL, number=1, count=1))
        clock.now += 32
        report.of(TransferProgress(transfer=INCREMENTAL, plain_bytes=8192))
        assert report.err == "sending daily/3: 8.000 KiB, 256 bytes/s\n"

    def test_long_measuring_looks_unlike_sending(self) -> None:
        clock = Clock()
        report = Report(clock=clock).of(Measuring(done=0, total=4))
        clock.now += 30
        report.of(Measuring(done=1, total=4), Measuring(done=2, total=4))
        assert report.err == "measuring: 1 of 4 diffs\n"

    @pytest.mark.parametrize("quiet", [1, 2])
    def test_quiet_silences_it(self, quiet: int) -> None:
        clock = Clock()
        report = Report(clock=clock, quiet=quiet)
        report.of(TransferStarted(transfer=INCREMENTAL, number=1, count=1))
        clock.now += 60
        report.of(TransferProgress(transfer=INCREMENTAL, plain_bytes=5))
        assert report.err == ""


class TestQuiet:
    def test_once_keeps_plans_lists_warnings_and_results(self) -> None:
        loud, quiet = Report().of(*EVENTS), Report(quiet=1).of(*EVENTS)
        assert (quiet.out, quiet.err) == (loud.out, loud.err)

    def test_twice_keeps_errors_and_what_was_asked_for(self) -> None:
        report = Report(quiet=2).of(*EVENTS)
        report.reporter.error(ERROR)
        assert report.out == Report().of(*EVENTS).out
        assert [line.partition(" ")[0] for line in report.err.splitlines()] == [
            "error:",
            "hint:",
            "skipped",
            "error:",
        ]

    def test_twice_silences_the_plan_of_a_real_run(self) -> None:
        assert Report(quiet=2).of(planned(FULL)).out == ""


def test_rich_is_not_imported_before_a_terminal_needs_it() -> None:
    program = (
        "import io, sys\n"
        "from buttersink.report import make_reporter\n"
        "for json in (True, False):\n"
        "    make_reporter(stdout=io.StringIO(), stderr=io.StringIO(), terminal=False, json=json)\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] == 'rich'))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


def test_the_columns_before_the_path_are_aligned() -> None:
    lines = Report().of(PLANNED).out.splitlines()[:-1]
    places = [line.index("daily/") for line in lines]
    assert all(one == other for one, other in pairwise(places))
