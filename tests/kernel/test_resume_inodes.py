"""Numbers of inodes are used again in a copy: what was put off for one must not reach another."""

from __future__ import annotations

import os
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import UnavailableError
from buttersink.model import Diff, StreamOptions
from buttersink.receiving import Pace
from buttersink.stores.btrfs import BtrfsStore
from buttersink.stream.format import Command
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run
from support.stream_samples import split
from support.streams import captured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.loopfs import LoopFs

OPTIONS = StreamOptions(version=2)
_NUMBER_AT = 4
"""Where the number of a command is in its bytes."""


@pytest.fixture
def thawed(fs_a: LoopFs, fs_b: LoopFs) -> Iterator[None]:
    """Make files changeable again, so that the directories can be removed."""
    yield
    for fs in (fs_a, fs_b):
        for path in fs.path.glob("*/z"):
            run("chattr", "-i", path)


@pytest.mark.usefixtures("thawed")
@pytest.mark.parametrize(
    "make",
    [lambda path: path.write_bytes(b"new"), os.mkfifo, lambda path: path.symlink_to("x")],
    ids=["file", "fifo", "symlink"],
)
def test_what_takes_the_place_of_an_immutable_file_is_not_immutable(
    fs_a: LoopFs, fs_b: LoopFs, make: Callable[[Path], None]
) -> None:
    live, snaps = fs_a.path / "live", fs_a.path / "snaps"
    create_subvolume(live)
    snaps.mkdir()
    (live / "a").write_bytes(b"a")
    (live / "z").write_bytes(b"z")
    snapshot_read_only(live, snaps / "0")
    run("chattr", "+i", live / "z")
    snapshot_read_only(live, snaps / "1")
    run("chattr", "-i", live / "z")
    (live / "z").unlink()
    make(live / "new")
    snapshot_read_only(live, snaps / "2")
    (fs_b.path / "backup").mkdir()
    with (
        closing(BtrfsStore(f"{snaps}/")) as source,
        closing(BtrfsStore(f"{fs_b.path}/backup/", pace=Pace(nbytes=1, seconds=0))) as sink,
    ):
        uuids = {s.path: s.uuid for s in source.inventory().snapshots}
        zero, one = Diff(uuids["0"]), Diff(uuids["1"], uuids["0"])
        for diff, path in ((zero, "0"), (one, "1")):
            with sink.receive(diff, path, OPTIONS) as writer:
                writer.write(memoryview(captured(source, diff, OPTIONS)))
        diff = Diff(uuids["2"], uuids["1"])
        stream = captured(source, diff, OPTIONS)
        cut = after_unlink(stream)
        with pytest.raises(UnavailableError), sink.receive(diff, "2", OPTIONS) as writer:  # noqa: PT012 - the block is what is tested
            for start in range(0, cut, 40):
                writer.write(memoryview(stream)[start : min(start + 40, cut)])
                time.sleep(0.01)  # each is kept on its own
            raise UnavailableError("gone")
        with sink.receive(diff, "2", OPTIONS) as writer:
            begun_at = writer.resume.offset if writer.resume else 0
            writer.write(memoryview(stream)[begun_at:])
    assert begun_at
    received = fs_b.path / "backup" / "2" / "new"
    assert os.path.lexists(received)
    if received.is_file() and not received.is_symlink():
        assert "i" not in run("lsattr", "-d", received).split()[0]


def after_unlink(stream: bytes) -> int:
    """Return where the first UNLINK of a stream ends."""
    position = 17
    for command in split(stream):
        position += len(command)
        if command[_NUMBER_AT] == Command.UNLINK:
            return position
    raise AssertionError("no file is removed")
