"""Plans and listings of ends that hold streams, and what happens there."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from buttersink.errors import MissingError
from buttersink.events import (
    Discarded,
    Event,
    Failed,
    Finished,
    Hidden,
    Listed,
    Released,
    ThawRequested,
    TransferDone,
)
from buttersink.model import Inventory, Partial
from buttersink.plan import Clean
from support.report_examples import (
    DISCARD,
    FOUR,
    HIDE,
    INCREMENTAL,
    ONE,
    RELEASE,
    RESTORE_PLANNED,
    STORED_LISTED,
    STORED_PLANNED,
    THREE,
    TWO,
    Report,
    identity,
)

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def err(*events: Event) -> list[str]:
    return Report().of(*events).err.splitlines()


def only_line(event: Event) -> dict[str, Any]:
    (line,) = Report(json=True).of(event).out.splitlines()
    fields: dict[str, Any] = json.loads(line)
    return fields


def table(event: Event, columns: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    return CONTROL.sub("", Report(terminal=True).of(event).out).splitlines()


def test_a_plan_tells_chains_links_and_what_becomes_of_streams() -> None:
    assert Report().of(STORED_PLANNED).out.splitlines() == [
        "remove partial      5.000 MiB  daily/6  (left by an interrupted transfer)",
        (
            "already there               -  daily/3  chain of 2 links, 1.500 MiB  "
            "(the destination has it)"
        ),
        (
            "send link full     ~1.000 MiB  daily/2  chain of 1 link, 1.000 MiB  "
            "(only needed to build others on)"
        ),
        (
            "send incremental    5.000 KiB  daily/3  on daily/2  chain of 2 links, 1.005 MiB  "
            "(least bytes of all parents that keep its chain within limits)"
        ),
        ("send link on        5.000 KiB  daily/5  on daily/2  (only needed to build others on)"),
        "keep as link        1.000 MiB  daily/1  (what is kept builds on it)",
        (
            f"remove stream       2.000 KiB  daily/4  on {THREE.uuid}  "
            "(another stream stands in for it)"
        ),
        "delete              3.000 MiB  daily/old  (not in the source)",
        (
            "/mnt/snaps/ to s3://bucket/bak/: 3 to send (~1.010 MiB), 1 already there, "
            "1 to delete, 1 to keep as link, 1 stream to remove, 1 partial to remove"
        ),
    ]


def test_a_plan_to_restore_tells_which_links_are_removed_again() -> None:
    assert Report().of(RESTORE_PLANNED).out.splitlines() == [
        "remove link                 -  daily/.link  (left by an interrupted transfer)",
        "send link full      512.0 KiB  daily/2  (only needed to build others on)",
        "remove link                 -  daily/2  (only needed to build others on)",
        "s3://bucket/bak/ to /mnt/snaps/: 1 to send (512.0 KiB), 2 links to remove",
    ]


def test_a_listing_tells_what_is_stored_and_what_restoring_takes() -> None:
    lines = Report().of(STORED_LISTED).out.splitlines()
    assert [re.sub(r"[-0-9]{10} [:0-9]{8}", "<time>", line) for line in lines] == [
        f"link      <time>    1.000 MiB  chain 1 link, 1.000 MiB   {ONE.uuid}  daily/1",
        (
            f"stored    <time>    2.005 MiB  chain 2 links, 1.005 MiB  {TWO.uuid}  daily/2  "
            "on daily/1"
        ),
        f"stored    <time>    4.000 KiB  chain incomplete          {THREE.uuid}  daily/3",
        (
            f"partial   -                      5.000 MiB  chain {'-':18}  "
            f"{FOUR.uuid}  daily/4  (it is 2 hours old)"
        ),
        (
            "s3://bucket/bak/: 2 snapshots, 1 link, 3.009 MiB stored, 1 partial, "
            "3 other objects left alone"
        ),
    ]


def test_links_that_were_left_on_a_file_system_are_no_partials() -> None:
    left = Partial(path="daily/.link", uuid=identity(7), link=True)
    out = Report().of(Listed(end="/bak/", entries=(), inventory=Inventory(partials=(left,)))).out
    first, last = out.splitlines()
    assert first.split() == ["link", "-", "-", str(identity(7)), "daily/.link"]
    assert last == "/bak/: 0 snapshots, 1 link"


def test_tables_have_a_column_for_chains_where_there_are_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = table(STORED_PLANNED, 200, monkeypatch)
    assert plan[0].split() == ["action", "size", "snapshot", "on", "chain", "because"]
    assert "2 links, 1.005 MiB" in plan[4]
    stored = table(STORED_LISTED, 200, monkeypatch)
    assert stored[0].split() == [
        *("snapshot", "on", "stored", "chain", "created", "kind", "uuid", "note"),
    ]
    assert re.match(r"daily/2 +daily/1 +2.005 MiB +2 links, 1.005 MiB ", stored[2])


@pytest.mark.parametrize("event", [STORED_PLANNED, STORED_LISTED, RESTORE_PLANNED])
def test_narrow_tables_tell_all_that_plain_lines_tell(
    event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = table(event, 80, monkeypatch)
    assert max(map(len, lines)) <= 80
    shown = "".join("".join(lines).split())
    for field in re.split(r"  +|\n", Report().of(event).out):
        assert "".join(field.strip("-() ").split()) in shown


def test_what_was_done_is_told_in_a_line_each() -> None:
    assert err(
        Hidden(hide=HIDE),
        Discarded(discard=DISCARD),
        Released(release=RELEASE),
        ThawRequested(count=2, days=7),
        ThawRequested(count=1, days=1),
    ) == [
        "kept as link daily/1: 1.000 MiB",
        "removed stream of daily/4: 2.000 KiB",
        "removed link daily/2",
        "asked for 2 archived streams to be thawed for 7 days: run again in some hours",
        "asked for 1 archived stream to be thawed for 1 day: run again in some hours",
    ]


def test_a_failure_names_what_was_tried() -> None:
    error = MissingError("it is gone")
    left = Clean(partial=Partial(path="daily/.link", link=True))
    told = [err(Failed(step=step, error=error)) for step in (HIDE, DISCARD, RELEASE, left)]
    assert told == [
        [f"error: could not {tried}: it is gone"]
        for tried in (
            "keep daily/1 as link",
            "remove stream of daily/4",
            "remove link daily/2",
            "remove link daily/.link",
        )
    ]


@pytest.mark.parametrize(
    ("stored", "sent", "resumed", "told"),
    [
        (2048, 2048, 0, "5.000 KiB (2.000 KiB stored)"),
        (2048, 1024, 1024, "5.000 KiB (2.000 KiB stored, 1.000 KiB of them sent earlier)"),
        (2048, 0, 2048, "5.000 KiB (2.000 KiB stored, 2.000 KiB of them sent earlier)"),
        (5120, 5120, 0, "5.000 KiB"),
        (5120, 0, 0, "5.000 KiB (copied within the service)"),
    ],
)
def test_a_transfer_tells_what_is_stored(stored: int, sent: int, resumed: int, told: str) -> None:
    done = TransferDone(
        transfer=INCREMENTAL,
        plain_bytes=5120,
        sent_bytes=sent,
        seconds=0,
        stored_bytes=stored,
        resumed_bytes=resumed,
    )
    assert err(done) == [f"sent daily/3: {told} in under 0.1 s"]


def test_the_summary_tells_what_was_hidden_and_resumed() -> None:
    finished = Finished(transferred=1, hidden=2, sent_bytes=1024, resumed_bytes=2048, seconds=1)
    assert err(finished) == ["1 sent (1.000 KiB in 1.0 s, 2.000 KiB earlier), 2 kept as link"]


class TestJson:
    def test_a_snapshot_tells_its_streams_and_chain(self) -> None:
        line = only_line(STORED_LISTED)
        names = ("path", "paths", "stored_bytes", "chain", "hidden")
        assert [[entry[name] for name in names] for entry in line["snapshots"]] == [
            ["daily/1", [], 1 << 20, {"links": 1, "bytes": 1 << 20}, True],
            ["daily/2", ["daily/2"], (2 << 20) + 5120, {"links": 2, "bytes": 1053696}, False],
            ["daily/3", ["daily/3"], 4096, None, False],
        ]
        assert line["foreign"] == 3

    def test_a_partial_tells_its_bytes_and_why_it_is_guarded(self) -> None:
        assert only_line(STORED_LISTED)["partials"] == [
            {
                "uuid": str(FOUR.uuid),
                "path": "daily/4",
                "bytes": 5 << 20,
                "link": False,
                "guarded": "it is 2 hours old",
                "resumable": None,
            }
        ]

    def test_steps_tell_their_bytes_in_the_order_of_the_run(self) -> None:
        assert [
            (step["action"], step["reason"], step["bytes"], step["link"])
            for planned in (STORED_PLANNED, RESTORE_PLANNED)
            for step in only_line(planned)["steps"]
        ] == [
            ("clean", "leftover", 5 << 20, False),
            ("keep", "present", None, False),
            ("send", "link", None, True),
            ("send", "within_limits", None, False),
            ("send", "link", None, True),
            ("hide", "still_needed", 1 << 20, False),
            ("discard", "replaced", 2048, False),
            ("delete", "not_in_source", 3 << 20, False),
            ("clean", "leftover", None, True),
            ("send", "link", None, True),
            ("release", "link", None, False),
        ]

    def test_a_discard_names_the_stream(self) -> None:
        step = only_line(Discarded(discard=DISCARD))["step"]
        assert step["uuid"] == str(FOUR.uuid)
        assert step["parent"] == {"uuid": str(THREE.uuid), "path": None}
        full = replace(DISCARD, diff=replace(DISCARD.diff, parent=None))
        assert only_line(Discarded(discard=full))["step"]["parent"] is None
