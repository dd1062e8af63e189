"""The program btrfslist: its errors, its help and its page of documentation."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.kernel_calls import create_subvolume
from support.listed_subvolumes import (
    PROGRAM,
    Fields,
    failure,
    make_subvolumes,
    output,
    receive_copy,
)
from support.loopfs import run

if TYPE_CHECKING:
    from support.loopfs import LoopFs

DOCUMENT = Path(__file__).parents[2] / "docs" / "btrfslist.md"
JSON_TYPES = {"string": str, "number": int, "boolean": bool, "null": type(None)}


@pytest.fixture
def fs(fs_a: LoopFs) -> LoopFs:
    return make_subvolumes(fs_a)


@pytest.fixture
def received(fs: LoopFs, fs_b: LoopFs) -> Path:
    return receive_copy(fs, fs_b)


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
