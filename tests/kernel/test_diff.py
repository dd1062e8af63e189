"""What changed between two snapshots, against what is seen by looking at both."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from buttersink.diffing import compare
from buttersink.model import Diff
from buttersink.stores.btrfs import BtrfsStore
from buttersink.stream.changes import Change, ChangeKind, Details
from buttersink.stream.outline import OutlineReader
from support.command import buttersink
from support.history import History
from support.kernel_calls import clone, create_subvolume, snapshot_read_only
from support.loopfs import run
from support.tree_changes import assert_right

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from buttersink.events import Event
    from support.loopfs import LoopFs
    from support.ssh_ends import Shell

    Compare = Callable[[Callable[[Path], object], Callable[[Path], object]], Sequence[Change]]


def outlined(store: BtrfsStore, older: str, newer: str, version: int) -> Sequence[Change]:
    """Return what changed between the snapshots of these names."""
    by_path = {s.path: s.uuid for s in store.inventory().inside()}
    reader = OutlineReader(version)
    buffer = memoryview(bytearray(1 << 16))
    with store.outline(Diff(by_path[newer], by_path[older]), version) as stream:
        while count := stream.readinto(buffer):
            reader.feed(buffer[:count])
    return reader.changes()


@pytest.fixture
def snaps(fs_a: LoopFs) -> Path:
    """Return an empty directory for snapshots."""
    path = fs_a.path / "snaps"
    path.mkdir()
    return path


@pytest.fixture
def store(snaps: Path) -> Iterator[BtrfsStore]:
    """Return that directory as an end."""
    store = BtrfsStore(str(snaps))
    yield store
    store.close()


class TestHistories:
    @pytest.mark.parametrize("version", [1, 2])
    @pytest.mark.parametrize("seed", range(4))
    def test_are_told_exactly_forward_and_back(
        self, fs_a: LoopFs, snaps: Path, store: BtrfsStore, seed: int, version: int
    ) -> None:
        history = History(100 + seed, fs_a.path / "live")
        for name, steps in (("1", 150), ("2", 10), ("3", 200)):
            history.step(steps)
            history.snapshot(snaps / name)

        for older, newer in (("1", "2"), ("2", "3"), ("1", "3"), ("3", "1")):
            changes = outlined(store, older, newer, version)
            assert_right(changes, snaps / older, snaps / newer)

    def test_are_told_on_another_host_as_here(
        self, fs_a: LoopFs, snaps: Path, shell: Shell
    ) -> None:
        history = History(7, fs_a.path / "live")
        for name in "12":
            history.step(150)
            history.snapshot(snaps / name)
        host = f"ssh://{shell.host}"

        here = buttersink("diff", "--json", snaps / "1", snaps / "2")
        there = buttersink("diff", "--json", *shell.options, f"{host}{snaps}/1", f"{host}{snaps}/2")

        assert (here.status, there.status) == (0, 0), there.stderr
        assert here.stdout.splitlines()[:-1] == there.stdout.splitlines()[:-1]
        assert len(here.events) > 50


@pytest.fixture
def changed(fs_a: LoopFs, snaps: Path, store: BtrfsStore) -> Compare:
    """Return what makes two snapshots, around a change, and tells the difference."""
    create_subvolume(fs_a.path / "live")

    def changed(
        prepare: Callable[[Path], object], change: Callable[[Path], object]
    ) -> Sequence[Change]:
        prepare(fs_a.path / "live")
        snapshot_read_only(fs_a.path / "live", snaps / "1")
        change(fs_a.path / "live")
        snapshot_read_only(fs_a.path / "live", snaps / "2")
        changes = outlined(store, "1", "2", 2)
        assert_right(changes, snaps / "1", snaps / "2")
        return [c for c in changes if not c.only_times]

    return changed


class TestChanges:
    def test_of_data_are_counted_to_the_byte(self, changed: Compare) -> None:
        def prepare(live: Path) -> None:
            (live / "whole").write_bytes(os.urandom(1 << 20))

        def change(live: Path) -> None:
            (live / "new").write_bytes(os.urandom(300_000))
            with open(live / "whole", "r+b") as file:
                file.seek(8192)
                file.write(os.urandom(4096))

        new, whole = changed(prepare, change)
        assert (new.kind, new.details.data_bytes) == (ChangeKind.CREATED, 300_000)
        assert whole.details == Details(data_bytes=4096, times=True)

    def test_that_share_data_are_counted_apart(self, changed: Compare) -> None:
        def change(live: Path) -> None:
            with open(live / "f", "rb") as source, open(live / "copy", "xb") as file:
                clone(source.fileno(), file.fileno())

        (copy,) = changed(lambda live: (live / "f").write_bytes(os.urandom(1 << 20)), change)
        assert (copy.details.data_bytes, copy.details.shared_bytes) == (0, 1 << 20)

    def test_of_the_size_tell_the_new_one(self, changed: Compare) -> None:
        (file,) = changed(
            lambda live: (live / "f").write_bytes(bytes(5000)),
            lambda live: os.truncate(live / "f", 9),
        )
        assert file.details.size == 9

    def test_of_flags_are_told(self, changed: Compare) -> None:
        (file,) = changed(
            lambda live: (live / "f").touch(), lambda live: run("chattr", "+d", live / "f")
        )
        assert file.details.flags is not None

    def test_in_a_directory_of_many_that_was_renamed_are_few(self, changed: Compare) -> None:
        def prepare(live: Path) -> None:
            (live / "d" / "e").mkdir(parents=True)
            for number in range(500):
                (live / "d" / "e" / f"{number}").touch()

        def change(live: Path) -> None:
            (live / "d").rename(live / "z")
            (live / "z" / "e" / "7").chmod(0o600)

        assert [(c.kind, c.old_path, c.path) for c in changed(prepare, change)] == [
            (ChangeKind.RENAMED, b"d", b"z"),
            (ChangeKind.CHANGED, b"d/e/7", b"z/e/7"),
        ]

    def test_of_subvolumes_within_are_not_told(self, changed: Compare) -> None:
        def change(live: Path) -> None:
            (live / "inner" / "file").touch()
            create_subvolume(live / "another")

        assert changed(lambda live: create_subvolume(live / "inner"), change) == []

    def test_none_are_none(self, changed: Compare) -> None:
        assert changed(lambda live: (live / "f").touch(), lambda _: None) == []


def test_snapshots_of_different_subvolumes_are_compared_with_a_warning(
    fs_a: LoopFs, snaps: Path, store: BtrfsStore
) -> None:
    for name in "ab":
        create_subvolume(fs_a.path / name)
        (fs_a.path / name / "file").write_bytes(b"same")
        snapshot_read_only(fs_a.path / name, snaps / name)
    one, other = store.inventory().inside()
    said: list[Event] = []

    changes = compare(store, one, other, said.append)

    assert [(c.kind.value, c.path) for c in changes if not c.only_times] == [
        ("deleted", b"file"),
        ("created", b"file"),
    ]
    (warning,) = said
    assert "not made of the same subvolume" in str(warning)


def test_two_paths_of_one_snapshot_have_no_differences(
    fs_a: LoopFs, snaps: Path, store: BtrfsStore
) -> None:
    create_subvolume(fs_a.path / "live")
    snapshot_read_only(fs_a.path / "live", snaps / "1")
    (only,) = store.inventory().inside()
    assert compare(store, only, only, lambda _: None) == ()
