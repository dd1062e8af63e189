"""Sizes that old versions noted beside snapshots: read where nothing is measured."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from buttersink.model import Certainty, Diff, Size, Snapshot
from buttersink.settings import Settings
from buttersink.stores.directory import DirectoryShelf
from buttersink.stores.old_sizes import read_recorded_sizes
from buttersink.stores.streams import StreamStore
from buttersink.storing import Storing
from contract.memory_disk import MemoryDisk
from contract.memory_store import MemoryStore
from support.sync_ends import run, source_disk

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

ONE, TWO = UUID(int=1), UUID(int=2)
NOTED = {Diff(TWO, ONE): Size(4321, Certainty.ESTIMATE)}


def snapshot(uuid: UUID, path: str) -> Snapshot:
    return Snapshot(uuid=uuid, paths=(path,), created=datetime(2020, 2, 20, tzinfo=UTC))


def test_files_beside_snapshots_are_read_and_what_is_none_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "12").mkdir()
    (tmp_path / "12" / "snapshot.bs").write_text(f"{TWO}\t{ONE}\t4321\n")
    (tmp_path / "garbage.bs").write_bytes(b"\xff\0 no sizes")
    (tmp_path / "directory.bs").mkdir()
    (tmp_path / "link.bs").symlink_to("12/snapshot.bs")
    os.mkfifo(tmp_path / "pipe.bs")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        paths = ["12/snapshot", "garbage", "directory", "link", "pipe", "missing", "12/none/of/it"]
        before = os.listdir("/proc/self/fd")
        assert read_recorded_sizes(fd, paths) == NOTED
        assert len(os.listdir("/proc/self/fd")) == len(before)
    finally:
        os.close(fd)


def test_objects_beside_streams_are_read(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "2.bs").write_text(f"{TWO} {ONE} 4321")
    store = StreamStore(DirectoryShelf(str(tmp_path)), "home/", name="home", storing=Storing())
    try:
        wanted = [snapshot(TWO, "2"), snapshot(ONE, "1")]
        assert store.recorded_sizes(wanted) == NOTED
        assert store.recorded_sizes([snapshot(ONE, "1")]) == {}
    finally:
        store.close()


class NotingStore(MemoryStore):
    """Beside whose snapshots an old version has noted the size of each diff."""

    def recorded_sizes(self, snapshots: Iterable[Snapshot]) -> Mapping[Diff, Size]:
        uuids = [s.uuid for s in snapshots]
        return {
            Diff(to, parent): Size(77, Certainty.ESTIMATE)
            for to in uuids
            for parent in (None, *uuids)
            if to != parent
        }


def test_they_stand_in_for_guesses_and_never_for_measuring() -> None:
    disk = source_disk(2)
    for estimate in (True, False):
        settings = Settings(estimate=estimate, dry_run=True)
        sink = MemoryStore(MemoryDisk("destination"), "backup")
        _, told = run(NotingStore(disk, "snaps"), sink, settings)
        planned = {t.size for event in told if hasattr(event, "plan") for t in event.plan.transfers}
        assert (planned == {Size(77, Certainty.ESTIMATE)}) == estimate
