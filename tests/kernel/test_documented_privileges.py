"""The server does with the privileges that administrators are told to give it, and needs them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.command import Run, buttersink
from support.far_programs import write_program
from support.loopfs import run
from support.pipe_ssh import pipe_ssh_command
from support.tree import assert_same_tree, describe, differences

if TYPE_CHECKING:
    from support.loopfs import LoopFs

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "server-security.md").read_text(
    encoding="utf-8"
)
(SCRIPT,) = re.findall(r"^```sh\n(#!/bin/sh\n.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
NOBODY = 65534


def documented(mode: str) -> list[str]:
    """Return the capabilities in the row of the table for a mode."""
    (row,) = re.findall(rf"^\| {mode} \| ((?:`|these).*) \|$", PAGE, re.MULTILINE)
    return re.findall(r"`([a-z_]+)`", row)


READING = documented("r")
APPENDING = [*READING, *documented("a, w")]


def make_source(fs: LoopFs) -> Path:
    """Make a directory with two snapshots of what takes privileges to make."""
    live = fs.path / "live"
    run("btrfs", "subvolume", "create", live)
    (live / "private").mkdir()
    (live / "private" / "secret").write_text("secret", encoding="utf-8")
    for path in (live / "private" / "secret", live / "private"):
        os.chown(path, 1234, 1234)
        path.chmod(0o700)
    program = live / "program"
    program.write_bytes(b"\x7fELF")
    os.chown(program, 1234, 5678)
    program.chmod(0o6755)
    capable = live / "capable"
    capable.write_bytes(b"\x7fELF")
    # CAP_NET_RAW, permitted (include/uapi/linux/capability.h, struct vfs_cap_data)
    os.setxattr(capable, "security.capability", struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0))
    os.setxattr(capable, "trusted.note", b"note")
    os.mknod(live / "device", 0o20600, os.makedev(1, 3))
    snaps = fs.path / "snaps"
    snaps.mkdir(mode=0o700)
    run("btrfs", "subvolume", "snapshot", "-r", live, snaps / "1")
    (live / "private" / "secret").write_text("another secret", encoding="utf-8")
    run("btrfs", "subvolume", "snapshot", "-r", live, snaps / "2")
    return snaps


class Server:
    """The documented program, which gives up root, behind a stand-in for ssh.

    Attributes:
        program: Where it is.
    """

    def __init__(
        self, directory: Path, *, without: str | None = None, more: str | None = None
    ) -> None:
        """Write the program down, as it is documented, or with one capability less or more."""
        assert shutil.which("setpriv"), "these tests need setpriv, of util-linux"
        program = shlex.join([sys.executable, "-IB", "-m", "buttersink"])
        text = SCRIPT
        for old, new in (
            ("--reuid=buttersink --regid=buttersink", f"--reuid={NOBODY} --regid={NOBODY}"),
            ("/usr/local/bin/buttersink", program),
            *([(f",+{without}", "")] if without else []),
            *([("caps=$caps", f"caps=$caps,+{more}")] if more else []),
        ):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        self.program = directory / "buttersink-confined"
        write_program(self.program, text)
        self._ssh_command = pipe_ssh_command(directory)

    def run(self, *arguments: str) -> Run:
        return buttersink(
            *("--ssh-command", self._ssh_command, "--remote-command", str(self.program)),
            *arguments,
        )

    def download(self, snaps: Path, destination: Path) -> Run:
        destination.mkdir()
        return self.run(f"ssh://host{snaps}/", f"dir://{destination}/")

    def upload(self, snaps: Path, destination: Path, *options: str) -> Run:
        return self.run(*options, f"{snaps}/", f"ssh://host{destination}/")


def test_the_program_gives_the_privileges_of_the_table() -> None:
    given = [re.findall(r"\+([a-z_]+)", line) for line in SCRIPT.splitlines() if "caps=" in line]
    assert [sorted(words) for words in given if words] == [
        sorted(READING),
        sorted(set(APPENDING) - set(READING)),
    ]


@pytest.mark.parametrize("arguments", [[], ["--version"], ["--server"], ["-n", "--server"]])
def test_the_program_starts_nothing_but_a_server(scratch: Path, arguments: list[str]) -> None:
    done = subprocess.run(
        [Server(scratch).program, *arguments], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "only for --server" in done.stderr


class TestAReadingServer:
    def test_can_send_all_there_is(self, fs_a: LoopFs, fs_b: LoopFs, scratch: Path) -> None:
        snaps = make_source(fs_a)
        sent = Server(scratch).download(snaps, scratch / "streams")
        assert sent.status == 0, sent.stderr
        restored = buttersink(f"dir://{scratch}/streams/", f"{fs_b.path}/")
        assert restored.status == 0, restored.stderr
        for name in ("1", "2"):
            assert_same_tree(snaps / name, fs_b.path / name)

    @pytest.mark.parametrize("without", READING)
    def test_needs_each_of_its_privileges(self, without: str, fs_a: LoopFs, scratch: Path) -> None:
        server = Server(scratch, without=without)
        assert server.download(make_source(fs_a), scratch / "streams").status != 0


class TestAnAppendingServer:
    def test_can_make_all_there_is(self, fs_a: LoopFs, fs_b: LoopFs, scratch: Path) -> None:
        snaps = make_source(fs_a)
        fs_b.path.chmod(0o700)
        sent = Server(scratch).upload(snaps, fs_b.path)
        assert sent.status == 0, sent.stderr
        for name in ("1", "2"):
            assert_same_tree(snaps / name, fs_b.path / name)

    def test_can_delete_if_it_is_in_mode_w(self, fs_a: LoopFs, fs_b: LoopFs, scratch: Path) -> None:
        snaps = make_source(fs_a)
        run("btrfs", "subvolume", "create", fs_b.path / "live")
        run("btrfs", "subvolume", "snapshot", "-r", fs_b.path / "live", fs_b.path / "old")
        sent = Server(scratch).upload(snaps, fs_b.path, "--delete")
        assert sent.status == 0, sent.stderr
        assert sorted(os.listdir(fs_b.path)) == ["1", "2", "live"]

    @pytest.mark.parametrize("without", [name for name in APPENDING if name != "fsetid"])
    def test_fails_without_any_of_its_privileges(
        self, without: str, fs_a: LoopFs, fs_b: LoopFs, scratch: Path
    ) -> None:
        server = Server(scratch, without=without)
        assert server.upload(make_source(fs_a), fs_b.path).status != 0

    def test_loses_special_bits_without_fsetid(
        self, fs_a: LoopFs, fs_b: LoopFs, scratch: Path
    ) -> None:
        assert "fsetid" in APPENDING
        snaps = make_source(fs_a)
        assert Server(scratch, without="fsetid").upload(snaps, fs_b.path).status == 0
        lost = differences(describe(snaps / "1"), describe(fs_b.path / "1"))
        assert len(lost) == 1
        assert "program" in lost[0]

    def test_changes_what_is_immutable_with_one_privilege_more(
        self, fs_a: LoopFs, fs_b: LoopFs, scratch: Path
    ) -> None:
        """What comes back changed builds on the original, where it is immutable."""
        assert "takes `linux_immutable` as well" in PAGE
        live, back = fs_b.path / "live", fs_a.path / "back"
        run("btrfs", "subvolume", "create", live)
        (live / "fixed").write_text("as it was", encoding="utf-8")
        run("chattr", "+i", live / "fixed")
        run("btrfs", "subvolume", "snapshot", "-r", live, fs_b.path / "1")
        (fs_a.path / "snaps").mkdir()
        assert buttersink(f"{fs_b.path}/", f"{fs_a.path}/snaps/").status == 0
        run("btrfs", "subvolume", "snapshot", fs_a.path / "snaps" / "1", back)
        (back / "fixed").write_text("changed", encoding="utf-8")
        run("btrfs", "subvolume", "snapshot", "-r", back, fs_a.path / "snaps" / "2")

        refused = Server(scratch).upload(fs_a.path / "snaps", fs_b.path)
        assert refused.status != 0
        assert "CAP_LINUX_IMMUTABLE" in refused.stderr

        sent = Server(scratch, more="linux_immutable").upload(fs_a.path / "snaps", fs_b.path)
        assert sent.status == 0, sent.stderr
        assert_same_tree(fs_a.path / "snaps" / "2", fs_b.path / "2")
