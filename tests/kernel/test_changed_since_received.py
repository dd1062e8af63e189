"""Whether a received subvolume was changed since: its identity can't be trusted then."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

from buttersink.btrfs.subvolumes import (
    changed_since_received,
)
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run
from support.subvolume_reading import (
    commit,
    flip,
    is_changed,
    opened,
    receive,
    subvolume_at,
    wait_for_a_tick,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.loopfs import LoopFs


def overwrite_one_byte(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"!")


class Received(NamedTuple):
    """A received snapshot, and where its file system is mounted."""

    fs: LoopFs
    path: Path


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda top: (top / "file").write_text("other"),
    "content of the same size": lambda top: overwrite_one_byte(top / "big"),
    "truncation": lambda top: os.truncate(top / "big", 1),
    "new file": lambda top: (top / "new").write_text("new"),
    "new empty file": lambda top: (top / "new").touch(),
    "new directory": lambda top: (top / "directory" / "new").mkdir(),
    "new link": lambda top: os.link(top / "file", top / "directory" / "link"),
    "new nested subvolume": lambda top: create_subvolume(top / "directory" / "nested"),
    "chmod of a file": lambda top: (top / "file").chmod(0o600),
    "chmod of a directory": lambda top: (top / "directory").chmod(0o700),
    "chmod of the top": lambda top: top.chmod(0o700),
    "chown of a link": lambda top: os.chown(top / "link", 1, 1, follow_symlinks=False),
    "attribute": lambda top: os.setxattr(top / "file", "user.name", b"value"),
    "deletion": lambda top: (top / "directory" / "inner").unlink(),
    "rename": lambda top: (top / "file").rename(top / "renamed"),
    "rename within a directory": lambda top: (top / "directory" / "inner").rename(
        top / "directory" / "renamed"
    ),
}


class TestChangedSinceReceived:
    @pytest.fixture
    def received(self, fs_a: LoopFs, fs_b: LoopFs) -> Received:
        live = fs_a.path / "live"
        create_subvolume(live)
        (live / "directory").mkdir()
        (live / "directory" / "inner").write_text("inner")
        (live / "file").write_text("file")
        (live / "big").write_bytes(os.urandom(16 << 20))
        (live / "link").symlink_to("file")
        for number in range(500):  # more than one leaf, so that not all of the tree is rewritten
            (live / f"file {number}").write_text("some")
        snapshot_read_only(live, fs_a.path / "snapshot")
        return Received(fs_b, receive(fs_a.path / "snapshot", fs_b.path))

    def test_is_false_at_first_and_once_its_data_is_on_disk(self, received: Received) -> None:
        assert not is_changed(received.path)
        commit(received.fs)
        assert not is_changed(received.path)
        facts = subvolume_at(received.path)
        assert facts.generation > facts.rtransid, "data was to be written out after receipt"

    def test_is_false_while_and_after_snapshots_are_taken_of_it(self, received: Received) -> None:
        copies = [received.fs.path / f"copy {number}" for number in range(3)]
        for copy in copies:
            snapshot_read_only(received.path, copy)
            run("btrfs", "--quiet", "subvolume", "snapshot", received.path, f"{copy} writable")
            (received.fs.path / f"{copy} writable" / "file").write_text("not in the snapshot")
            commit(received.fs)

        assert not any(map(is_changed, [received.path, *copies]))

    def test_is_false_of_an_increment(self, fs_a: LoopFs, received: Received) -> None:
        (fs_a.path / "live" / "file").write_text("later")
        snapshot_read_only(fs_a.path / "live", fs_a.path / "next")
        following = receive(fs_a.path / "next", received.fs.path, parent=fs_a.path / "snapshot")
        commit(received.fs)

        assert not is_changed(following)
        assert not is_changed(received.path)

    def test_is_false_after_a_remount_and_reading(self, received: Received) -> None:
        run("umount", received.fs.path)
        run("mount", "-o", "loop,strictatime", received.fs.image, received.fs.path)
        for path in (received.path, received.path / "directory"):
            os.listdir(path)
        (received.path / "big").read_bytes()
        commit(received.fs)

        assert not is_changed(received.path)

    def test_is_false_after_a_balance(self, received: Received) -> None:
        run("btrfs", "balance", "start", "--full-balance", received.fs.path)

        assert not is_changed(received.path)

    @pytest.mark.parametrize("change", CHANGES)
    def test_is_true_after_a_change(self, received: Received, change: str) -> None:
        before = subvolume_at(received.path)
        flip(received.path, readonly=False)
        wait_for_a_tick()
        CHANGES[change](received.path)
        flip(received.path, readonly=True)
        commit(received.fs)

        assert subvolume_at(received.path).received_uuid == before.received_uuid
        assert is_changed(received.path)

    def test_is_true_of_a_snapshot_of_the_changed_one(self, received: Received) -> None:
        before = subvolume_at(received.path)
        flip(received.path, readonly=False)
        wait_for_a_tick()
        overwrite_one_byte(received.path / "big")
        copies = [received.fs.path / "copy", received.fs.path / "copy of the copy"]
        snapshot_read_only(received.path, copies[0])
        snapshot_read_only(copies[0], copies[1])

        for copy in copies:
            assert subvolume_at(copy).received_uuid == before.received_uuid
            assert is_changed(copy)

    def test_is_false_if_nothing_was_changed_while_it_was_writable(
        self, received: Received
    ) -> None:
        flip(received.path, readonly=False)
        flip(received.path, readonly=True)

        assert not is_changed(received.path)

    def test_is_false_of_what_was_deleted_meanwhile(self, received: Received) -> None:
        snapshot_read_only(received.path, received.fs.path / "copy")
        facts = subvolume_at(received.fs.path / "copy")
        run("btrfs", "--quiet", "subvolume", "delete", received.fs.path / "copy")

        with opened(received.fs.path) as fd:
            assert not changed_since_received(fd, facts)
