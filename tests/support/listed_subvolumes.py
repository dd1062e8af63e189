"""The program btrfslist, run as a user runs it, and what it is to list."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import termios
from typing import TYPE_CHECKING, Any

from support.kernel_calls import create_subvolume, snapshot_read_only

if TYPE_CHECKING:
    from pathlib import Path

    from support.loopfs import LoopFs

PROGRAM = (sys.executable, "-m", "buttersink.tools.btrfslist")
AWKWARD = b"caf\xe9 \x1b[31m\n[red]:key: = -"

Fields = dict[str, Any]


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False)


def output(*arguments: str | Path) -> list[str]:
    done = call(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\n")
    return done.stdout.splitlines()


def failure(*arguments: str | Path) -> tuple[int, str]:
    """Return the exit status and the message of a run that must fail, in one line."""
    done = call(*arguments)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("btrfslist: ")
    return done.returncode, line.removeprefix("btrfslist: ")


def as_json(path: Path) -> tuple[Fields, dict[str, Fields]]:
    """Return the line of the file system, and the subvolumes by path."""
    header, *rows = map(json.loads, output("--json", path))
    return header, {row["path"]: row for row in rows}


def on_terminal(*arguments: str | Path, columns: int = 80) -> list[str]:
    """Return the lines that a terminal gets, without their styles."""
    main, side = pty.openpty()
    termios.tcsetwinsize(side, (24, columns))
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    with subprocess.Popen([*PROGRAM, *arguments], stdout=side, env=environment) as process:
        os.close(side)
        found = b""
        while piece := _read(main):
            found += piece
    os.close(main)
    assert process.returncode == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", found.decode("utf-8"))
    return text.replace("\r\n", "\n").rstrip("\n").split("\n")


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 16)
    except OSError:  # how a terminal ends once nobody has its other side
        return b""


def make_subvolumes(fs_a: LoopFs) -> LoopFs:
    """Give a file system a writable subvolume, a snapshot, and one of an awkward name."""
    create_subvolume(fs_a.path / "live")
    (fs_a.path / "live" / "data").write_bytes(os.urandom(1 << 20))
    (fs_a.path / "snaps").mkdir()
    snapshot_read_only(fs_a.path / "live", fs_a.path / "snaps" / "1")
    snapshot_read_only(fs_a.path / "live", fs_a.path / os.fsdecode(AWKWARD))
    return fs_a


def receive_copy(fs: LoopFs, fs_b: LoopFs) -> Path:
    """Return a received copy of snaps/1, on another file system."""
    sent = subprocess.run(
        ["btrfs", "--quiet", "send", fs.path / "snaps" / "1"], stdout=subprocess.PIPE, check=True
    )
    subprocess.run(["btrfs", "--quiet", "receive", fs_b.path], input=sent.stdout, check=True)
    return fs_b.path / "1"
