"""The same listed, planned, done and told over ssh as with the same ends at hand."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from support.command import buttersink
from support.far_ends import (
    FAR,
    FAR_ENDS,
    STRANGER,
    FarEnds,
    make_destination,
    make_ends,
    make_scattered,
    make_source,
    told,
)
from support.loopfs import run
from support.stored_ends import snapshots_below
from support.subvolume_facts import own_uuid
from support.tree import assert_same_tree

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeFs
    from support.command import Run
    from support.loopfs import LoopFs
    from support.ssh_ends import Shell
    from support.stored_ends import SubvolumeEnd


@pytest.fixture
def ends(fs_a: LoopFs, fs_b: LoopFs) -> FarEnds:
    return make_ends(fs_a, fs_b)


class TestListing:
    @pytest.mark.parametrize(
        "options", [[], ["--estimate"], ["--exclude", "its"], ["-n", "-d"]], ids=" ".join
    )
    def test_is_the_same(self, ends: FarEnds, shell: Shell, options: list[str]) -> None:
        for end in (ends.source, ends.destination):
            self.compare(end, shell, "--json", *options)
            self.compare(end, shell, *options)

    def test_is_the_same_with_the_sizes_that_quotas_know(self, ends: FarEnds, shell: Shell) -> None:
        run("btrfs", "quota", "enable", ends.source.path)
        run("btrfs", "quota", "rescan", "-w", ends.source.path)
        for options in (["--json"], ["--json", "--estimate"], []):
            assert "exclusive" in self.compare(ends.source, shell, *options).stdout

    @staticmethod
    def compare(end: SubvolumeEnd, shell: Shell, *options: str) -> Run:
        """List an end both ways; return what came of it over ssh."""
        far = shell.end(end.path)
        here = buttersink(*options, end.url)
        there = buttersink(*options, *shell.options, far.url)
        assert here.status == 0
        assert told(there, {far.url: "END"}) == told(here, {end.url: "END"})
        return there

    def test_of_one_snapshot_is_the_same(self, ends: FarEnds, shell: Shell) -> None:
        for name in ("dir/other", "other", "1", "nothing"):
            here, there = (f"{end.url}{name}" for end in (ends.source, shell.end(ends.source.path)))
            one, other = buttersink("--json", here), buttersink("--json", *shell.options, there)
            assert told(other, {there: "END"}) == told(one, {here: "END"})
            assert one.status == (2 if name == "nothing" else 0)

    def test_removes_the_same_leftovers(self, ends: FarEnds, shell: Shell) -> None:
        far = shell.end(ends.destination.path)
        listed = buttersink("--json", "-n", "-d", *shell.options, far.url)
        removed = buttersink("--json", "-d", *shell.options, far.url)

        assert listed.the("planned")["steps"] == removed.the("planned")["steps"]
        assert [event["step"] for event in removed.named("cleaned")] == listed.steps("clean")
        assert listed.paths("clean") == [f".buttersink-{STRANGER}.part"]
        assert ".part" not in os.listdir(far.path)
        assert (far.path / "old.part").is_dir()


class TestDryRun:
    @pytest.mark.parametrize(
        "options",
        [
            ["--json"],
            ["--json", "-d"],
            ["--json", "-d", "--force"],
            ["--json", "-e"],
            ["--json", "--exclude", "4"],
            ["-d"],
        ],
        ids=" ".join,
    )
    def test_plans_the_same(self, ends: FarEnds, shell: Shell, options: list[str]) -> None:
        before = ends.source.traces(), ends.destination.traces()
        outcomes = []
        for far in (set[str](), *FAR_ENDS):
            source, destination = ends.named(shell, far)
            done = buttersink("-n", *options, *shell.options, source, destination)
            outcomes.append(told(done, {source: "SOURCE", destination: "DESTINATION"}))
        assert outcomes == [outcomes[0]] * 4
        assert outcomes[0].status == 3  # something stands at the path of "3"
        assert (ends.source.traces(), ends.destination.traces()) == before

    def test_plans_the_same_with_sizes_that_were_noted_long_ago(
        self, ends: FarEnds, shell: Shell
    ) -> None:
        uuids = {name: own_uuid(ends.source.path / name) for name in "123456"}
        for name, uuid in uuids.items():
            lines = [f"{uuid}\t{parent}\t{name}00{n}\n" for n, parent in uuids.items() if n != name]
            (ends.source.path / f"{name}.bs").write_text("".join(lines), encoding="ascii")
        plans = []
        for far in (set[str](), *FAR_ENDS):
            done = buttersink("-n", "-e", "--json", *shell.options, *ends.named(shell, far))
            plans.append(done.the("planned")["steps"])
        assert plans == [plans[0]] * 4
        noted = {f"{n}00{m}" for n in uuids for m in uuids}
        sizes = {step["path"]: step["size"] for step in plans[0] if step["size"]}
        assert str(sizes["6"]["bytes"]) in noted
        assert sizes["6"]["certainty"] == "estimate"

    @pytest.mark.parametrize("far", [{"source"}, {"destination"}], ids=["from", "to"])
    def test_builds_as_well_on_what_lies_outside_and_was_not_asked_for(
        self, fs_a: LoopFs, fs_b: LoopFs, shell: Shell, far: set[str]
    ) -> None:
        ends = make_scattered(fs_a, fs_b)
        steps = []
        for some in (set[str](), far):
            planned = buttersink("-n", "--json", *shell.options, *ends.named(shell, some))
            (step,) = planned.steps("send")
            steps.append((step["parent"]["uuid"], step["size"], step["reason"]))
        assert steps[0] == steps[1]
        assert steps[0][0] == own_uuid(fs_a.path / "snaps" / "2")

        done = buttersink(*shell.options, *ends.named(shell, far))
        assert done.status == 0, done
        assert_same_tree(ends.source.path / "3", ends.destination.path / "3")

    def test_shows_what_lies_outside_of_a_far_source_only_by_its_identity(
        self, fs_a: LoopFs, fs_b: LoopFs, shell: Shell
    ) -> None:
        ends = make_scattered(fs_a, fs_b)
        planned = buttersink("-n", "--json", *shell.options, *ends.named(shell, {"source"}))
        (step,) = planned.steps("send")
        assert step["parent"]["uuid"] == own_uuid(fs_a.path / "snaps" / "2")
        assert "snaps" not in planned.stdout + planned.stderr


class TestRun:
    @FAR
    @pytest.mark.parametrize("options", [[], ["-d"]], ids=" ".join)
    def test_does_and_tells_the_same(
        self, fs_a: LoopFs, make_fs: MakeFs, shell: Shell, far: set[str], options: list[str]
    ) -> None:
        source = make_source(fs_a)
        outcomes = []
        for some in (set[str](), far):
            fs = make_fs(label="destination")
            ends = FarEnds(source, make_destination(fs, source))
            names = dict(zip(ends.named(shell, some), ("SOURCE", "DESTINATION"), strict=True))
            for path in ("2", "its own/snapshot"):
                names[own_uuid(ends.destination.path / path)] = f"uuid of {path}"
            done = buttersink("--json", *options, *shell.options, *ends.named(shell, some))
            outcomes.append((told(done, names), snapshots_below(ends.destination.path)))
            for path in ("1", "4", "5", "6", "dir/other"):
                assert_same_tree(source.path / path, ends.destination.path / path)
        assert outcomes[0] == outcomes[1]
        outcome, _ = outcomes[0]
        assert outcome.status == 3  # as something stands at two paths
        assert "skipped" in outcome.errors

    def test_brings_one_snapshot(self, ends: FarEnds, fs_b: LoopFs, shell: Shell) -> None:
        goal = fs_b.path / "goal"
        goal.mkdir()
        for path in ("4", "dir/other"):
            source = f"{shell.end(ends.source.path).url}{path}"
            done = buttersink("--json", *shell.options, source, shell.end(goal).url)
            name = os.path.basename(path)
            assert (done.status, done.paths("send")) == (0, [name])
            assert_same_tree(ends.source.path / path, goal / name)
        assert snapshots_below(goal) == ["4", "other"]

    def test_takes_one_snapshot_where_no_slash_is_at_the_end(
        self, ends: FarEnds, shell: Shell
    ) -> None:
        named = f"ssh://{shell.host}{ends.source.path}"
        done = buttersink(*shell.options, named, ends.destination.path)
        assert done.status == 2
        assert done.stderr.endswith(
            f"error: {named} names no snapshot: there is none called snaps (the slash at the end "
            f"matters: to mean all snapshots in that directory, write {named}/)\n"
        )


class TestErrors:
    @pytest.mark.parametrize("what", ["missing", "file", "not btrfs", "snapshot", "below a file"])
    def test_are_the_same_but_for_the_host(
        self, ends: FarEnds, shell: Shell, scratch: Path, what: str
    ) -> None:
        top = ends.destination.path
        path = {
            "missing": top / "missing",
            "file": top / "3",
            "not btrfs": scratch,
            "snapshot": top / "1",
            "below a file": top / "3" / "missing",
        }[what]
        here, there = buttersink(f"{path}/"), buttersink(*shell.options, shell.end(path).url)
        assert there.status == here.status != 0
        message, _, _ = here.stderr.partition(" (")
        host = shell.host
        for words in (f"error: {host}: ", f" on {host}"):
            assert there.stderr.count(host) == 1
            if words in there.stderr:
                told_there = there.stderr.replace(words, "error: " if ":" in words else "")
                assert told_there.startswith(message.rstrip("\n"))
                return
        pytest.fail(there.stderr)
