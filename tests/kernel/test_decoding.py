"""What a kernel sends is decoded to what `btrfs receive --dump` lists."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from buttersink.stream.format import HEADER_SIZE
from buttersink.stream.guard import Expectation, StreamGuard
from support.decoding import decoded
from support.loopfs import run
from support.stream_samples import feed, parse, split

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from conftest import MakeFs
    from support.recorded_calls import Call

pytestmark = pytest.mark.kernel

_WORD = re.compile(r"(?:\\.|\S)+")
"""A word of a listing, in which a space that belongs to a name has a backslash before it."""


def fill(top: Path) -> None:
    """Make a bit of everything."""
    (top / "file").write_bytes(b"hello\n" * 30_000)
    (top / "small").write_bytes(b"abc")
    (top / "random").write_bytes(os.urandom(300_000))
    (top / "sub dir").mkdir()
    (top / "emptied").mkdir()
    (top / "link").symlink_to("../to/no where")
    (top / "sub dir" / "hard").hardlink_to(top / "file")
    run("cp", "--reflink=always", top / "file", top / "copy")
    os.mkfifo(top / "pipe")
    os.mknod(top / "null", stat.S_IFCHR | 0o620, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(top / "socket"))
    os.setxattr(top / "small", "user.one", b"value")
    (top / "small").chmod(0o4755)
    os.chown(top / "random", 1000, 100)
    os.utime(top / "small", ns=(-5_000_000_003, 1_000_000_000_000_000_007))
    with open(os.fsencode(top) + b"/n\xff\n\\a", "wb"):
        pass


def change(top: Path) -> None:
    """Change much of it."""
    (top / "pipe").unlink()
    (top / "emptied").rmdir()
    (top / "file").rename(top / "renamed")
    os.truncate(top / "random", 1000)
    os.removexattr(top / "small", "user.one")
    run("cp", "--reflink=always", top / "copy", top / "sub dir" / "again")
    with (top / "random").open("r+b") as file:
        file.seek(500_000)
        file.write(b"far")


@pytest.mark.parametrize(
    "options", [["--proto", "1"], ["--proto", "2"], ["--proto", "2", "--compressed-data"]]
)
def test_a_kernels_streams_are_decoded_as_btrfs_receive_decodes_them(
    make_fs: MakeFs, options: list[str]
) -> None:
    fs = make_fs(size="500M", mount_options="compress=zstd")
    live, one, two = (fs.path / name for name in ("live", "one", "two"))
    run("btrfs", "subvolume", "create", live)
    fill(live)
    run("btrfs", "subvolume", "snapshot", "-r", live, one)
    change(live)
    run("btrfs", "subvolume", "snapshot", "-r", live, two)
    for made, parent in ((one, ()), (two, ("-p", one))):
        stream = subprocess.run(
            ("btrfs", "send", "-q", *options, *parent, made), check=True, capture_output=True
        ).stdout
        expectation = named_in(stream)
        for cuts in ((), range(0, len(stream), 65_521)):
            decoder, calls = decoded(stream, expectation, cuts)
            assert listed(calls) == dumped(stream, made.name)
            assert decoder.ended
            assert decoder.nbytes == len(stream)
        guard = StreamGuard(expectation)
        feed(guard, [stream])
        assert decoder.plain_bytes == guard.plain_bytes
        compressed = any(call[0] == "encoded_write" for call in calls)
        assert compressed == ("--compressed-data" in options and made == one)


def named_in(stream: bytes) -> Expectation:
    """Return the expectation of the stream's own diff."""
    version = stream[HEADER_SIZE - 4]
    _, attributes = parse(split(stream)[0], version)
    named = {name.name: value for name, value in attributes.items()}
    parent = named.get("CLONE_UUID")
    return Expectation(
        to=frozenset({UUID(bytes=named["UUID"])}),
        parents=None if parent is None else frozenset({UUID(bytes=parent)}),
        max_version=version,
    )


def dumped(stream: bytes, top: str) -> list[list[str]]:
    """Return what btrfs-progs lists: the command, its path, and what else there is."""
    listing = subprocess.run(
        ["btrfs", "receive", "--dump"],
        input=stream,
        check=True,
        capture_output=True,
        env={**os.environ, "TZ": "UTC"},
    ).stdout.decode()
    _, *lines = listing.replace(f"./{top}/", "/").replace(", ", " ").splitlines()
    return [
        [word for word in _WORD.findall(line) if not word.startswith("ctime=")] for line in lines
    ]


def listed(calls: list[Call]) -> list[list[str]]:
    """Return what btrfs-progs would list of these calls (cmds/receive-dump.c)."""
    return [
        _WORD.findall(f"{name} /{_escaped(path)} {_DETAILS[str(name)](*details)}")
        for name, path, *details in calls
    ]


def _escaped(name: object) -> str:
    """Return a name as btrfs-progs shows it (common/string-utils.c)."""
    assert isinstance(name, bytes)
    special = {ord(" "): "\\ ", ord("\n"): "\\n", ord("\\"): "\\\\"}
    plain = range(0x21, 0x7F)
    return "".join(
        special.get(byte) or (chr(byte) if byte in plain else f"\\{byte:o}") for byte in name
    )


def _time(nanoseconds: int) -> str:
    seconds = datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC)
    return seconds.strftime("%Y-%m-%dT%H:%M:%S%z")


def _nothing() -> str:
    return ""


_DETAILS: Mapping[str, Callable[..., str]] = {
    "mkfile": _nothing,
    "mkdir": _nothing,
    "mkfifo": _nothing,
    "mksock": _nothing,
    "unlink": _nothing,
    "rmdir": _nothing,
    "mknod": lambda mode, rdev: f"mode={mode:o} dev={rdev:#x}",
    "symlink": lambda target: f"dest={_escaped(target)}",
    "rename": lambda to: f"dest=/{_escaped(to)}",
    "link": lambda existing: f"dest={_escaped(existing)}",
    "set_xattr": lambda name, data: f"name={_escaped(name)} data={_escaped(data)} len={len(data)}",
    "remove_xattr": lambda name: f"name={_escaped(name)}",
    "write": lambda offset, data: f"offset={offset} len={len(data)}",
    "clone": lambda offset, length, _, path, start: (
        f"offset={offset} len={length} from=/{_escaped(path)} clone_offset={start}"
    ),
    "truncate": lambda size: f"size={size}",
    "chmod": lambda mode: f"mode={mode:o}",
    "chown": lambda uid, gid: f"gid={gid} uid={uid}",
    "utimes": lambda atime, mtime: f"atime={_time(atime)} mtime={_time(mtime)}",
    "fallocate": lambda mode, offset, size: f"mode={mode} offset={offset} len={size}",
    "encoded_write": lambda offset, data, size, length, start, compression, encryption: (
        f"offset={offset} len={len(data)} unencoded_file_len={size} unencoded_len={length}"
        f" unencoded_offset={start} compression={compression} encryption={encryption}"
    ),
}
