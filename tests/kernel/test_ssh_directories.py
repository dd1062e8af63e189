"""What is made, deleted, refused and asked for at ends that are reached by ssh."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from support.awkward import NAMES
from support.command import Argument, buttersink
from support.far_ends import FAR, FarEnds, make_ends, told
from support.history import simple_history
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run
from support.pipe_ssh import piped_calls
from support.ssh_ends import Shell, secure
from support.stored_ends import SubvolumeEnd, snapshots_below
from support.subvolume_facts import subvolumes
from support.tree import assert_same_tree

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeFs
    from support.loopfs import LoopFs
    from support.sshd import Sshd


@pytest.fixture
def ends(fs_a: LoopFs, fs_b: LoopFs) -> FarEnds:
    return make_ends(fs_a, fs_b)


class TestDelete:
    @FAR
    def test_deletes_what_the_dry_run_listed_and_nothing_else(
        self, ends: FarEnds, shell: Shell, far: set[str]
    ) -> None:
        top = ends.destination.path
        (top / "3").unlink()
        run("btrfs", "--quiet", "subvolume", "delete", ends.source.path / "1")
        named = ends.named(shell, far)
        shown = buttersink("-n", "-d", "--json", *shell.options, *named)
        assert shown.paths("delete") == ["1", "2", "its own/snapshot"]

        done = buttersink("-d", "--json", *shell.options, *named)

        assert done.the("planned")["steps"] == shown.the("planned")["steps"]
        assert [event["step"] for event in done.named("deleted")] == shown.steps("delete")
        assert [event["step"] for event in done.named("cleaned")] == shown.steps("clean")
        remaining = ["3", "4", "5", "6", "dir/other", "old.part", "writable"]
        assert snapshots_below(top) == remaining  # "2" comes with the next run
        for path in remaining[:5]:
            assert_same_tree(ends.source.path / path, top / path)

        again = buttersink("-d", "--json", *shell.options, *named)
        assert (again.status, again.paths("send"), again.paths("delete")) == (0, ["2"], [])

    def test_needs_force_to_lose_everything(
        self, fs_a: LoopFs, fs_b: LoopFs, make_fs: MakeFs, shell: Shell
    ) -> None:
        simple_history(fs_a, 12)
        simple_history(fs_b, 1)
        full = make_fs(label="full").path
        assert buttersink(f"{fs_a.path}/snaps/", full).status == 0
        wrong, far = f"{fs_b.path}/snaps/", shell.end(full)
        before = subvolumes(full)
        here = buttersink("-d", "--json", wrong, f"{full}/")
        there = buttersink("-d", "--json", *shell.options, wrong, far.url)
        assert told(there, {far.url: "END"}) == told(here, {f"{full}/": "END"})
        assert there.status == 1
        assert subvolumes(full) == before


class TestCreate:
    @pytest.mark.parametrize("path", ["new", "new/in/new"])
    def test_makes_the_directory_but_only_if_asked(
        self, fs_a: LoopFs, fs_b: LoopFs, shell: Shell, path: str
    ) -> None:
        simple_history(fs_a, 2)
        source, goal = f"{fs_a.path}/snaps/", shell.end(fs_b.path / path)
        without = buttersink(*shell.options, source, goal.url)
        assert without.status == 2
        assert without.stderr == (
            f"error: {goal.path}/ does not exist on {shell.host} (add --create to have it made)\n"
        )
        shown = buttersink("-n", "--create", "--json", *shell.options, source, goal.url)
        local = buttersink("-n", "--create", "--json", source, goal.path)
        assert (shown.status, shown.paths("send")) == (0, ["1", "2"])
        assert shown.the("planned")["steps"] == local.the("planned")["steps"]
        assert os.listdir(fs_b.path) == []

        done = buttersink("--create", *shell.options, source, goal.url)
        assert done.status == 0, done
        assert snapshots_below(goal.path) == ["1", "2"]
        for made in (goal.path, *goal.path.parents):
            if made != fs_b.path and made.is_relative_to(fs_b.path):
                assert made.stat().st_mode & 0o777 == 0o755

    def test_of_a_directory_that_exists_changes_nothing(
        self, fs_a: LoopFs, fs_b: LoopFs, shell: Shell
    ) -> None:
        simple_history(fs_a, 2)
        source, goal = f"{fs_a.path}/snaps/", shell.end(fs_b.path)
        for count in (2, 0):
            done = buttersink("--create", "--json", *shell.options, source, goal.url)
            assert done.the("finished")["transferred"] == count

    @pytest.mark.parametrize("option", [[], ["--create"]], ids=["", "create"])
    def test_can_not_make_it_below_a_file(
        self, fs_a: LoopFs, fs_b: LoopFs, shell: Shell, option: list[str]
    ) -> None:
        simple_history(fs_a, 1)
        (fs_b.path / "file").touch()
        goal = shell.end(fs_b.path / "file" / "new")
        done = buttersink(*option, *shell.options, f"{fs_a.path}/snaps/", goal.url)
        assert done.status == 2
        assert "is not a directory" in done.stderr
        assert os.listdir(fs_b.path) == ["file"]


class TestTheSameDirectory:
    @FAR
    @pytest.mark.parametrize("way", ["pipe", "sshd"])
    def test_can_not_be_both_ends(
        self, request: pytest.FixtureRequest, fs_a: LoopFs, way: str, far: set[str]
    ) -> None:
        simple_history(fs_a, 2)
        name = "shell" if way == "pipe" else "secure_shell"
        reached: Shell | Sshd = request.getfixturevalue(name)
        shell = reached if isinstance(reached, Shell) else secure(reached)
        here = SubvolumeEnd(fs_a.path / "snaps")
        before = here.traces()
        for options in ([], ["-n"], ["-d", "--force"]):
            done = buttersink(*options, *shell.options, *FarEnds(here, here).named(shell, far))
            assert (done.status, done.stdout) == (2, "")
            assert done.stderr == "error: source and destination are the same directory\n"
        assert here.traces() == before

    def test_is_recognised_by_whatever_name(
        self, fs_a: LoopFs, shell: Shell, scratch: Path
    ) -> None:
        simple_history(fs_a, 1)
        (scratch / "link").symlink_to(fs_a.path)
        named = f"ssh://localhost{scratch}/link/snaps/"
        done = buttersink(*shell.options, f"{fs_a.path}/snaps/", named)
        assert done.stderr == "error: source and destination are the same directory\n"

    def test_above_the_source_is_not_cleared_of_all_else(self, fs_a: LoopFs, shell: Shell) -> None:
        simple_history(fs_a, 2)
        source = SubvolumeEnd(fs_a.path / "snaps")
        top = shell.end(fs_a.path)
        before = top.traces()
        done = buttersink("-d", *shell.options, source.url, top.url)
        assert done.status == 1
        assert f"{top.url} contains the source" in done.stderr
        assert top.traces() == before


class TestModes:
    def test_are_never_more_than_is_needed(
        self, ends: FarEnds, shell: Shell, tmp_path: Path
    ) -> None:
        source, destination = ends.named(shell, {"source", "destination"})
        runs: list[tuple[list[Argument], str]] = [
            ([destination], "r"),
            (["-n", "-d", destination], "r"),
            (["-d", destination], "w"),
            (["-n", source, destination], "rr"),
            (["-n", "-d", source, destination], "rr"),
            ([source, destination], "ra"),
            (["-d", source, destination], "rw"),
        ]
        for arguments, modes in runs:
            so_far = len(piped_calls(tmp_path))
            buttersink(*shell.options, *arguments)
            calls = piped_calls(tmp_path)[so_far:]
            paths = [ends.source.path, ends.destination.path][-len(modes) :]
            assert calls == [
                (shell.host, f"sudo buttersink --server --mode {mode} {path}/")
                for mode, path in zip(modes, paths, strict=True)
            ]


class TestNames:
    def test_of_snapshots_may_be_any_bytes(self, fs_a: LoopFs, fs_b: LoopFs, shell: Shell) -> None:
        create_subvolume(fs_a.path / "live")
        wanted = []
        for number, name in enumerate(NAMES):
            (fs_a.path / "live" / "file").write_bytes(b"%d" % number)
            below = b"in " + name[:200]
            os.mkdir(os.path.join(os.fsencode(fs_a.path), below))
            for path in (name, below + b"/" + name):
                at = os.path.join(os.fsencode(fs_a.path), path)
                snapshot_read_only(fs_a.path / "live", os.fsdecode(at))
                wanted.append(path)
        (fs_b.path / "first").mkdir()
        (fs_b.path / "back").mkdir()
        start, first, back = fs_a.path, fs_b.path / "first", fs_b.path / "back"

        there = buttersink("--json", *shell.options, f"{start}/", shell.end(first).url)
        assert there.status == 0, there.stderr
        assert sorted(map(os.fsencode, there.paths("send"))) == sorted(wanted)
        again = buttersink("--json", *shell.options, shell.end(start).url, f"{first}/")
        assert again.the("finished")["transferred"] == 0
        listed = buttersink("--json", *shell.options, shell.end(first).url).the("listed")
        assert sorted(os.fsencode(s["path"]) for s in listed["snapshots"]) == sorted(wanted)
        with_delete = buttersink("-d", *shell.options, f"{back}/", "--force", shell.end(first).url)
        assert with_delete.status == 0, with_delete.stderr
        assert snapshots_below(first) == []

    @pytest.mark.parametrize("name", NAMES, ids=repr)
    def test_of_directories_may_be_any_bytes(self, fs_a: LoopFs, shell: Shell, name: bytes) -> None:
        self.check_directory(fs_a.path, shell, name)

    def test_of_directories_may_be_any_bytes_over_a_real_sshd(
        self, fs_a: LoopFs, secure_shell: Sshd
    ) -> None:
        short = [name for name in NAMES if len(name) < 100]
        self.check_directory(fs_a.path, secure(secure_shell), *short)

    @staticmethod
    def check_directory(top: Path, shell: Shell, *names: bytes) -> None:
        """Sync one snapshot from and to directories of these names, one in the other."""
        path, last = os.fsdecode(b"/".join(names)), os.fsdecode(names[-1])
        source, goal = f"{top}/from/{path}", f"{top}/to/{path}"
        os.makedirs(source)
        create_subvolume(top / "live")
        snapshot_read_only(top / "live", f"{source}/{last}")
        host = f"ssh://{shell.host}"
        done = buttersink("--create", *shell.options, f"{host}{source}/{last}", f"{host}{goal}")
        assert done.status == 0, done.stderr
        assert snapshots_below(top / "to") == [f"{path}/{last}"]
