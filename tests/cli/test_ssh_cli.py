"""The command with ssh:// ends, as a user meets it: what works, and what is told if not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.command import Run, buttersink, directory
from support.far_programs import write_program
from support.history import simple_history
from support.loopfs import run
from support.pipe_ssh import pipe_ssh_command, piped_calls
from support.tree import describe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.loopfs import LoopFs

    Far = Callable[..., Run]


@pytest.fixture
def far(tmp_path: Path) -> Far:
    """Return the command, with a stand-in for ssh that leads to this machine."""
    command = pipe_ssh_command(tmp_path)

    def run_far(*arguments: str | bytes) -> Run:
        return buttersink("--ssh-command", command, *arguments)

    return run_far


def url(path: Path) -> str:
    return f"ssh://fred@nas{path}/"


def assert_error(done: Run, status: int, *words: str) -> None:
    """Check that a run ended with one line for a person, and nothing else."""
    assert done.status == status, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.isprintable()
    assert "Traceback" not in line
    for word in words:
        assert word in line


@pytest.mark.kernel
class TestRuns:
    def test_bring_snapshots_there_and_back(self, far: Far, fs_a: LoopFs, fs_b: LoopFs) -> None:
        simple_history(fs_a, 3)
        (fs_b.path / "bak").mkdir()

        there = far(directory(fs_a.path / "snaps"), url(fs_b.path / "bak"))
        again = far(directory(fs_a.path / "snaps"), url(fs_b.path / "bak"))
        back = far("--create", url(fs_b.path / "bak"), directory(fs_a.path / "back"))

        assert (there.status, again.status, back.status) == (0, 0, 0), back.stderr
        assert "3 sent" in there.stderr
        assert "0 sent, 3 already there" in again.stderr
        for number in "123":
            original = describe(fs_a.path / "snaps" / number)
            assert describe(fs_b.path / "bak" / number) == original
            assert describe(fs_a.path / "back" / number) == original

    def test_start_the_documented_command_in_the_least_mode_that_does(
        self, far: Far, fs_a: LoopFs, fs_b: LoopFs, tmp_path: Path
    ) -> None:
        simple_history(fs_a, 1)
        (fs_b.path / "bak").mkdir()
        source, destination = directory(fs_a.path / "snaps"), url(fs_b.path / "bak")

        for arguments in (
            (source, destination),
            ("-d", source, destination),
            ("-n", source, destination),
            ("-n", "-d", source, destination),
            (destination,),
            ("-d", destination),
            ("-n", "-d", destination),
            ("--create", destination, directory(fs_a.path / "back")),
        ):
            assert far(*arguments).status == 0

        calls = piped_calls(tmp_path)
        assert {call.host for call in calls} == {"fred@nas"}
        start = "sudo buttersink --server --mode"
        assert [call.command for call in calls] == [
            f"{start} {mode} {fs_b.path}/bak/" for mode in "awrrrwrr"
        ]

    def test_with_delete_remove_what_the_plan_said_and_nothing_else(
        self, far: Far, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        simple_history(fs_a, 3)
        (fs_b.path / "bak").mkdir()
        source, destination = fs_a.path / "snaps", fs_b.path / "bak"
        assert far(directory(source), url(destination)).status == 0
        run("btrfs", "--quiet", "subvolume", "delete", source / "2")

        planned = far("-n", "-d", directory(source), url(destination))
        assert sorted(p.name for p in destination.iterdir()) == ["1", "2", "3"]
        done = far("-d", directory(source), url(destination))

        assert "delete" in planned.stdout
        assert planned.stdout == done.stdout
        assert done.status == 0
        assert sorted(p.name for p in destination.iterdir()) == ["1", "3"]


@pytest.mark.kernel
class TestWrongEnds:
    def test_destination_that_is_missing_is_made_on_request_only(
        self, far: Far, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        simple_history(fs_a, 1)
        source, missing = directory(fs_a.path / "snaps"), fs_b.path / "new" / "bak"

        assert_error(
            far(source, url(missing)), 2, f"{missing}/ does not exist on fred@nas", "--create"
        )
        planned = far("-n", "--create", source, url(missing))
        assert planned.status == 0
        assert "1 to send" in planned.stdout
        assert not missing.parent.exists()
        assert far("--create", source, url(missing)).status == 0
        assert [p.name for p in missing.iterdir()] == ["1"]

    def test_source_that_is_missing_is_told(self, far: Far, fs_b: LoopFs) -> None:
        done = far(url(fs_b.path / "nowhere"), directory(fs_b.path))
        assert_error(done, 2, "nowhere/ does not exist on fred@nas")

    def test_directory_that_is_not_on_btrfs_is_told(
        self, far: Far, fs_a: LoopFs, tmp_path: Path
    ) -> None:
        simple_history(fs_a, 1)
        plain = tmp_path / "plain"
        plain.mkdir()
        done = far(directory(fs_a.path / "snaps"), url(plain))
        assert_error(done, 1, "fred@nas", f"{plain}/ is not on a btrfs file system")

    def test_directory_that_is_missing_where_btrfs_is_not_is_told(
        self, far: Far, tmp_path: Path
    ) -> None:
        done = far(url(tmp_path / "typo" / "x"))
        words = (f"{tmp_path}/typo/x/ does not exist", f"{tmp_path}/ is not on a btrfs")
        assert_error(done, 1, "fred@nas", *words)

    def test_missing_slash_is_explained(self, far: Far, tmp_path: Path) -> None:
        done = far(url(tmp_path).removesuffix("/"))
        assert_error(done, 1, f"the snapshot {tmp_path.name}", "the slash at the end matters")

    def test_same_directory_by_two_names_is_refused(self, far: Far, fs_a: LoopFs) -> None:
        simple_history(fs_a, 1)
        snaps = fs_a.path / "snaps"
        assert_error(far(directory(snaps), url(snaps)), 2, "the same directory")
        assert_error(far(url(snaps), directory(snaps)), 2, "the same directory")
        assert_error(far(url(snaps), url(snaps)), 2, "the same directory")

    def test_forced_command_for_another_directory_or_mode_is_told(
        self, fs_a: LoopFs, fs_b: LoopFs, tmp_path: Path
    ) -> None:
        simple_history(fs_a, 1)
        (fs_b.path / "bak" / "a").mkdir(parents=True)
        forced = f"buttersink --server --mode a {fs_b.path}/bak/a/"
        command = ("--ssh-command", pipe_ssh_command(tmp_path, forced_command=forced))
        source = directory(fs_a.path / "snaps")

        wrong_place = buttersink(*command, source, url(fs_b.path / "bak"))
        too_much = buttersink(*command, "-d", source, url(fs_b.path / "bak" / "a"))
        allowed = buttersink(*command, source, url(fs_b.path / "bak" / "a"))

        assert_error(wrong_place, 1, f"this key is for buttersink in '{fs_b.path}/bak/a/' only")
        assert_error(too_much, 1, "in mode a only, and this run needs mode w")
        assert allowed.status == 0, allowed.stderr


class TestWrongWays:
    def test_ssh_that_is_not_installed_is_told(self) -> None:
        done = buttersink("--ssh-command", "/nonexistent/ssh", "ssh://host/a/")
        assert_error(done, 1, "/nonexistent/ssh")

    def test_host_that_does_not_listen_is_told_in_the_words_of_ssh(self) -> None:
        done = buttersink("ssh://127.0.0.1:1/a/")
        assert_error(done, 1, "127.0.0.1", "Connection refused")

    def test_sudo_that_wants_a_password_is_explained(self, far: Far, tmp_path: Path) -> None:
        said = "sudo: a terminal is required to read the password"
        write_program(tmp_path / "bin" / "sudo", f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
        assert_error(far("ssh://nas/a/"), 1, said, "NOPASSWD")

    def test_program_that_is_not_installed_there_is_explained(self, far: Far) -> None:
        done = far("--remote-command", "no-such-buttersink", "ssh://nas/a/")
        assert_error(done, 1, "no-such-buttersink", "install")

    def test_shell_that_greets_its_user_is_explained(self, far: Far, tmp_path: Path) -> None:
        write_program(
            tmp_path / "bin" / "sudo", "#!/bin/sh\necho 'Welcome to nas!'\nexec sleep 9\n"
        )
        assert_error(far("ssh://nas/a/"), 1, "Welcome to nas!")

    def test_old_buttersink_there_is_to_be_upgraded(self, far: Far, tmp_path: Path) -> None:
        # What version 0.6.9 answers to what it takes for a request.
        answer = '{"error": "unknown", "errorType": "Exception", "server": true}'
        sudo = f"#!/bin/sh\nread request\necho '{answer}'\nexec cat >/dev/null\n"
        write_program(tmp_path / "bin" / "sudo", sudo)
        assert_error(far("ssh://nas/a/"), 1, "upgrade", "nas")
