"""Syncing as a user does it: what arrives, and where."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.command import buttersink, directory, sync
from support.history import History, many_snapshots, simple_history
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.subvolume_facts import snapshot_writable, subvolumes
from support.sync_histories import assert_arrived, extend, histories
from support.tree import assert_same_tree, describe

if TYPE_CHECKING:
    from conftest import MakeFs
    from support.loopfs import LoopFs


class TestRandomHistories:
    @pytest.mark.parametrize(
        ("mounted_a", "mounted_b"),
        [
            ("", ""),
            ("compress-force=zstd", "compress-force=zstd"),
            ("compress=zstd", ""),
            ("", "compress=lzo"),
        ],
        ids=["plain", "both compressed", "compressed source", "compressed destination"],
    )
    def test_arrive_equal_are_left_alone_and_continue(
        self, make_fs: MakeFs, mounted_a: str, mounted_b: str
    ) -> None:
        fs_a = make_fs(label="a", mount_options=mounted_a)
        fs_b = make_fs(label="b", mount_options=mounted_b)
        snaps = fs_a.path / "snaps"
        started = histories(fs_a, 12)

        paths = extend(fs_a, started, "1", "2")
        first = sync(snaps, fs_b.path)
        assert first.the("finished")["transferred"] == len(paths)
        assert_arrived(snaps, fs_b.path, paths)

        before = subvolumes(fs_b.path)
        again = sync(snaps, fs_b.path)
        assert again.the("finished") | {"seconds": 0} == {
            "event": "finished",
            "transferred": 0,
            "adopted": 0,
            "present": len(paths),
            "failed": 0,
            "deleted": 0,
            "hidden": 0,
            "undeleted": 0,
            "sent_bytes": 0,
            "resumed_bytes": 0,
            "seconds": 0,
        }
        assert subvolumes(fs_b.path) == before

        news = extend(fs_a, started, "3")
        continued = sync(snaps, fs_b.path)
        assert continued.the("finished")["transferred"] == len(news)
        reasons = [step["reason"] for step in continued.steps("send")]
        assert {*reasons} <= {"cheapest", "first", "full_cheapest"}, (
            "a history may have lost nearly all"
        )
        assert reasons.count("cheapest") > len(news) / 2
        assert_arrived(snaps, fs_b.path, paths + news)

    @pytest.mark.parametrize("seed", [100, 101, 102])
    def test_that_are_long_arrive_equal(self, fs_a: LoopFs, fs_b: LoopFs, seed: int) -> None:
        (fs_a.path / "snaps").mkdir()
        history = History(seed, fs_a.path / "live")
        names = [str(number) for number in range(5)]
        for name in names:
            history.step(300)
            history.snapshot(fs_a.path / "snaps" / name)

        sync(fs_a.path / "snaps", fs_b.path)

        assert_arrived(fs_a.path / "snaps", fs_b.path, names)

    def test_can_arrive_newest_first(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        snapshots = simple_history(fs_a, 4)
        assert buttersink(snapshots[-1], directory(fs_b.path)).status == 0

        rest = sync(fs_a.path / "snaps", fs_b.path)

        assert rest.paths("keep") == ["4"]
        assert rest.the("finished")["transferred"] == 3
        assert_arrived(fs_a.path / "snaps", fs_b.path, ["1", "2", "3", "4"])


class TestLayout:
    def test_of_snapper_is_kept_and_the_second_run_does_nothing(
        self, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        live = fs_a.path / "live"
        create_subvolume(live)
        snapshots = fs_a.path / ".snapshots"
        create_subvolume(snapshots)
        for number in ("1", "2", "10"):
            (live / "file").write_text(number, encoding="ascii")
            (snapshots / number).mkdir()
            (snapshots / number / "info.xml").write_text("<snapshot/>", encoding="ascii")
            snapshot_read_only(live, snapshots / number / "snapshot")

        sync(snapshots, fs_b.path)
        before = subvolumes(fs_b.path), describe(fs_b.path)
        again = sync(snapshots, fs_b.path)

        assert again.the("finished")["transferred"] == 0
        assert (subvolumes(fs_b.path), describe(fs_b.path)) == before
        assert sorted(os.listdir(fs_b.path)) == ["1", "10", "2"]
        assert [os.listdir(fs_b.path / number) for number in ("1", "2", "10")] == [["snapshot"]] * 3
        assert (fs_b.path / "10" / "snapshot" / "file").read_text(encoding="ascii") == "10"

    def test_of_nested_directories_is_made_at_the_destination(
        self, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        deep = Path(*"abcdefghijklmnopqrstuvwxyz")
        (fs_a.path / deep).mkdir(parents=True)
        create_subvolume(fs_a.path / "live")
        snapshot_read_only(fs_a.path / "live", fs_a.path / deep / "snapshot")
        snapshot_read_only(fs_a.path / "live", fs_a.path / "a" / "beside")

        sync(fs_a.path, fs_b.path)

        assert_same_tree(fs_a.path / "live", fs_b.path / deep / "snapshot")
        assert_same_tree(fs_a.path / "live", fs_b.path / "a" / "beside")

    def test_reaches_into_writable_subvolumes(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        create_subvolume(fs_a.path / "home")
        create_subvolume(fs_a.path / "home" / ".snapshots")
        snapshot_read_only(fs_a.path / "home", fs_a.path / "home" / ".snapshots" / "1")

        sync(fs_a.path, fs_b.path)

        assert (fs_b.path / "home" / ".snapshots" / "1").is_dir()
        assert subvolumes(fs_b.path).count("\n") == 1, "directories stand for writable subvolumes"


NAMES = {
    "space": b"two words",
    "quotes": b"\"'`$(touch x)",
    "newline": b"a\nb",
    "not UTF-8": b"caf\xe9 \xff\xfe",
    "leading dash": b"-rf",
    "longest": b"x" * 255,
    "longest in UTF-8": "é".encode() * 127,
    "control characters": b"\x01\x1b[31m\x7f",
    "backslash": b"\\040",
    "our own suffix": b"snapshot.part",
}


class TestNames:
    def test_may_be_any_bytes(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        top_a, top_b = os.fsencode(fs_a.path), os.fsencode(fs_b.path)
        history = History(7, fs_a.path / "live")
        for name in NAMES.values():
            history.step(10)
            history.snapshot(os.fsdecode(os.path.join(top_a, name)))
            os.mkdir(os.path.join(top_a, b"in " + name[:200]))
            history.snapshot(os.fsdecode(os.path.join(top_a, b"in " + name[:200], name)))

        done = sync(fs_a.path, fs_b.path)

        planned = {os.fsencode(path) for path in done.paths("send")}
        wanted = {*NAMES.values(), *(b"in " + n[:200] + b"/" + n for n in NAMES.values())}
        assert planned == wanted
        for name in wanted:
            one, two = (os.fsdecode(os.path.join(top, name)) for top in (top_a, top_b))
            assert_same_tree(one, two)
        assert sync(fs_a.path, fs_b.path).the("finished")["transferred"] == 0

    @pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
    def test_of_directories_on_the_command_line_may_be_any_bytes(
        self, fs_a: LoopFs, name: bytes
    ) -> None:
        top = os.fsencode(fs_a.path)
        source, destination = (os.path.join(top, end, name) for end in (b"from", b"to"))
        os.makedirs(source)
        create_subvolume(fs_a.path / "live")
        snapshot_read_only(fs_a.path / "live", os.fsdecode(os.path.join(source, name)))

        done = buttersink("--create", os.path.join(source, name), destination)

        assert done.status == 0, done.stderr
        assert os.listdir(destination) == [name]

    def test_are_shown_on_one_line_with_nothing_that_a_terminal_obeys(
        self, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        create_subvolume(fs_a.path / "live")
        for name in NAMES.values():
            path = os.path.join(os.fsencode(fs_a.path), name)
            snapshot_read_only(fs_a.path / "live", os.fsdecode(path))

        done = buttersink(directory(fs_a.path), directory(fs_b.path))

        assert done.status == 0
        shown = done.stdout + done.stderr
        assert all(line.isprintable() for line in shown.splitlines())
        assert len(done.stdout.splitlines()) == len(NAMES) + 1


class TestThePlan:
    def test_of_a_series_takes_no_more_than_the_chain_of_predecessors(
        self, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        started = histories(fs_a, 4)
        extend(fs_a, started, *"1234", steps=40)
        listed = buttersink("--json", directory(fs_a.path / "snaps")).the("listed")
        chain = sum(snapshot["increment"]["bytes"] for snapshot in listed["snapshots"])
        assert all(
            snapshot["predecessor"] or snapshot["path"].endswith("/1")
            for snapshot in listed["snapshots"]
        )

        done = sync(fs_a.path / "snaps", fs_b.path)

        assert done.the("planned")["size"] == {
            "bytes": done_bytes(done.named("transfer_done")),
            "certainty": "exact",
        }
        assert done.the("planned")["size"]["bytes"] <= chain

    def test_of_many_small_snapshots_is_a_chain(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        many_snapshots(fs_a, 60)

        done = sync(fs_a.path / "snaps", fs_b.path)

        sent = done.steps("send")
        assert len(sent) == 60
        assert [step["parent"] is None for step in sent].count(True) == 1
        assert done.the("planned")["size"]["bytes"] < 60 * 600

    def test_never_crosses_between_unrelated_clusters(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        started = histories(fs_a, 2)
        for name in "123":  # interleaved in time
            for history, number in zip(started, "01", strict=True):
                history.step(40)
                history.snapshot(fs_a.path / "snaps" / number / name)

        done = sync(fs_a.path / "snaps", fs_b.path)

        sent = done.steps("send")
        within = [s["path"][0] == s["parent"]["path"][0] for s in sent if s["parent"]]
        assert within == [True] * 4
        assert len(done.named("measuring")) < 30

    def test_is_the_same_whatever_was_made_first(self, make_fs: MakeFs, fs_a: LoopFs) -> None:
        extend(fs_a, histories(fs_a, 3), "1", "2")
        plans = []
        for _ in range(2):
            fs_b = make_fs(label="b", size="1G")
            plan = buttersink("--json", "-n", directory(fs_a.path), directory(fs_b.path))
            plans.append(plan.the("planned")["steps"])
        assert plans[0] == plans[1]

    def test_sends_a_snapshot_of_a_snapshot_as_a_diff(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        (original,) = simple_history(fs_a, 1)
        branch = snapshot_writable(original, fs_a.path / "branch")
        (branch / "more").write_bytes(b"more")
        snapshot_read_only(branch, fs_a.path / "snaps" / "branch")

        done = sync(fs_a.path / "snaps", fs_b.path)

        (_, sent) = done.steps("send")
        assert (sent["path"], sent["parent"]["path"]) == ("branch", "1")
        assert sent["size"]["bytes"] < 2000


def done_bytes(events: list[dict[str, int]]) -> int:
    return sum(event["plain_bytes"] for event in events)
