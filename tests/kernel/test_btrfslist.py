"""The program btrfslist on real file systems, and its page of documentation."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run

if TYPE_CHECKING:
    from support.loopfs import LoopFs

PROGRAM = (sys.executable, "-m", "buttersink.tools.btrfslist")
DOCUMENT = Path(__file__).parents[2] / "docs" / "btrfslist.md"
JSON_TYPES = {"string": str, "number": int, "boolean": bool, "null": type(None)}
AWKWARD = b"caf\xe9 \x1b[31m\n[red]:key: = -"
AWKWARD_SHOWN = r"caf\xe9 \x1b[31m\n[red]:key: = -"
SUBVOL_SETFLAGS = 0x4008941A

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


@pytest.fixture
def fs(fs_a: LoopFs) -> LoopFs:
    """Return a file system with a writable subvolume, a snapshot, and one of an awkward name."""
    create_subvolume(fs_a.path / "live")
    (fs_a.path / "live" / "data").write_bytes(os.urandom(1 << 20))
    (fs_a.path / "snaps").mkdir()
    snapshot_read_only(fs_a.path / "live", fs_a.path / "snaps" / "1")
    snapshot_read_only(fs_a.path / "live", fs_a.path / os.fsdecode(AWKWARD))
    return fs_a


@pytest.fixture
def received(fs: LoopFs, fs_b: LoopFs) -> Path:
    """Return a received copy of snaps/1, on another file system."""
    sent = subprocess.run(
        ["btrfs", "--quiet", "send", fs.path / "snaps" / "1"], stdout=subprocess.PIPE, check=True
    )
    subprocess.run(["btrfs", "--quiet", "receive", fs_b.path], input=sent.stdout, check=True)
    return fs_b.path / "1"


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


class TestErrors:
    def test_for_a_directory_that_is_not_on_btrfs(self) -> None:
        assert failure("/proc") == (
            1,
            "/proc is not on a btrfs file system (findmnt shows which file systems are btrfs)",
        )

    def test_for_a_directory_that_does_not_exist(self, scratch: Path) -> None:
        name = scratch / "none\n\x1b[31m"
        status, message = failure(name)
        assert status == 2
        assert message == rf"{scratch}/none\n\x1b[31m does not exist"

    def test_for_a_file(self, fs: LoopFs) -> None:
        status, message = failure(fs.image)
        assert status == 2
        assert message == f"{fs.image} is not a directory"

    def test_for_want_of_privileges(self, fs: LoopFs) -> None:
        without = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
        done = subprocess.run(
            [*without, *PROGRAM, fs.path], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"btrfslist: reading the subvolumes of {fs.path}: Operation not permitted "
            "(run as root: btrfs asks for CAP_SYS_ADMIN)\n"
        )

    @pytest.mark.parametrize("arguments", [(), ("--nonsense", "/"), ("/", "/"), ("--js", "/")])
    def test_for_a_wrong_command_line(self, arguments: tuple[str, ...]) -> None:
        status, message = failure(*arguments)
        assert status == 2
        assert message.endswith("(btrfslist --help shows what there is)")

    def test_for_a_full_disk(self, fs: LoopFs) -> None:
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run(
                [*PROGRAM, fs.path], stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        assert done.returncode == 1
        assert done.stderr == (
            "btrfslist: writing the listing: No space left on device "
            "(free some space and run again)\n"
        )


class TestEnds:
    @pytest.fixture
    def long_listing(self, fs_a: LoopFs) -> Path:
        """Return a file system whose listing does not fit into a pipe."""
        for number in range(200):
            create_subvolume(fs_a.path / f"{number} {'x' * 200}")
        return fs_a.path

    def test_quietly_when_nobody_reads_on(self, long_listing: Path) -> None:
        with subprocess.Popen(
            [*PROGRAM, long_listing], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout
            assert process.stdout.readline().startswith(b"fsid=")
            process.stdout.close()
            assert process.stderr
            assert process.stderr.read() == b""
        assert process.returncode == 1

    def test_with_status_130_when_interrupted(self, long_listing: Path) -> None:
        with subprocess.Popen(
            [*PROGRAM, long_listing], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout
            process.stdout.read(1)  # it can't end, as the rest does not fit into the pipe
            process.send_signal(signal.SIGINT)
            assert process.stderr
            assert process.stderr.read() == b"btrfslist: interrupted\n"
        assert process.returncode == 130


class TestHelp:
    @pytest.mark.parametrize("option", ["-h", "--help"])
    def test_names_all_options(self, option: str) -> None:
        text = "\n".join(output(option))
        for name in ("DIR", "--json", "-V, --version"):
            assert name in text

    @pytest.mark.parametrize("option", ["-V", "--version"])
    def test_version_is_that_of_the_package(self, option: str) -> None:
        from buttersink.version import __version__  # noqa: PLC0415 - the only use of the package

        assert output(option) == [f"btrfslist {__version__}"]


class TestDocumentation:
    @staticmethod
    def tables() -> dict[str, dict[str, tuple[str, ...]]]:
        """Return the documented fields and their types, by the heading of their table."""
        sections = re.split(r"^### (.*)$", DOCUMENT.read_text("utf-8"), flags=re.MULTILINE)[1:]
        return {
            heading: {
                name: tuple(types.split(" or "))
                for name, types in re.findall(r"^\| `(\w+)` \| ([a-z ]+) \|", text, re.MULTILINE)
            }
            for heading, text in zip(sections[::2], sections[1::2], strict=True)
        }

    @staticmethod
    def examples() -> list[Fields]:
        blocks = re.findall(
            r"^```json\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.DOTALL | re.MULTILINE
        )
        return [json.loads(block) for block in blocks]

    def test_has_the_fields_of_every_line_with_their_types(
        self, fs: LoopFs, received: Path
    ) -> None:
        run("btrfs", "quota", "enable", received.parent)
        run("btrfs", "quota", "rescan", "-w", received.parent)
        lines = [*output("--json", fs.path), *output("--json", received.parent)]
        found = [*map(json.loads, lines), *self.examples()]
        seen: dict[str, set[type]] = {}
        for fields in found:
            table = self.tables()[fields["type"]]
            assert list(table) == list(fields)
            for name, value in fields.items():
                assert type(value) in {JSON_TYPES[word] for word in table[name]}
                seen.setdefault(f"{fields['type']}.{name}", set()).add(type(value))
        documented = {
            f"{heading}.{name}": {JSON_TYPES[word] for word in types}
            for heading, table in self.tables().items()
            for name, types in table.items()
        }
        # Only a file system made before Linux 3.6 lacks uuids and times of creation.
        for name in ("subvolume.uuid", "subvolume.otime"):
            documented[name].discard(type(None))
        # The top level may lack these, which depends on the version of mkfs.btrfs.
        for name in ("subvolume.ctransid", "subvolume.otransid"):
            seen[name].add(type(None))
        assert seen == documented

    def test_has_an_example_of_each_kind_of_line(self) -> None:
        assert [fields["type"] for fields in self.examples()] == list(self.tables())
