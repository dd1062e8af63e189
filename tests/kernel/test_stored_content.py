"""How streams are stored, and that all of it comes back: compression, versions, names."""

from __future__ import annotations

import json
import os
import subprocess
from base64 import b64encode
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from support.command import buttersink, directory, sync
from support.history import History
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.stored_ends import (
    DirectoryEnd,
    StoredEnd,
    assert_restores,
    in_a_directory,
    needed_program,
    snapshots_below,
    streams,
)
from support.tree import assert_same_tree

if TYPE_CHECKING:
    from conftest import MakeFs
    from support.loopfs import LoopFs

MIB = 1 << 20
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
STREAM_MAGIC = b"btrfs-stream\0"


@pytest.fixture
def zstd_fs(make_fs: MakeFs) -> LoopFs:
    """Return a compressed file system with a MiB that compresses a bit, and then no more."""
    fs = make_fs(mount_options="compress-force=zstd", label="zstd")
    create_subvolume(fs.path / "live")
    (fs.path / "live" / "text").write_bytes(b64encode(Random(1).randbytes(MIB)))
    (fs.path / "snaps").mkdir()
    for name in "12":
        (fs.path / "live" / name).write_bytes(b64encode(Random(name).randbytes(100_000)))
        snapshot_read_only(fs.path / "live", fs.path / "snaps" / name)
    return fs


def receipt(end: StoredEnd, key: str) -> dict[str, Any]:
    """Return what is noted about a stream."""
    found: dict[str, Any] = json.loads(end.read(f"{key}.json"))
    return found


def version(stream: bytes) -> int:
    """Return the version of a send stream (fs/btrfs/send.h, btrfs_stream_header)."""
    assert stream.startswith(STREAM_MAGIC)
    return int.from_bytes(stream[len(STREAM_MAGIC) : len(STREAM_MAGIC) + 4], "little")


def plain(content: bytes) -> bytes:
    zstd = needed_program("zstd")
    return subprocess.run([zstd, "-dc"], input=content, check=True, capture_output=True).stdout


class TestCompression:
    @pytest.mark.parametrize(
        ("options", "compressed", "stream_version", "level"),
        [
            ([], True, 1, 3),
            (["--compress", "zstd:1"], True, 1, 1),
            (["--compress", "none"], False, 1, None),
            (["--proto", "2"], False, 2, None),
            (["--proto", "2", "--compress", "none"], False, 2, None),
        ],
        ids=["default", "fast", "none", "version 2", "version 2, none"],
    )
    def test_is_as_it_was_asked_for(
        self,
        directory_end: DirectoryEnd,
        zstd_fs: LoopFs,
        fs_b: LoopFs,
        options: list[str],
        *,
        compressed: bool,
        stream_version: int,
        level: int | None,
    ) -> None:
        done = sync(zstd_fs.path / "snaps", directory_end.url, *options)

        assert done.the("planned")["stream"]["version"] == stream_version
        for key in streams(directory_end):
            content = directory_end.read(key)
            assert key.endswith(".zst") == compressed == content.startswith(ZSTD_MAGIC)
            assert version(plain(content) if compressed else content) == stream_version
            noted = receipt(directory_end, key)
            assert noted["stream"]["version"] == stream_version
            assert noted["object"].get("level") == level
            assert noted["object"]["bytes"] == len(content)
        originals = {name: zstd_fs.path / "snaps" / name for name in "12"}
        assert_restores(directory_end, originals, fs_b.path / "restored")

    def test_of_the_source_is_kept_in_streams_of_version_2(
        self, directory_end: DirectoryEnd, zstd_fs: LoopFs, fs_b: LoopFs
    ) -> None:
        sync(zstd_fs.path / "snaps", directory_end.url, "--proto", "2")

        stored = sum(len(directory_end.read(key)) for key in streams(directory_end))
        on_disk = sum(os.stat(path).st_size for path in (zstd_fs.path / "live").iterdir())
        assert stored < 0.85 * on_disk

        (fs_b.path / "other").mkdir()
        other = DirectoryEnd(fs_b.path / "other")
        sync(directory_end.url, other.url)
        assert [other.read(k) for k in streams(other)] == [
            directory_end.read(k) for k in streams(directory_end)
        ]

    def test_may_change_between_runs(
        self, directory_end: DirectoryEnd, zstd_fs: LoopFs, fs_b: LoopFs
    ) -> None:
        snaps = zstd_fs.path / "snaps"
        originals = {"1": snaps / "1", "2": snaps / "2"}
        every = [["--compress", "none"], ["--proto", "2"], ["--compress", "zstd:19"]]
        for number, options in enumerate(every, 3):
            sync(snaps, directory_end.url, *options)
            name = f"{number}"
            (zstd_fs.path / "live" / name).write_bytes(b"more" * 1000)
            originals[name] = snaps / name
            snapshot_read_only(zstd_fs.path / "live", originals[name])
        sync(snaps, directory_end.url)

        endings = {key.endswith(".zst") for key in streams(directory_end)}
        assert endings == {True, False}
        assert_restores(directory_end, originals, fs_b.path / "restored")


NAMES = {
    "space": b" two  words ",
    "quotes": b"\"'`$(touch x)",
    "newline": b"a\nb",
    "not UTF-8": b"caf\xe9 \xff\xfe",
    "leading dash": b"-rf",
    "longest": b"x" * 255,
    "longest in UTF-8": "é".encode() * 127,
    "longest not in UTF-8": b"\xe9" * 255,
    "control characters": b"\x01\x1b[31m\x7f",
    "percent": b"100%41%2F",
    "backslash": b"\\040",
    "plus and question": b"a+b?c=d&e#f",
    "like a key": b"0e9b1c6a-8d4e-4b3a-9d53-3f1f0a6f2b11_None",
    "like a marker": b"x.hidden",
    "like a receipt": b"x.zst.json",
    "like old sizes": b"x.bs",
    "dots": b"...",
    "wide": "雪 🧈\u202e".encode(),
    "decomposed": "A\u030a".encode(),
    "composed": "Å".encode(),
}


class TestNames:
    def test_may_be_any_bytes_and_come_back(
        self, stored_end: StoredEnd, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        top = os.fsencode(fs_a.path / "snaps")
        history = History(7, fs_a.path / "live")
        inside = b"in caf\xe9 \n%"
        os.makedirs(os.path.join(top, inside))
        paths = [os.fsdecode(name) for name in NAMES.values()]
        paths += [os.fsdecode(os.path.join(inside, name)) for name in list(NAMES.values())[:5]]
        for path in paths:
            history.step(3)
            history.snapshot(fs_a.path / "snaps" / path)

        sync(fs_a.path / "snaps", stored_end.url)
        again = sync(fs_a.path / "snaps", stored_end.url)

        assert again.the("finished")["transferred"] == 0
        listed = buttersink("--json", stored_end.url).the("listed")
        assert {s["path"] for s in listed["snapshots"]} == set(paths)
        assert (listed["foreign"], listed["problems"]) == (0, [])
        sync(stored_end.url, fs_b.path)
        assert snapshots_below(fs_b.path) == sorted(paths)
        for path in paths:
            assert_same_tree(fs_a.path / "snaps" / path, fs_b.path / path)

    @in_a_directory
    def test_of_one_snapshot_can_be_given_as_they_are(
        self, stored_end: StoredEnd, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        name = os.fsdecode(b'caf\xe9 \n"%41')
        create_subvolume(fs_a.path / "live")
        snapshot_read_only(fs_a.path / "live", fs_a.path / name)
        sync(fs_a.path, stored_end.url)

        done = buttersink(stored_end.url + name, directory(fs_b.path))

        assert done.status == 0, done.stderr
        assert os.listdir(fs_b.path) == [name]

    @in_a_directory
    def test_are_shown_on_one_line_with_nothing_that_a_terminal_obeys(
        self, stored_end: StoredEnd, fs_a: LoopFs
    ) -> None:
        create_subvolume(fs_a.path / "live")
        name = os.fsdecode(b"\x1b[31m\ncaf\xe9")
        snapshot_read_only(fs_a.path / "live", fs_a.path / name)

        for arguments in ((directory(fs_a.path), stored_end.url), (stored_end.url,)):
            done = buttersink(*arguments)
            assert done.status == 0, done.stderr
            shown = (done.stdout + done.stderr).splitlines()
            assert all(line.isprintable() for line in shown)

    @pytest.mark.parametrize(
        ("path", "words"), [("trash/1", "trash/"), (".buttersink-x/1", ".buttersink-")]
    )
    def test_that_have_a_meaning_of_their_own_are_refused(
        self, directory_end: DirectoryEnd, fs_a: LoopFs, path: str, words: str
    ) -> None:
        create_subvolume(fs_a.path / "live")
        (fs_a.path / path).parent.mkdir()
        snapshot_read_only(fs_a.path / "live", fs_a.path / path)
        snapshot_read_only(fs_a.path / "live", fs_a.path / "good")

        done = buttersink("--json", directory(fs_a.path), directory_end.url)

        assert done.status == 3
        assert words in done.stderr
        assert "Traceback" not in done.stderr
        assert len(streams(directory_end)) == 1
