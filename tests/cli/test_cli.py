"""The command line: what it takes, what it refuses, and what it does when."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from buttersink.version import __version__
from support.command import Run, assert_one_line, buttersink, directory
from support.history import History, simple_history
from support.loopfs import run
from support.subvolume_facts import subvolumes, transaction

if TYPE_CHECKING:
    from pathlib import Path

    from support.loopfs import LoopFs


class TestVersionAndHelp:
    def test_version_is_told(self) -> None:
        assert buttersink("--version") == Run(0, f"buttersink {__version__}\n", "")
        assert buttersink("-V").stdout == f"buttersink {__version__}\n"

    def test_version_waits_for_nothing_that_is_slow_to_import(self) -> None:
        code = (
            "import sys\n"
            "from buttersink.cli import main\n"
            "try: main(['--version'])\n"
            "except SystemExit: pass\n"
            "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        )
        imported = set(done.stdout.splitlines()[1].split())
        assert imported.isdisjoint({"rich", "btrfs", "boto3", "botocore", "crc32c", "asyncio"})

    def test_help_tells_every_option_the_slash_rule_and_the_exit_status(self) -> None:
        done = buttersink("--help")

        assert (done.status, done.stderr) == (0, "")
        for word in (
            "-n", "--dry-run", "-d", "--delete", "-e", "--estimate", "-q", "--quiet", "-l",
            "--logfile", "-V", "--version", "--part-size", "--exclude", "--bwlimit", "--json",
            "--create", "--force", "slash at the end matters", "exit status", "130 interrupted",
        ):  # fmt: skip
            assert word in done.stdout, word


class TestWrongUsage:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ([], "nothing was named"),
            (["/a/", "/b/", "/c/"], "unrecognized arguments: /c/"),
            (["--wrong", "/a/"], "--wrong"),
            (["--dry", "/a/"], "--dry"),
            (["gopher://host/x/", "/b/"], "there are no gopher:// ends"),
            (["/a/", "http://host/x/"], "there are no http:// ends"),
            ([""], "names no place"),
            (["/a/", ""], "names no place"),
            (["file://", "/b/"], "names no directory"),
            (["--bwlimit", "fast", "/a/"], "no rate"),
            (["--bwlimit", "0", "/a/"], "no rate"),
            (["--exclude", "(", "/a/"], "no regular expression"),
            (["--part-size", "0", "/a/"], "no whole number above 0"),
            (["--part-size", "x", "/a/"], "no whole number above 0"),
            (["--stall-timeout", "0", "/a/"], "no number of seconds"),
            (["--retries", "-1", "/a/"], "no whole number from 0 on"),
            (["--ssh-command", "'", "ssh://host/a/"], "--ssh-command"),
            (["--remote-command", "", "ssh://host/a/"], "--remote-command"),
            (["ssh://host/a/../b/"], ".."),
            (["/a/..", "/b/"], "write /a/../"),
        ],
    )
    def test_is_told_in_one_line(self, arguments: list[str], words: str) -> None:
        assert_one_line(buttersink(*arguments), 2, words)


@pytest.mark.kernel
class TestWrongDirectories:
    def test_that_are_not_btrfs_say_so(self, fs_a: LoopFs, scratch: Path) -> None:
        simple_history(fs_a, 1)
        outside = scratch / "tmpfs"
        outside.mkdir()
        run("mount", "-t", "tmpfs", "none", outside)

        for arguments in (
            (directory(outside),),
            (directory(outside), directory(fs_a.path)),
            (directory(fs_a.path), directory(outside)),
        ):
            assert_one_line(buttersink(*arguments), 1, f"{outside}/ is not on a btrfs file system")

    def test_that_are_missing_name_the_option_that_makes_them(self, fs_a: LoopFs) -> None:
        simple_history(fs_a, 1)
        missing = directory(fs_a.path / "no" / "where")

        assert_one_line(buttersink(missing), 2, "does not exist")
        assert_one_line(buttersink(missing, directory(fs_a.path)), 2, "does not exist")
        assert_one_line(buttersink(directory(fs_a.path / "snaps"), missing), 2, "--create")

    def test_that_are_files_say_so(self, fs_a: LoopFs) -> None:
        simple_history(fs_a, 1)
        file = fs_a.path / "file"
        file.touch()

        assert_one_line(buttersink(directory(file)), 2, "is not a directory")
        assert_one_line(
            buttersink(directory(fs_a.path / "snaps"), "--create", file), 2, "is not a directory"
        )

    def test_without_the_slash_name_the_rule(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        simple_history(fs_a, 1)

        done = buttersink(fs_a.path / "snaps", directory(fs_b.path))

        assert_one_line(done, 2, "none called snaps", f"write {fs_a.path}/snaps/")

    def test_that_are_snapshots_name_the_rule(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        first, second = simple_history(fs_a, 2)
        before = subvolumes(fs_b.path)

        done = buttersink(directory(first), directory(fs_b.path))
        assert_one_line(done, 2, "is itself a snapshot", f"leave out the slash at the end: {first}")
        assert_one_line(buttersink(second, first), 2, "is itself a snapshot")
        assert subvolumes(fs_b.path) == before

    def test_that_may_not_be_written_to_leave_everything_as_it_is(
        self, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        simple_history(fs_a, 1)
        fs_b.remount("ro")

        done = buttersink(directory(fs_a.path / "snaps"), directory(fs_b.path))

        assert done.status in {1, 3}
        assert "ead-only" in done.stderr
        assert "Traceback" not in done.stderr

    def test_without_privileges_say_what_is_needed(self, fs_a: LoopFs) -> None:
        simple_history(fs_a, 1)
        done = subprocess.run(
            [
                "setpriv",
                "--bounding-set=-sys_admin",
                "--inh-caps=-sys_admin",
                sys.executable,
                "-m",
                "buttersink",
                directory(fs_a.path),
            ],
            check=False,
            capture_output=True,
            text=True,
        )

        assert done.returncode == 1
        assert "CAP_SYS_ADMIN" in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.kernel
class TestOneSnapshot:
    def test_is_sent_alone_to_a_path_below_the_destination(
        self, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        snapshots = simple_history(fs_a, 3)

        done = buttersink(snapshots[1], fs_b.path)

        assert done.status == 0
        assert os.listdir(fs_b.path) == ["2"]

    def test_can_be_listed_alone(self, fs_a: LoopFs) -> None:
        snapshots = simple_history(fs_a, 3)

        (listed,) = buttersink("--json", snapshots[1]).the("listed")["snapshots"]

        assert (listed["path"], listed["predecessor"]["path"]) == ("2", "1")

    def test_that_does_not_exist_is_named(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        simple_history(fs_a, 1)

        done = buttersink(fs_a.path / "snaps" / "nope", directory(fs_b.path))

        assert_one_line(done, 2, "none called nope")


@pytest.mark.kernel
class TestCreate:
    def test_makes_the_destination(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        simple_history(fs_a, 1)

        done = buttersink("--create", directory(fs_a.path / "snaps"), fs_b.path / "x" / "y")

        assert done.status == 0
        assert os.listdir(fs_b.path / "x" / "y") == ["1"]

    def test_only_plans_in_a_dry_run(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        simple_history(fs_a, 2)
        missing = fs_b.path / "x" / "y"
        before = transaction(fs_b), subvolumes(fs_b.path)

        dry = buttersink("--json", "-n", "--create", directory(fs_a.path / "snaps"), missing)
        assert (transaction(fs_b), subvolumes(fs_b.path)) == before
        assert os.listdir(fs_b.path) == []
        real = buttersink("--json", "--create", directory(fs_a.path / "snaps"), missing)

        assert (dry.status, real.status) == (0, 0)
        assert dry.the("planned")["steps"] == real.the("planned")["steps"]
        assert dry.paths("send") == ["1", "2"]

    def test_makes_nothing_where_there_is_nothing_to_send(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        done = buttersink("--create", directory(fs_a.path), fs_b.path / "x")

        assert done.status == 1
        assert "there are no snapshots" in done.stderr


@pytest.mark.kernel
class TestDryRun:
    def test_shows_the_plan_of_the_real_run_and_changes_nothing(
        self, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        (fs_a.path / "snaps").mkdir()
        history = History(5, fs_a.path / "live")
        for name in "123":
            history.step(40)
            history.snapshot(fs_a.path / "snaps" / name)
        assert buttersink(fs_a.path / "snaps" / "1", directory(fs_b.path)).status == 0
        (fs_b.path / "3").mkdir()
        ends = directory(fs_a.path / "snaps"), directory(fs_b.path)
        before = [(transaction(fs), subvolumes(fs.path)) for fs in (fs_a, fs_b)]

        dry = buttersink("--dry-run", *ends)
        assert [(transaction(fs), subvolumes(fs.path)) for fs in (fs_a, fs_b)] == before
        real = buttersink(*ends)

        assert dry.stdout == real.stdout
        assert "Dry run: nothing was changed." in dry.stderr
        assert (dry.status, real.status) == (3, 3)
        assert [line.split("  ")[0] for line in dry.stdout.splitlines()[:-1]] == [
            "already there",
            "send incremental",
            "cannot send",
        ]

    def test_takes_no_lock(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        simple_history(fs_a, 1)
        fs_b.remount("ro")

        done = buttersink("-n", directory(fs_a.path / "snaps"), directory(fs_b.path))

        assert done.status == 0
