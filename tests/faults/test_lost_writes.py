"""A disk that loses what is written to it, after it has taken it: no snapshot comes of that."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from buttersink.btrfs.libc import libc
from buttersink.errors import TransferError
from buttersink.model import Diff, Receiver, StreamOptions
from buttersink.receiving import Pace
from buttersink.stores.btrfs import BtrfsStore
from buttersink.transfer import pump
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run
from support.resuming import LONGEST_COMMAND

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.loopfs import LoopFs

MIB = 1 << 20
OPTIONS = StreamOptions(version=2)


@pytest.fixture
def losing(scratch: Path) -> Iterator[Path]:
    """Return a file system whose second disk, on which its data are, has no room for most of it."""
    room, top = scratch / "room", scratch / "losing"
    room.mkdir()
    top.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=40M", "none", room)
    images = (scratch / "first", room / "second")
    devices = []
    try:
        for image, size in zip(images, ("120M", "600M"), strict=True):
            run("truncate", "--size", size, image)
            devices.append(run("losetup", "--find", "--show", image).strip())
        run("mkfs.btrfs", "-q", "-f", "-m", "single", "-d", "single", devices[0])
        run("mount", devices[0], top)
        try:
            run("btrfs", "device", "add", "-K", "-f", devices[1], top)
            yield top
        finally:
            run("umount", top)
    finally:
        for device in devices:
            run("losetup", "--detach", device)
        run("umount", "--lazy", room)  # the device lets go of its file a moment later


@pytest.mark.parametrize("nbytes", [16 * MIB, 256 * MIB], ids=["with checkpoints", "without"])
@pytest.mark.parametrize("receiver", list(Receiver), ids=lambda receiver: receiver.value)
def test_what_was_lost_on_the_way_to_the_disk_is_no_snapshot(
    fs_a: LoopFs, losing: Path, receiver: Receiver, nbytes: int
) -> None:
    assert_nothing_comes_of_it(fs_a, losing, receiver, nbytes, error=TransferError)


def test_an_interrupt_hides_nothing_that_was_lost(
    fs_a: LoopFs, losing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells a descriptor once; when it does, somebody may be pressing Ctrl-C."""
    sync, interrupts = libc.syncfs, [KeyboardInterrupt]

    def syncfs(fd: int) -> int:
        result: int = sync(fd)
        if result < 0 and interrupts:
            raise interrupts.pop()
        return result

    monkeypatch.setattr(libc, "syncfs", syncfs)
    assert_nothing_comes_of_it(fs_a, losing, Receiver.OWN, 16 * MIB, error=KeyboardInterrupt)
    assert not interrupts


def assert_nothing_comes_of_it(
    fs_a: LoopFs, losing: Path, receiver: Receiver, nbytes: int, *, error: type[BaseException]
) -> None:
    """Transfer more than there is room for; only a part that is really there may be kept."""
    create_subvolume(fs_a.path / "live")
    data = os.urandom(90 * MIB)
    (fs_a.path / "live" / "large").write_bytes(data)
    (fs_a.path / "snaps").mkdir()
    snapshot_read_only(fs_a.path / "live", fs_a.path / "snaps" / "1")
    (losing / "backup").mkdir()
    with (
        closing(BtrfsStore(f"{fs_a.path}/snaps/")) as source,
        closing(
            BtrfsStore(f"{losing}/backup/", receiver=receiver, pace=Pace(nbytes=nbytes))
        ) as sink,
    ):
        (snapshot,) = source.inventory().snapshots
        diff = Diff(snapshot.uuid)
        with (
            pytest.raises(error),
            sink.receive(diff, "1", OPTIONS) as writer,
            source.send(diff, OPTIONS) as reader,
        ):
            pump(reader, writer, progress=lambda _: None)
        inventory = sink.inventory()
    assert inventory.snapshots == ()
    assert not (losing / "backup" / "1").exists()
    for partial in inventory.partials:
        if partial.checkpoint is not None:
            offset = partial.checkpoint.position.offset
            kept = (losing / "backup" / partial.path / f"mark-{offset}" / "large").read_bytes()
            assert data.startswith(kept)
            assert len(kept) > offset - LONGEST_COMMAND
