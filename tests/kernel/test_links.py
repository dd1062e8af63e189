"""Links, which are only there to build others on, and leftovers of older versions, for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from random import Random
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from buttersink.errors import BusyError, MissingError, TransferError
from buttersink.model import Diff, Partial, StreamOptions
from buttersink.stores.btrfs import BtrfsStore
from support.history import simple_history
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run
from support.processes import processes, wait_until
from support.streams import captured
from support.subvolume_facts import (
    identity,
    make_read_only,
    make_writable,
    own_uuid,
    show,
    snapshot_writable,
    subvolumes,
)
from support.tree import assert_same_tree, describe, differences

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.loopfs import LoopFs

MIB = 1 << 20
OPTIONS = StreamOptions(version=1)
KILLS = 10
MOST_RUNS = 60

RECEIVE_LINKS = """
import sys
from buttersink.model import Diff, StreamOptions
from buttersink.stores.btrfs import BtrfsStore
from buttersink.transfer import pump

source, sink = (BtrfsStore(path) for path in sys.argv[1:])
parent = None
print("ready", flush=True)
with sink.lock():
    there = sink.inventory().by_uuid()
    for snapshot in source.inventory().snapshots:
        diff, parent = Diff(snapshot.uuid, parent), snapshot.uuid
        if diff.to in there:
            continue
        options = StreamOptions(version=1)
        with (
            sink.receive(diff, snapshot.path, options, link=True) as writer,
            source.send(diff, options) as reader,
        ):
            pump(reader, writer, progress=lambda _: None)
"""
"""Makes links of all snapshots in one directory, each on the one before it, in another."""


class Stage:
    """A source with some snapshots, and an empty destination.

    Attributes:
        snaps: The directory of the snapshots 1, 2, ...
        directory: The destination.
        identities: Of the snapshots, in their order.
    """

    def __init__(self, fs_a: LoopFs, fs_b: LoopFs, stores: ExitStack) -> None:
        self.snaps = fs_a.path / "snaps"
        self.directory = fs_b.path / "dst"
        self.directory.mkdir()
        self._stores = stores
        self.source = self.open(self.snaps)
        self.identities = [s.uuid for s in self.source.inventory().snapshots]

    def open(self, directory: Path) -> BtrfsStore:
        """Return a store, closed after the test."""
        store = BtrfsStore(os.fspath(directory))
        self._stores.callback(store.close)
        return store

    def link(self, sink: BtrfsStore, number: int, parent: int | None = None) -> Path:
        """Receive a snapshot as a link; return where it is to be."""
        diff = Diff(self.identities[number], None if parent is None else self.identities[parent])
        with sink.receive(diff, "any/path", OPTIONS, link=True) as writer:
            writer.write(memoryview(captured(self.source, diff, OPTIONS)))
        return self.path(number)

    def path(self, number: int) -> Path:
        """Return where the link of a snapshot is."""
        return self.directory / f".buttersink-{self.identities[number]}.link"

    def whole_links(self) -> set[Path]:
        """Check that each subvolume with the name of a link is whole; return them."""
        found = set(self.directory.glob(".buttersink-*.link"))
        for number in range(len(self.identities)):
            if (path := self.path(number)) in found:
                assert show(path, "Flags") == "readonly"
                assert UUID(show(path, "Received UUID")) == self.identities[number]
                assert not differences(describe(self.snaps / f"{number + 1}"), describe(path))
        return found


@pytest.fixture
def stage(fs_a: LoopFs, fs_b: LoopFs) -> Iterator[Stage]:
    simple_history(fs_a, 3, size=4 * MIB)
    with ExitStack() as stores:
        yield Stage(fs_a, fs_b, stores)


class TestALink:
    def test_is_a_read_only_subvolume_with_a_hidden_name(self, stage: Stage) -> None:
        sink = stage.open(stage.directory)
        paths = {stage.link(sink, 0), stage.link(sink, 1, 0)}

        assert stage.whole_links() == paths
        assert set(stage.directory.iterdir()) == paths, "and nothing else was made"
        assert [s.elsewhere for s in sorted(sink.inventory().snapshots, key=lambda s: s.path)] == [
            (f"dst/{path.name}",) for path in sorted(paths)
        ]

    def test_is_whole_or_not_there_whenever_its_run_is_killed(self, stage: Stage) -> None:
        rng = Random(1)
        kills = half_done = 0
        upto = 1.0
        for _ in range(MOST_RUNS):
            killed = kill_receiving(stage, after=rng.uniform(0, upto))
            kills += killed
            upto = upto if killed else max(upto / 2, 0.05)
            links = stage.whole_links()
            inventory = stage.open(stage.directory).inventory()
            assert {f"dst/{path.name}" for path in links} == {
                s.elsewhere[0] for s in inventory.snapshots
            }
            assert {p.path for p in inventory.partials if p.link} == {path.name for path in links}
            half_done += len(list(stage.directory.iterdir())) > len(links)
            if kills == KILLS:
                break
            if len(links) == len(stage.identities):
                run("btrfs", "--quiet", "subvolume", "delete", *links)
        assert (kills, half_done > 0) == (KILLS, True)
        kill_receiving(stage, after=None)
        assert len(stage.whole_links()) == len(stage.identities)

    def test_gives_its_space_back_once_it_is_released(self, stage: Stage) -> None:
        sink = stage.open(stage.directory)
        sink.flush()
        before = sink.free_bytes()
        stage.link(sink, 0)
        sink.flush()
        between = sink.free_bytes()

        sink.release(stage.identities[0])
        sink.flush()

        after = sink.free_bytes()
        assert before is not None
        assert between is not None
        assert after is not None
        assert before - between >= 4 * MIB
        assert after - between >= 4 * MIB
        assert list(stage.directory.iterdir()) == []

    def test_is_not_released_once_it_was_changed(self, stage: Stage) -> None:
        listed = stage.open(stage.directory)
        path = stage.link(listed, 0)
        listed.inventory()
        make_writable(path)

        with pytest.raises(MissingError, match="changed meanwhile"):
            listed.release(stage.identities[0])
        with pytest.raises(MissingError, match="no link"):
            stage.open(stage.directory).release(stage.identities[0])

        assert path.is_dir()

    def test_that_is_writable_is_a_leftover_and_no_snapshot(self, stage: Stage) -> None:
        sink = stage.open(stage.directory)
        path = stage.link(sink, 0)
        make_writable(path)

        inventory = sink.inventory()
        (partial,) = inventory.partials
        assert partial == Partial(path=path.name, uuid=stage.identities[0])
        assert inventory.snapshots == ()
        sink.clean(partial)

        assert not path.exists()

    def test_that_was_changed_and_made_read_only_again_is_no_snapshot(self, stage: Stage) -> None:
        sink = stage.open(stage.directory)
        path = stage.link(sink, 0)
        make_writable(path)
        (path / "more").write_bytes(b"more")
        make_read_only(path)
        run("btrfs", "filesystem", "sync", path)

        inventory = sink.inventory()

        assert inventory.snapshots == ()
        assert inventory.partials == (Partial(path=path.name, uuid=stage.identities[0]),)

    def test_further_down_is_left_to_the_run_that_holds_its_directory(self, stage: Stage) -> None:
        (stage.directory / "deeper").mkdir()
        running, above = stage.open(stage.directory / "deeper"), stage.open(stage.directory)
        with running.lock():
            stage.link(running, 0)
            (partial,) = above.inventory().partials
            assert (partial.path, partial.link) == (f"deeper/{stage.path(0).name}", True)
            with above.lock(), pytest.raises(BusyError, match="deeper"):
                above.clean(partial)
            stage.link(running, 1, 0)

        with pytest.raises(MissingError):
            above.release(stage.identities[0])
        with above.lock():
            above.clean(partial)

        assert [p.uuid for p in above.inventory().partials] == [stage.identities[1]]


def kill_receiving(stage: Stage, *, after: float | None) -> bool:
    """Let a program make links of all snapshots, and kill it after so many seconds.

    Returns:
        Whether it was still running then; None lets it run to its end.
    """
    program = subprocess.Popen(
        [sys.executable, "-c", RECEIVE_LINKS, stage.snaps, stage.directory],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        try:
            assert program.wait(timeout=after) == 0
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()
    gone = f"all processes of session {program.pid} had ended"
    wait_until(lambda: all(p.session != program.pid for p in processes()), gone)
    return program.returncode == -signal.SIGKILL


@pytest.fixture
def leftover(stage: Stage) -> Path:
    """Return what ButterSink 0.6.9 left of a failed receive."""
    stream = captured(stage.source, Diff(stage.identities[0]), OPTIONS)
    receive = ["btrfs", "receive", "-e", os.fspath(stage.directory)]
    done = subprocess.run(receive, input=stream[: len(stream) // 2], check=False)
    assert done.returncode != 0
    return (stage.directory / "1").rename(stage.directory / "1_2014-07-01T12:34:56.789012.part")


class TestALeftoverOfAnOlderVersion:
    def test_is_listed_with_a_warning_and_can_be_removed(
        self, stage: Stage, leftover: Path
    ) -> None:
        for name in ("live", ".part", "2.part2"):
            create_subvolume(stage.directory / name)
        snapshot_read_only(leftover, stage.directory / "3.part")
        sink = stage.open(stage.directory)

        inventory = sink.inventory()
        (partial,) = inventory.partials
        assert (partial.path, partial.uuid, partial.link) == (leftover.name, None, False)
        assert partial.guarded
        assert inventory.writable == 3
        assert [s.path for s in inventory.snapshots] == ["3.part"]
        sink.clean(partial)

        assert sorted(os.listdir(stage.directory)) == [".part", "2.part2", "3.part", "live"]
        assert sink.inventory().partials == ()

    @pytest.mark.parametrize("readonly", [True, False])
    def test_is_not_removed_with_others_nested_in_it(
        self, stage: Stage, leftover: Path, *, readonly: bool
    ) -> None:
        create_subvolume(leftover / "nested")
        if readonly:
            make_read_only(leftover / "nested")
        sink = stage.open(stage.directory)
        (partial,) = sink.inventory().partials
        before = subvolumes(stage.directory)

        with pytest.raises(TransferError, match="nested") as raised:
            sink.clean(partial)

        assert leftover.name in raised.value.message
        assert subvolumes(stage.directory) == before

    def test_is_not_removed_if_it_is_something_else_by_now(
        self, stage: Stage, leftover: Path
    ) -> None:
        sink = stage.open(stage.directory)
        (partial,) = sink.inventory().partials

        make_read_only(leftover)
        with pytest.raises(MissingError, match="changed meanwhile"):
            sink.clean(partial)
        make_writable(leftover)
        moved = leftover.rename(leftover.with_name("moved"))
        with pytest.raises(MissingError, match="gone or been replaced"):
            sink.clean(partial)
        snapshot_writable(moved, leftover)
        with pytest.raises(MissingError, match="gone or been replaced"):
            sink.clean(partial)

        assert own_uuid(moved) != own_uuid(leftover)
        assert identity(leftover) == own_uuid(leftover)

    def test_does_not_keep_the_snapshot_from_arriving(self, stage: Stage, leftover: Path) -> None:
        sink = stage.open(stage.directory)
        diff = Diff(stage.identities[0])
        with sink.receive(diff, "1", OPTIONS) as writer:
            writer.write(memoryview(captured(stage.source, diff, OPTIONS)))

        assert_same_tree(stage.snaps / "1", stage.directory / "1")
        assert leftover.is_dir()
