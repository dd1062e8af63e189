"""What an interrupted receive has left is used if it is surely whole, and else as if not there."""

from __future__ import annotations

import json
import os
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from buttersink.errors import TransferError
from support.demanding import NAMES, Amount, Whole, demanding_snapshots
from support.loopfs import run as run_program
from support.resuming import destination, kept_bytes, names, partial, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from buttersink.store import Writer
    from support.loopfs import LoopFs

MIB = 1 << 20
FIRST, *_ = NAMES


@pytest.fixture
def snaps(fs_a: LoopFs) -> Path:
    return demanding_snapshots(fs_a, Amount(large=8 * MIB, small=50))


@pytest.fixture
def backup(fs_b: LoopFs, snaps: Path) -> Path:
    """Return a destination at which the first snapshot has come in part."""
    path = fs_b.path / "backup"
    path.mkdir()
    finished, _, _ = run(snaps, path, 3 * MIB, nbytes=MIB)
    assert finished.failed
    assert kept_bytes(path) > 2 * MIB
    return path


def record(backup: Path) -> Path:
    """Return the file that tells what is kept."""
    (found,) = backup.glob(".buttersink-*.part/mark-*.json")
    return found


def mark(backup: Path) -> Path:
    """Return the snapshot of what is kept."""
    return record(backup).with_suffix("")


def altered(**fields: Any) -> Callable[[Path], None]:
    """Return what changes fields of the record."""

    def alter(backup: Path) -> None:
        path = record(backup)
        path.write_text(json.dumps(json.loads(path.read_bytes()) | fields))

    return alter


def torn(backup: Path) -> None:
    data = record(backup).read_bytes()
    record(backup).write_bytes(data[: len(data) // 2])


def emptied(backup: Path) -> None:
    record(backup).write_bytes(b"")


def garbage(backup: Path) -> None:
    record(backup).write_bytes(bytes(range(256)) * 4)


def gone(backup: Path) -> None:
    record(backup).unlink()


def a_link(backup: Path) -> None:
    path = record(backup)
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def without_its_snapshot(backup: Path) -> None:
    """As after a crash between the two."""
    run_program("btrfs", "--quiet", "subvolume", "delete", mark(backup))


def with_a_directory_for_its_snapshot(backup: Path) -> None:
    path = mark(backup)
    run_program("btrfs", "--quiet", "subvolume", "delete", path)
    path.mkdir()


def with_a_writable_snapshot(backup: Path) -> None:
    run_program("btrfs", "property", "set", mark(backup), "ro", "false")


def of_another_name(backup: Path) -> None:
    path, snapshot = record(backup), mark(backup)
    snapshot.rename(snapshot.with_name("mark-77"))
    path.rename(path.with_name("mark-77.json"))


def of_somebody_else(backup: Path) -> None:
    os.chown(record(backup).parent, 1, -1)


def open_to_others(backup: Path) -> None:
    record(backup).parent.chmod(0o777)


UNUSABLE: list[Callable[[Path], None]] = [
    of_somebody_else,
    open_to_others,
    torn,
    emptied,
    garbage,
    gone,
    a_link,
    without_its_snapshot,
    with_a_directory_for_its_snapshot,
    with_a_writable_snapshot,
    of_another_name,
]


@pytest.mark.parametrize("spoil", UNUSABLE, ids=lambda spoil: spoil.__name__)
def test_a_checkpoint_that_is_not_whole_is_not_there(
    snaps: Path, backup: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(backup)
    assert_begins_anew(snaps, backup)


@pytest.mark.parametrize(
    "fields",
    [
        {"format": 2},
        {"format": None},
        {"to": "nobody"},
        {"spans": []},
        {"spans": [[12345, "AAAA"]]},
        {"version": "2"},
        {"pending": None},
    ],
    ids=str,
)
def test_a_record_that_says_something_else_is_not_there(
    snaps: Path, backup: Path, fields: dict[str, Any]
) -> None:
    altered(**fields)(backup)
    assert_begins_anew(snaps, backup)


def test_a_record_of_another_snapshot_is_not_gone_on_with(snaps: Path, backup: Path) -> None:
    altered(to="00000000-0000-0000-0000-000000000001")(backup)
    assert_begins_anew(snaps, backup)


def test_a_record_of_another_kind_of_stream_is_not_gone_on_with(snaps: Path, backup: Path) -> None:
    altered(options=[1, False])(backup)
    assert partial(backup).checkpoint is not None
    assert_begins_anew(snaps, backup, listed=True)


@pytest.mark.parametrize("fields", [{"pending": {}}, {"pending": {"xattrs": 1}}], ids=str)
def test_one_that_turns_out_to_be_of_no_use_is_given_up(
    snaps: Path, backup: Path, fields: dict[str, Any]
) -> None:
    """Else no run would ever come to its end."""
    altered(**fields)(backup)
    assert_begins_anew(snaps, backup, listed=True)


def test_an_interrupt_is_one_also_after_that(backup: Path) -> None:
    """Else a run would begin anew that somebody has stopped."""
    altered(pending={})(backup)
    kept = partial(backup).checkpoint
    assert kept is not None
    with (
        closing(destination(backup)) as sink,
        pytest.raises(KeyboardInterrupt),
        sink.receive(kept.diff, FIRST, kept.options) as writer,
    ):
        interrupt_once_it_fails(writer)


def interrupt_once_it_fails(writer: Writer) -> NoReturn:
    with suppress(TransferError):
        while True:
            writer.write(memoryview(bytes(1 << 16)))
    raise KeyboardInterrupt


def assert_begins_anew(snaps: Path, backup: Path, *, listed: bool = False) -> None:
    whole = Whole(snaps)
    assert listed or partial(backup).checkpoint is None
    finished, _, _ = run(snaps, backup)
    assert (finished.failed, finished.resumed_bytes) == (0, 0)
    for name in NAMES:
        whole.check(name, backup / name, flags=True)
    assert names(backup) == set(NAMES)


def test_of_two_checkpoints_the_later_one_counts(snaps: Path, backup: Path) -> None:
    """As after a crash before the earlier one was removed."""
    kept = kept_bytes(backup)
    saved = backup / "saved"
    run_program("btrfs", "-q", "subvolume", "snapshot", "-r", mark(backup), saved)
    data, name = record(backup).read_bytes(), mark(backup).name
    finished, _, _ = run(snaps, backup, 2 * MIB, nbytes=MIB)
    assert finished.failed
    later = kept_bytes(backup)
    assert later > kept
    work = mark(backup).parent
    run_program("btrfs", "-q", "subvolume", "snapshot", "-r", saved, work / name)
    (work / f"{name}.json").write_bytes(data)
    run_program("btrfs", "-q", "subvolume", "delete", saved)

    assert kept_bytes(backup) == later
    finished, _, _ = run(snaps, backup)

    assert (finished.failed, finished.resumed_bytes) == (0, later)
    assert names(backup) == set(NAMES)


def test_what_is_hidden_by_a_mount_keeps_nobody_from_the_rest(snaps: Path, fs_b: LoopFs) -> None:
    top = fs_b.path / "top"
    (top / "below").mkdir(parents=True)
    finished, _, _ = run(snaps, top / "below", 3 * MIB)
    assert finished.failed
    run_program("mount", "-t", "tmpfs", "none", top / "below")
    try:
        assert not os.listdir(top / "below")
        assert partial(top).checkpoint is None
        finished, _, _ = run(snaps, top)
    finally:
        run_program("umount", top / "below")
    assert (finished.failed, finished.transferred) == (0, len(NAMES))


def test_one_stays_while_something_is_in_the_way_of_its_snapshot(snaps: Path, backup: Path) -> None:
    before = kept_bytes(backup)
    (backup / FIRST).touch()

    finished, _, _ = run(snaps, backup)

    assert finished.failed
    assert kept_bytes(backup) == before
