"""The command line: what it says, where it says it, and how it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.command import Run, assert_one_line, buttersink, directory, run_module, sync
from support.history import simple_history
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run

if TYPE_CHECKING:
    from support.loopfs import LoopFs

DOCS = Path(__file__).parent.parent.parent / "docs"


def documented() -> dict[str, Any]:
    """Return the example of each event in docs/json.md."""
    text = (DOCS / "json.md").read_text(encoding="utf-8")
    examples = map(json.loads, re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    return {example["event"]: example for example in examples}


@pytest.mark.kernel
class TestJson:
    def test_has_the_documented_fields_and_nothing_else_on_stdout(
        self, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        simple_history(fs_a, 3)
        ends = directory(fs_a.path / "snaps"), directory(fs_b.path)
        sync(*ends)
        run("btrfs", "--quiet", "subvolume", "delete", fs_a.path / "snaps" / "1")
        for name in ("4", "5"):
            snapshot_read_only(fs_a.path / "live", fs_a.path / "snaps" / name)
        (fs_b.path / "5").mkdir()

        runs = [
            buttersink("--json", "-d", *ends),
            buttersink("--json", ends[1]),
            buttersink("--json", "/nonexistent/"),
        ]

        assert [done.status for done in runs] == [3, 0, 2]
        events = [event for done in runs for event in done.events]
        examples = documented()
        for event in events:
            example = examples[event["event"]]
            assert event.keys() == example.keys()
            for step in (*event.get("steps", ()), *filter(None, [event.get("step")])):
                assert step.keys() == examples["planned"]["steps"][0].keys()
            for found in event.get("snapshots", ()):
                assert found.keys() == examples["listed"]["snapshots"][0].keys()
        assert {event["event"] for event in events} >= {
            "measuring", "planned", "transfer_started", "transfer_progress", "transfer_done",
            "skipped", "deleted", "finished", "listed", "error",
        }  # fmt: skip

    def test_tells_errors_to_a_person_too(self) -> None:
        done = buttersink("--json", "/nonexistent/")

        assert done.stderr == "error: /nonexistent/ does not exist\n"
        assert done.the("error")["message"] == "/nonexistent/ does not exist"


@pytest.mark.kernel
class TestQuiet:
    @pytest.fixture
    def ends(self, fs_a: LoopFs, fs_b: LoopFs) -> tuple[bytes, bytes]:
        simple_history(fs_a, 2)
        (fs_b.path / "2").mkdir()
        return directory(fs_a.path / "snaps"), directory(fs_b.path)

    def test_not_at_all_shows_plan_transfers_and_result(self, ends: tuple[bytes, bytes]) -> None:
        done = buttersink(*ends)

        assert len(done.stdout.splitlines()) == 3
        assert [line.split(":")[0] for line in done.stderr.splitlines()[:-1]] == [
            "sent 1",
            "skipped 2",
        ]
        assert done.stderr.splitlines()[-1].startswith("1 sent (")

    def test_once_shows_no_progress(self, ends: tuple[bytes, bytes]) -> None:
        done = buttersink("-q", "--json", *ends)

        assert {event["event"] for event in done.events} == {
            "planned",
            "transfer_done",
            "skipped",
            "finished",
        }

    def test_twice_shows_only_errors(self, ends: tuple[bytes, bytes]) -> None:
        done = buttersink("-qq", *ends)

        assert (done.status, done.stdout) == (3, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("skipped 2: ")

    def test_twice_without_errors_is_silence(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        simple_history(fs_a, 2)

        done = buttersink("-qq", directory(fs_a.path / "snaps"), directory(fs_b.path))

        assert done == Run(0, "", "")

    def test_twice_still_shows_what_was_asked_for(self, ends: tuple[bytes, bytes]) -> None:
        assert len(buttersink("-qq", "-n", *ends).stdout.splitlines()) == 3
        assert len(buttersink("-qq", ends[0]).stdout.splitlines()) == 3

    def test_never_hides_the_error_that_ends_a_run(self) -> None:
        assert_one_line(buttersink("-qq", "/nonexistent/"), 2, "does not exist")


@pytest.mark.kernel
class TestListing:
    def test_goes_to_stdout_alone(self, fs_a: LoopFs) -> None:
        simple_history(fs_a, 2)

        done = buttersink(directory(fs_a.path))

        assert (done.status, done.stderr) == (0, "")
        *rows, total = done.stdout.splitlines()
        assert [row.split("  ")[0] for row in rows] == ["original", "original"]
        assert rows[0].endswith("snaps/1")
        assert rows[1].endswith("snaps/2  on snaps/1")
        assert total.startswith(f"{fs_a.path}/: 2 snapshots, increments ")
        assert total.endswith("1 writable subvolume left alone")

    def test_of_nothing_is_no_error(self, fs_a: LoopFs) -> None:
        done = buttersink(directory(fs_a.path))

        assert done == Run(0, f"{fs_a.path}/: 0 snapshots\n", "")

    def test_ends_quietly_when_its_reader_has_gone(self, fs_a: LoopFs) -> None:
        simple_history(fs_a, 2)
        read_end, write_end = os.pipe()
        os.close(read_end)
        with os.fdopen(write_end, "wb") as nowhere:
            done = subprocess.run(
                [sys.executable, "-m", "buttersink", directory(fs_a.path)],
                check=False,
                stdout=nowhere,
                stderr=subprocess.PIPE,
            )
        assert (done.returncode, done.stderr) == (1, b"")

    def test_survives_a_locale_that_knows_only_ascii(self, fs_a: LoopFs) -> None:
        create_subvolume(fs_a.path / "live")
        snapshot_read_only(fs_a.path / "live", fs_a.path / "Ångström 🧈")

        done = run_module(
            "buttersink",
            directory(fs_a.path),
            environment={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        )

        assert done.status == 0
        assert "\\xc3\\x85ngstr" in done.stdout


@pytest.mark.kernel
class TestOptions:
    def test_logfile_is_appended_to_and_has_the_cause_of_errors(
        self, fs_a: LoopFs, tmp_path: Path
    ) -> None:
        simple_history(fs_a, 1)
        log = tmp_path / "log"
        log.write_text("before\n", encoding="utf-8")

        buttersink("-l", log, directory(fs_a.path))
        buttersink("-l", log, "-qq", "/nonexistent/")

        lines = log.read_text(encoding="utf-8").splitlines()
        assert lines[0] == "before"
        assert any("Listed(" in line for line in lines)
        assert any("Traceback" in line for line in lines), "for whoever has to find the bug"

    def test_logfile_that_can_not_be_written_is_an_error_in_one_line(self, tmp_path: Path) -> None:
        done = buttersink("-l", tmp_path / "no" / "log", "/nonexistent/")

        assert_one_line(done, 2, "log")

    def test_exclude_leaves_snapshots_out_whose_path_begins_with_a_match(
        self, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        simple_history(fs_a, 12)

        done = sync(fs_a.path, fs_b.path, "--exclude", "snaps/1", "--exclude", r".*/[2-8]$")

        assert done.paths("send") == ["snaps/9"]

    def test_bwlimit_limits_and_all_arrives(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        simple_history(fs_a, 1, size=100_000)

        done = sync(fs_a.path / "snaps", fs_b.path, "--bwlimit", "10M")

        assert done.the("finished")["transferred"] == 1

    def test_estimate_measures_nothing(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        simple_history(fs_a, 2)

        done = sync(fs_a.path / "snaps", fs_b.path, "-e")

        assert done.named("measuring") == []
        assert done.the("planned")["size"] == {"bytes": None, "certainty": "unknown"}
        assert [step["parent"] is None for step in done.steps("send")] == [True, False]

    def test_debugging_shows_the_traceback(self) -> None:
        done = run_module("buttersink", "/nonexistent/", environment={"BUTTERSINK_DEBUG": "1"})

        assert done.stderr.startswith("error: /nonexistent/ does not exist")
        assert "Traceback" in done.stderr
