import json
import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.events import Event, TransferStarted, Warned
from buttersink.model import Certainty, Size
from buttersink.plan import Reason
from support.report_examples import (
    ERROR,
    EVENTS,
    FULL,
    LISTED,
    TWO,
    Report,
    planned,
    snapshot,
    transfer,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "json.md"


def lines(report: Report) -> list[dict[str, Any]]:
    return [json.loads(line) for line in report.out.splitlines()]


def every_line() -> list[dict[str, Any]]:
    report = Report(json=True).of(*EVENTS)
    report.reporter.error(ERROR)
    return lines(report)


def documented() -> list[dict[str, Any]]:
    blocks = re.findall(r"^```json\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    return [json.loads(block) for block in blocks]


def fields_by_section() -> dict[str, list[str]]:
    """The first cells of the tables of fields, by heading."""
    sections = re.split(r"^### (.*)$", DOCUMENT.read_text(), flags=re.MULTILINE)[1:]
    return {
        heading: re.findall(
            r"^\| `(\w+)` \| (?:string|number|object|array|boolean)", text, re.MULTILINE
        )
        for heading, text in zip(sections[::2], sections[1::2], strict=True)
    }


def keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys, value.values()))
    if isinstance(value, list):
        return set().union(*map(keys, value))
    return set()


def test_the_examples_hold_each_event_once() -> None:
    kinds = [type(event) for event in EVENTS]
    assert len(set(kinds)) == len(kinds)
    assert set(kinds) == set(get_args(Event))


def test_the_documented_examples_are_what_is_written() -> None:
    real = {line["event"]: line for line in every_line()}
    assert {line["event"]: line for line in documented()} == real


def test_each_field_of_an_event_is_in_its_table() -> None:
    tables = fields_by_section()
    for line in every_line():
        assert tables[line["event"]] == list(line)[1:]


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ("Step", ("planned", "steps")),
        ("Snapshot", ("listed", "snapshots")),
        ("Partial", ("listed", "partials")),
    ],
)
def test_each_field_of_a_part_is_in_its_table(section: str, path: tuple[str, str]) -> None:
    event, field = path
    (line,) = (line for line in every_line() if line["event"] == event)
    assert fields_by_section()[section] == list(line[field][0])


def test_each_field_at_any_depth_is_mentioned() -> None:
    mentioned = set(re.findall(r"`(\w+)`", DOCUMENT.read_text()))
    assert keys(every_line()) <= mentioned


def test_each_reason_is_documented() -> None:
    text = DOCUMENT.read_text()
    assert all(f"`{reason.name.lower()}`" in text for reason in Reason)


def test_each_line_is_one_object_with_its_event_first() -> None:
    assert all(next(iter(line)) == "event" for line in every_line())


def test_only_errors_are_also_told_on_stderr() -> None:
    report = Report(json=True).of(*EVENTS)
    report.reporter.error(ERROR)
    assert report.err.splitlines() == [
        "error: could not send daily/2: the destination is full",
        "hint: delete something",
        "skipped daily/3: because daily/2, which it builds on, did not arrive",
        "error: another run holds /bak (wait for it to end)",
    ]


@given(st.binary(min_size=1, max_size=20).map(os.fsdecode))
def test_any_name_is_written_in_ascii_and_read_back_byte_by_byte(path: str) -> None:
    report = Report(json=True).of(planned(transfer(snapshot(2, path))))
    assert report.out.isascii()
    assert report.out.count("\n") == 1
    assert os.fsencode(lines(report)[0]["steps"][0]["path"]) == os.fsencode(path)


def test_a_byte_that_is_not_utf8_is_a_lone_surrogate() -> None:
    report = Report(json=True).of(Warned(message=os.fsdecode(b"caf\xe9")))
    assert report.out == '{"event": "warned", "message": "caf\\udce9"}\n'


@pytest.mark.parametrize(
    ("size", "written"),
    [
        (Size(5), {"bytes": 5, "certainty": "exact"}),
        (Size(5, Certainty.ESTIMATE), {"bytes": 5, "certainty": "estimate"}),
        (Size(5, Certainty.UNKNOWN), {"bytes": None, "certainty": "unknown"}),
    ],
)
def test_a_size_tells_its_certainty(size: Size, written: dict[str, Any]) -> None:
    step = transfer(TWO, size=size)
    (line,) = lines(Report(json=True).of(TransferStarted(transfer=step, number=1, count=1)))
    assert line["step"]["size"] == written


def test_times_carry_their_offset() -> None:
    (line,) = lines(Report(json=True).of(LISTED))
    times = [datetime.fromisoformat(entry["created"]) for entry in line["snapshots"]]
    assert times == [entry.snapshot.created for entry in LISTED.entries]


def test_a_full_send_has_no_parent() -> None:
    (line,) = lines(Report(json=True).of(TransferStarted(transfer=FULL, number=1, count=1)))
    assert line["step"]["parent"] is None


@pytest.mark.parametrize(
    ("quiet", "silent"),
    [
        (0, set()),
        (1, {"measuring", "transfer_started", "transfer_progress"}),
        (
            2,
            {
                "measuring",
                "transfer_started",
                "transfer_progress",
                "warned",
                "redialling",
                "reconnected",
                "transfer_resumed",
                "transfer_done",
                "adopted",
                "deleted",
                "hidden",
                "discarded",
                "released",
                "thaw_requested",
                "cleaned",
                "finished",
            },
        ),
    ],
)
def test_quiet_leaves_out_whole_events(quiet: int, silent: set[str]) -> None:
    every = {line["event"] for line in lines(Report(json=True).of(*EVENTS))}
    heard = {line["event"] for line in lines(Report(json=True, quiet=quiet).of(*EVENTS))}
    assert every - heard == silent


def test_the_plan_of_a_real_run_is_not_heard_at_the_quietest() -> None:
    assert Report(json=True, quiet=2).of(planned()).out == ""
