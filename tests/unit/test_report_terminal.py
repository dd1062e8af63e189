import io
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import TransferError
from buttersink.events import (
    Failed,
    Finished,
    ListEntry,
    Measuring,
    TransferDone,
    TransferProgress,
    TransferStarted,
    Warned,
)
from buttersink.model import Certainty, Size
from buttersink.report import make_reporter
from support.report_examples import (
    ERROR,
    EVENTS,
    FULL,
    INCREMENTAL,
    LISTED,
    ONE,
    PLANNED,
    TWO,
    Clock,
    Report,
    Terminal,
    listed,
    planned,
    snapshot,
    transfer,
)

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
LONG = "machines/a-host-with-a-very-long-name/home/daily/2024-01-03T03:00:00+0000/snapshot"


@pytest.fixture(params=[80, 120])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    columns = int(request.param)
    monkeypatch.setenv("COLUMNS", str(columns))
    return columns


def visible(text: str) -> str:
    return CONTROL.sub("", text)


def squeezed(text: str) -> str:
    return "".join(visible(text).split())


def last_frame(report: Report) -> list[str]:
    """What the bars looked like when they were last drawn."""
    return visible(report.err.rpartition("\r")[2].rpartition("\x1b[2K")[2]).splitlines()


def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    report = Report(terminal=True).of(planned(transfer(snapshot(1, LONG))), PLANNED, LISTED)
    assert max(map(len, visible(report.out).splitlines())) <= width


@pytest.mark.usefixtures("width")
def test_long_names_fold_and_lose_nothing() -> None:
    step = transfer(snapshot(1, LONG), snapshot(2, f"{LONG}/2"))
    entry = ListEntry(snapshot=snapshot(1, LONG), predecessor=TWO, increment=Size(1))
    report = Report(terminal=True).of(planned(step), listed(entry))
    shown = squeezed(report.out)
    assert f"{LONG}on{LONG}/2(leastbytesofallparentsconsidered)" in shown
    assert f"{LONG}ondaily/2original{entry.snapshot.uuid}" in shown


@given(width=st.integers(60, 200), length=st.integers(1, 300))
def test_names_of_any_length_are_whole_at_any_width(width: int, length: int) -> None:
    name = f"<{('0123456789abcdefghijklmnopqrstuvwxyz' * 9)[:length]}>"
    entry = ListEntry(snapshot=snapshot(1, name), predecessor=None, increment=Size(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        report = Report(terminal=True).of(listed(entry), planned(transfer(entry.snapshot)))
    assert squeezed(report.out).count(name) == 2
    assert str(entry.snapshot.uuid) in squeezed(report.out)


def test_a_wide_terminal_has_a_column_for_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    out = visible(Report(terminal=True).of(PLANNED, LISTED).out).splitlines()
    assert out[0].split() == ["action", "size", "snapshot", "on", "because"]
    assert out[4].split()[:6] == ["send", "incremental", "5.000", "KiB", "daily/3", "daily/2"]
    headings = ["snapshot", "on", "increment", "total", "exclusive", "created", "kind", "uuid"]
    assert headings in [line.split() for line in out]


def test_sizes_that_no_snapshot_has_get_no_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    entry = ListEntry(snapshot=ONE, predecessor=None, increment=Size(1))
    heading = visible(Report(terminal=True).of(listed(entry)).out).splitlines()[0]
    assert heading.split() == ["snapshot", "increment", "created", "kind", "uuid"]


@pytest.mark.usefixtures("width")
def test_names_are_never_taken_for_markup_or_emoji_or_control() -> None:
    evil = "[red]x[/]:key:\n\x1b[31m"
    entry = ListEntry(snapshot=snapshot(1, evil), predecessor=ONE, increment=Size(1))
    report = Report(terminal=True).of(
        listed(entry), planned(transfer(entry.snapshot)), Warned(message=evil)
    )
    assert "[red]x[/]:key:\\n\\x1b[31m" in visible(report.err)
    assert squeezed(report.out).count("[red]x[/]:key:\\n\\x1b[31m") == 2


@pytest.mark.usefixtures("width")
def test_an_empty_plan_or_listing_has_no_table() -> None:
    out = visible(Report(terminal=True).of(planned(), listed()).out)
    assert out.splitlines() == ["/mnt/snaps/ to /bak/: nothing to do", "/mnt/snaps/: 0 snapshots"]


@pytest.mark.usefixtures("width")
def test_a_pipe_gets_plain_lines_even_beside_a_terminal() -> None:
    stdout = io.StringIO()
    reporter = make_reporter(stdout=stdout, stderr=Terminal(), terminal=True, clock=Clock())
    reporter(PLANNED)
    reporter(LISTED)
    assert stdout.getvalue() == Report().of(PLANNED, LISTED).out


@pytest.mark.usefixtures("width")
def test_results_read_as_they_do_without_a_terminal() -> None:
    report, plain = Report(terminal=True, quiet=1), Report(quiet=1)
    for each in (report, plain):
        each.of(*EVENTS).reporter.error(ERROR)
    assert squeezed(report.err) == squeezed(plain.err)


@pytest.mark.usefixtures("width")
def test_bars_are_gone_after_the_run_and_errors_can_still_be_told() -> None:
    report = Report(terminal=True)
    with report.reporter:
        report.of(TransferStarted(transfer=INCREMENTAL, number=1, count=1))
    assert report.err.rindex(SHOW_CURSOR) > report.err.rindex(HIDE_CURSOR)
    before = report.err
    report.reporter.error(ERROR)
    assert visible(report.err.removeprefix(before)) == (
        "error: another run holds /bak (wait for it to end)\n"
    )


@pytest.mark.usefixtures("width")
def test_measuring_has_a_bar_that_is_gone_before_the_plan_is_printed() -> None:
    report = Report(terminal=True).of(Measuring(done=1, total=3))
    (line,) = last_frame(report)
    assert line.split()[0] == "measuring"
    assert line.rstrip().endswith("1 of 3 diffs")
    report.of(planned(FULL))
    assert report.err.rstrip().endswith(SHOW_CURSOR)


@pytest.mark.usefixtures("width")
def test_one_transfer_of_several_has_a_bar_beside_that_of_all() -> None:
    clock = Clock()
    report = Report(terminal=True, clock=clock).of(planned(FULL, INCREMENTAL))
    report.of(TransferStarted(transfer=FULL, number=1, count=2))
    clock.now += 1
    report.of(TransferProgress(transfer=FULL, plain_bytes=1 << 19))
    overall, current = (re.sub("[━╸╺ ]+", " ", line).strip() for line in last_frame(report))
    assert overall == "1 of 2 49% 512.0 KiB of ~1.005 MiB 512 KiB/s 1.0 s left"
    assert current == "daily/2 50% 512.0 KiB of ~1.000 MiB 512 KiB/s 1.0 s left"


@pytest.mark.usefixtures("width")
def test_a_single_transfer_has_a_single_bar() -> None:
    report = Report(terminal=True).of(planned(FULL))
    report.of(TransferStarted(transfer=FULL, number=1, count=1))
    assert len(last_frame(report)) == 1


def never_known() -> Size:
    return Size(5, Certainty.UNKNOWN)


def passed() -> Size:
    return Size(1)


def zero() -> Size:
    return Size(0)


@pytest.mark.usefixtures("width")
@pytest.mark.parametrize("size", [never_known, passed, zero])
def test_without_a_total_to_rely_on_there_is_no_percentage(size: Callable[[], Size]) -> None:
    clock = Clock()
    step = transfer(TWO, size=size())
    report = Report(terminal=True, clock=clock).of(planned(step))
    report.of(TransferStarted(transfer=step, number=1, count=2))
    clock.now += 1
    report.of(TransferProgress(transfer=step, plain_bytes=2048))
    frame = last_frame(report)
    assert len(frame) == 2
    assert all("2.000 KiB" in line and "%" not in line and "left" not in line for line in frame)


@given(
    width=st.integers(30, 200), nbytes=st.integers(0, 2**50), name=st.text("ab/é日", max_size=99)
)
def test_bars_take_a_line_each_at_any_width(width: int, nbytes: int, name: str) -> None:
    clock = Clock()
    step = transfer(snapshot(1, name or "x"), size=Size(2**50, Certainty.ESTIMATE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        report = Report(terminal=True, clock=clock)
        report.of(TransferStarted(transfer=step, number=1, count=2))
        clock.now += 12345
        report.of(TransferProgress(transfer=step, plain_bytes=nbytes))
    assert len(last_frame(report)) == 2


@pytest.mark.usefixtures("width")
def test_a_long_name_shows_its_end_beside_the_bar() -> None:
    step = transfer(snapshot(1, LONG))
    report = Report(terminal=True).of(TransferStarted(transfer=step, number=1, count=1))
    assert re.match(r"…\S+\+0000/snapshot ", last_frame(report)[0])


@pytest.mark.usefixtures("width")
def test_bars_are_drawn_at_most_ten_times_a_second() -> None:
    clock = Clock()
    report = Report(terminal=True, clock=clock)
    report.of(TransferStarted(transfer=FULL, number=1, count=1))
    before = len(report.err)
    for plain_bytes in range(1000):
        clock.now += 0.00001
        report.of(TransferProgress(transfer=FULL, plain_bytes=plain_bytes))
    assert len(report.err) == before


@pytest.mark.usefixtures("width")
def test_a_run_with_failures_leaves_only_lines_behind() -> None:
    report = Report(terminal=True).of(planned(FULL, INCREMENTAL))
    report.of(
        TransferStarted(transfer=FULL, number=1, count=2),
        Failed(step=FULL, error=TransferError("broken")),
        TransferStarted(transfer=INCREMENTAL, number=2, count=2),
        TransferDone(transfer=INCREMENTAL, plain_bytes=1, sent_bytes=1, seconds=1),
        Finished(transferred=1, failed=1, sent_bytes=1, seconds=1),
    )
    after = report.err.rpartition(SHOW_CURSOR)[2]
    assert visible(after).strip() == "1 sent (1 byte in 1.0 s), 1 failed"
