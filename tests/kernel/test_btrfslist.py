"""The program btrfslist on real file systems: what it lists, and how."""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from support.kernel_calls import snapshot_read_only
from support.listed_subvolumes import (
    AWKWARD,
    PROGRAM,
    as_json,
    make_subvolumes,
    on_terminal,
    output,
    receive_copy,
)
from support.loopfs import run

if TYPE_CHECKING:
    from pathlib import Path

    from support.loopfs import LoopFs

AWKWARD_SHOWN = r"caf\xe9 \x1b[31m\n[red]:key: = -"
SUBVOL_SETFLAGS = 0x4008941A


@pytest.fixture
def fs(fs_a: LoopFs) -> LoopFs:
    return make_subvolumes(fs_a)


@pytest.fixture
def received(fs: LoopFs, fs_b: LoopFs) -> Path:
    return receive_copy(fs, fs_b)


class TestJson:
    def test_lists_every_subvolume_sorted_by_path(self, fs: LoopFs) -> None:
        header, rows = as_json(fs.path)
        blkid = run("blkid", "-p", "-s", "UUID", "-o", "value", fs.image).strip()

        assert header == {"type": "file_system", "fsid": blkid, "subvolumes": 4, "quotas": "off"}
        assert list(map(os.fsencode, rows)) == [b"", AWKWARD, b"live", b"snaps/1"]
        assert [row["readonly"] for row in rows.values()] == [False, True, False, True]
        assert {row["type"] for row in rows.values()} == {"subvolume"}

    def test_tells_a_snapshot_by_its_parent_uuid(self, fs: LoopFs) -> None:
        _, rows = as_json(fs.path)
        live, snapshot = rows["live"], rows["snaps/1"]

        assert snapshot["parent_uuid"] == live["uuid"] == str(UUID(live["uuid"]))
        assert live["parent_uuid"] is None
        assert snapshot["otransid"] >= live["otransid"]
        made = [datetime.fromisoformat(row["otime"]) for row in (live, snapshot)]
        assert made[0] <= made[1]
        assert {moment.utcoffset() for moment in made} == {timedelta(0)}

    def test_tells_what_was_received_and_whether_it_was_changed_since(
        self, fs: LoopFs, received: Path
    ) -> None:
        _, originals = as_json(fs.path)
        _, rows = as_json(received.parent)
        copy, original = rows["1"], originals["snaps/1"]

        assert copy["received_uuid"] == original["uuid"] != copy["uuid"]
        assert copy["stransid"] == original["ctransid"]
        assert copy["changed"] is False
        assert copy["rtransid"] is not None
        assert copy["rtime"] is not None
        lacking = ("received_uuid", "changed", "stransid", "rtransid", "rtime")
        assert {original[name] for name in lacking} == {None}

        set_readonly(received, on=False)
        (received / "new").mkdir()
        set_readonly(received, on=True)
        _, rows = as_json(received.parent)
        assert rows["1"]["changed"] is True
        assert rows["1"]["received_uuid"] == original["uuid"]

    def test_has_sizes_only_while_quotas_know_them(self, fs: LoopFs) -> None:
        sizes = ("referenced_bytes", "exclusive_bytes")
        _, rows = as_json(fs.path)
        assert {row[size] for row in rows.values() for size in sizes} == {None}
        with pytest.raises(RuntimeError, match="quotas not enabled"):  # nor did it enable them
            run("btrfs", "qgroup", "show", fs.path)

        run("btrfs", "quota", "enable", fs.path)
        run("btrfs", "quota", "rescan", "-w", fs.path)
        header, rows = as_json(fs.path)
        assert header["quotas"] == "on"
        (fs.path / os.fsdecode(AWKWARD)).rename(fs.path / "plain")  # what `run` can decode
        shown = run("btrfs", "qgroup", "show", "--raw", "--sync", fs.path).splitlines()
        expected = [line.split()[:3] for line in shown if line.startswith("0/")]
        found = [[f"0/{row['id']}", *(str(row[size]) for size in sizes)] for row in rows.values()]
        assert sorted(found) == sorted(expected)
        assert rows["live"]["referenced_bytes"] > 1 << 20

    def test_is_the_same_from_any_mount(self, fs: LoopFs, scratch: Path) -> None:
        expected = output("--json", fs.path)
        at = fs.mount_again(scratch / "with a space", options="subvol=live")
        bound = fs.mount_again(scratch / "bound", bind=fs.path / "snaps")

        assert output("--json", at) == expected
        assert output("--json", bound) == expected

    def test_is_ascii(self, fs: LoopFs) -> None:
        assert "\n".join(output("--json", fs.path)).isascii()


class TestPlain:
    def test_has_the_fields_of_json_in_the_same_order(self, fs: LoopFs, received: Path) -> None:
        for top in (fs.path, received.parent):
            for line, text in zip(output(top), output("--json", top), strict=True):
                fields = json.loads(text)
                del fields["type"]
                words = {None: "-", True: "yes", False: "no"}
                values = [words.get(v, str(v)) for v in fields.values()]
                if "path" in fields:
                    shown = {"": "/", os.fsdecode(AWKWARD): AWKWARD_SHOWN}
                    values[-1] = shown.get(fields["path"], fields["path"])
                assert line == " ".join(map("=".join, zip(fields, values, strict=True)))

    def test_can_be_grepped_for_snapshots(self, fs: LoopFs) -> None:
        script = f"{' '.join(PROGRAM)} {fs.path} | grep ' readonly=yes ' | sed 's/.* path=//'"
        assert run("sh", "-c", script).splitlines() == [AWKWARD_SHOWN, "snaps/1"]

    def test_is_the_same_twice(self, fs: LoopFs) -> None:
        assert output(fs.path) == output(fs.path)

    def test_never_has_minus_one_for_unknown(self, fs: LoopFs) -> None:
        assert not any("=-1" in line for line in output(fs.path))


class TestTerminal:
    def test_shows_each_subvolume_in_80_columns(self, fs: LoopFs, received: Path) -> None:
        long = fs.path / ("a long name " * 12)
        snapshot_read_only(fs.path / "live", long)
        for top in (fs.path, received.parent):
            header, rows = as_json(top)
            first, headings, *lines = on_terminal(top)
            text = "\n".join(lines)

            assert first == f"btrfs {header['fsid']}: {len(rows)} subvolumes, quotas off"
            assert headings.split() == ["ID", "Subvolume", "State,", "since", "Gen"]
            assert all(len(line) <= 80 for line in lines)
            for row in rows.values():
                for label, name in (
                    ("uuid", "uuid"),
                    ("from", "parent_uuid"),
                    ("recv", "received_uuid"),
                ):
                    assert row[name] is None or f"{label} {row[name]}" in text
            assert sum(bool(re.match(r" *\d+  \S", line)) for line in lines) == len(rows)
        assert "None" not in text

    def test_shows_what_is_read_only_and_what_was_changed(self, received: Path) -> None:
        assert state_of(received.parent, "1") == "read-only"
        assert state_of(received.parent, "/") == "writable"

        set_readonly(received, on=False)
        (received / "new").mkdir()
        set_readonly(received, on=True)
        assert state_of(received.parent, "1") == "read-only, changed"

    def test_shows_sizes_where_quotas_know_them(self, fs: LoopFs) -> None:
        assert not any("exclusive" in line for line in on_terminal(fs.path))

        run("btrfs", "quota", "enable", fs.path)
        run("btrfs", "quota", "rescan", "-w", fs.path)
        _, rows = as_json(fs.path)
        sizes = [line.strip() for line in on_terminal(fs.path) if "exclusive" in line]
        assert rows["snaps/1"]["referenced_bytes"] == (1 << 20) + (16 << 10)
        assert sizes == [
            "size 16.00 KiB, 16.00 KiB exclusive",
            *["size 1.016 MiB, 16.00 KiB exclusive"] * 3,
        ]

    def test_gets_nothing_that_would_steer_it(self, fs: LoopFs) -> None:
        assert any(AWKWARD_SHOWN in line for line in on_terminal(fs.path))
        assert not any("\x1b" in line for line in on_terminal(fs.path))

    def test_can_be_narrow(self, fs: LoopFs) -> None:
        lines = on_terminal(fs.path, columns=60)
        assert all(len(line) <= 60 for line in lines)
        assert sum("read-only" in line for line in lines) == 2


def state_of(top: Path, path: str) -> str:
    """Return the second column of the table for a subvolume."""
    for line in on_terminal(top):
        if found := re.fullmatch(rf" *\d+  {re.escape(path)}  +(\S.*\S)  +\d+", line):
            return found[1]
    raise AssertionError(f"the table has no {path}")


def set_readonly(path: Path, *, on: bool) -> None:
    """Set or clear the flag by the bare ioctl, which leaves received_uuid as it is."""
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, SUBVOL_SETFLAGS, struct.pack("=Q", 2 if on else 0))
    finally:
        os.close(fd)
