"""The command `buttersink diff`: what it says, where it says it, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from buttersink.wire.frames import Kind, encode_frame
from support.command import Run, buttersink, directory, run_module
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run
from support.outlines import mkfile, rename, truncate
from support.pipe_ssh import pipe_ssh_command, piped_calls
from support.processes import Background, wait_until
from support.server_lies import NEW, OTHER, error, found, listed, sensible_server, snapshot
from support.stream_samples import end, head, stream
from support.subvolume_facts import subvolumes, transaction

if TYPE_CHECKING:
    from support.fake_server import FakeServer
    from support.loopfs import LoopFs

DOCUMENT = Path(__file__).parents[2] / "docs" / "diff.md"


def assert_one_line(done: Run, status: int, *words: str) -> None:
    """Check that a run ended with one line for a person, and nothing else."""
    assert (done.status, done.stdout) == (status, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.isprintable()
    assert "Traceback" not in line
    for word in words:
        assert word in line


@pytest.fixture
def snaps(fs_a: LoopFs) -> Path:
    """Return a directory with two snapshots, 1 and 2, and things that are none."""
    live, snaps = fs_a.path / "live", fs_a.path / "snaps"
    create_subvolume(live)
    snaps.mkdir()
    (live / "dir").mkdir()
    (live / "dir" / "file").write_bytes(bytes(5000))
    (live / "old\n").touch()
    snapshot_read_only(live, snaps / "1")
    (live / "dir").rename(live / "place")
    (live / "place" / "file").chmod(0o600)
    (live / "old\n").unlink()
    (live / "new").write_bytes(bytes(100))
    snapshot_read_only(live, snaps / "2")
    (snaps / "plain").mkdir()
    create_subvolume(snaps / "writable")
    return snaps


LINES = """\
+  new  (file, data 100 bytes)
-  old\\n
>  place  (from dir)
M  place/file  (was dir/file, mode 0600)
"""
TOTAL = "1 created, 1 deleted, 1 renamed, 1 changed, 100 bytes of data"


@pytest.mark.kernel
class TestDiff:
    def test_lists_changes_and_sums_them_up(self, snaps: Path) -> None:
        done = buttersink("diff", snaps / "1", snaps / "2")

        total = f"{snaps}/1 -> {snaps}/2: {TOTAL}, 1 with new times only (--all shows them)\n"
        assert done == Run(0, LINES + total, "")

    def test_shows_times_on_request(self, snaps: Path) -> None:
        for option in ("-a", "--all"):
            done = buttersink("diff", option, snaps / "1", snaps / "2")
            assert done.stdout.startswith("M  .  (times)\n" + LINES)
            assert done.stdout.endswith(f": {TOTAL}, 1 with new times only\n")

    def test_is_no_failure_if_there_is_nothing(self, snaps: Path) -> None:
        done = buttersink("diff", snaps / "1", snaps / "1")
        assert done == Run(0, f"{snaps}/1 -> {snaps}/1: no differences\n", "")

    def test_changes_nothing(self, fs_a: LoopFs, snaps: Path) -> None:
        before = transaction(fs_a), subvolumes(fs_a.path)
        fs_a.remount("ro")
        assert buttersink("diff", snaps / "2", snaps / "1").status == 0
        assert (transaction(fs_a), subvolumes(fs_a.path)) == before

    def test_takes_snapshots_by_any_of_their_names(self, fs_a: LoopFs, snaps: Path) -> None:
        (snaps / "latest").symlink_to("2")
        elsewhere = fs_a.mount_again(fs_a.path.parent / "elsewhere", bind=snaps)
        expected = buttersink("diff", snaps / "1", snaps / "2").stdout.splitlines()[:-1]

        for one, other, here in (
            ("1", "2", snaps),
            ("1/", "./2//", snaps),
            ("../1", ".", snaps / "2"),
            ("1", "latest", snaps),
            (f"btrfs://{snaps}/1", f"file://{snaps}/2", "/"),
            (snaps / "1", elsewhere / "2", "/"),
        ):
            done = buttersink("diff", one, other, cwd=here)
            assert (done.status, done.stderr) == (0, "")
            assert done.stdout.splitlines()[:-1] == expected

    def test_takes_snapshots_in_different_directories(self, fs_a: LoopFs, snaps: Path) -> None:
        (fs_a.path / "other" / "deep").mkdir(parents=True)
        snapshot_read_only(fs_a.path / "live", fs_a.path / "other" / "deep" / "3")

        done = buttersink("diff", snaps / "1", fs_a.path / "other" / "deep" / "3")

        assert (done.status, done.stderr) == (0, "")
        assert done.stdout.startswith(LINES)

    def test_is_a_table_on_a_terminal(self, snaps: Path) -> None:
        command = [sys.executable, "-m", "buttersink", "diff", "1", "2"]
        text = run_on_terminal(command, cwd=snaps)
        rows = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()]
        assert rows[:4] == [
            "+  new         file, data 100 bytes",
            r"-  old\n",
            ">  place       from dir",
            "M  place/file  was dir/file, mode 0600",
        ]
        assert rows[4].startswith("1 -> 2: 1 created")
        assert "\x1b[32mnew" in text

    def test_ends_quietly_when_its_reader_has_gone(self, snaps: Path) -> None:
        read_end, write_end = os.pipe()
        os.close(read_end)
        with os.fdopen(write_end, "wb") as nowhere:
            done = subprocess.run(
                [sys.executable, "-m", "buttersink", "diff", snaps / "1", snaps / "2"],
                check=False,
                stdout=nowhere,
                stderr=subprocess.PIPE,
            )
        assert (done.returncode, done.stderr) == (1, b"")

    def test_that_can_not_be_written_is_an_error_in_one_line(self, snaps: Path) -> None:
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "buttersink", "diff", snaps / "1", snaps / "2"],
                check=False,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
            )
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: writing the differences: No space left on device")


def run_on_terminal(command: list[str], *, cwd: Path) -> str:
    """Run a program whose output is a terminal of 80 columns; return what it shows."""
    ours, theirs = os.openpty()
    environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm"}
    with subprocess.Popen(command, cwd=cwd, stdout=theirs, env=environment) as process:
        os.close(theirs)
        shown = bytearray()
        try:
            while data := os.read(ours, 1 << 16):
                shown += data
        except OSError:  # EIO, as nobody has the other side any more
            pass
        finally:
            os.close(ours)
    assert process.returncode == 0
    return os.fsdecode(bytes(shown))


@pytest.mark.kernel
class TestJson:
    def test_has_a_line_for_each_change_and_a_sum(self, snaps: Path) -> None:
        done = buttersink("diff", "--json", snaps / "1", snaps / "2")

        assert (done.status, done.stderr) == (0, "")
        changes = done.named("change")
        assert [(c["kind"], c["old_path"], c["path"]) for c in changes] == [
            ("changed", "", ""),
            ("created", None, "new"),
            ("deleted", "old\n", "old\n"),
            ("renamed", "dir", "place"),
            ("changed", "dir/file", "place/file"),
        ]
        assert done.events[-1] == {
            "event": "compared",
            "older": f"{snaps}/1",
            "newer": f"{snaps}/2",
            "created": 1,
            "deleted": 1,
            "renamed": 1,
            "changed": 1,
            "only_times": 1,
            "data_bytes": 100,
            "shared_bytes": 0,
        }

    def test_has_the_documented_fields(self, snaps: Path) -> None:
        examples = {example["event"]: example for example in documented()}
        for event in buttersink("diff", "--json", snaps / "1", snaps / "2").events:
            assert list(event) == list(examples[event["event"]])

    def test_tells_errors_to_a_person_too(self) -> None:
        done = buttersink("diff", "--json", "/nonexistent/1", "/nonexistent/2")
        assert done.status == 2
        assert done.stderr == "error: /nonexistent/ does not exist\n"
        assert done.the("error")["exit_code"] == 2


def documented() -> list[dict[str, Any]]:
    blocks = re.findall(r"^```json\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    return [json.loads(block) for block in blocks]


class TestDocumentation:
    def test_has_a_table_with_the_fields_of_each_event(self) -> None:
        sections = re.split(r"^### (.*)$", DOCUMENT.read_text(), flags=re.MULTILINE)[1:]
        for name, text in zip(sections[::2], sections[1::2], strict=True):
            (example,) = (example for example in documented() if example["event"] == name)
            fields = re.findall(
                r"^\| `(\w+)` \| (?:string|number|array|boolean)", text, re.MULTILINE
            )
            assert fields == list(example)[1:]

    def test_help_tells_how_it_is_called_and_how_it_ends(self) -> None:
        done = buttersink("diff", "--help")
        assert (done.status, done.stderr) == (0, "")
        for word in ("SNAP1 SNAP2", "--json", "--all", "--ssh-command", "exit status", "renamed"):
            assert word in done.stdout
        assert "buttersink diff SNAP1 SNAP2" in buttersink("--help").stdout


class TestWrongUsage:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ([], "SNAP1, SNAP2"),
            (["/a/1"], "SNAP2"),
            (["/a/1", "/a/2", "/a/3"], "unrecognized arguments: /a/3"),
            (["--delete", "/a/1", "/a/2"], "--delete"),
            (["--al", "/a/1", "/a/2"], "--al"),
            (["", "/a/1"], "names no place"),
            (["/", "/"], "names no snapshot"),
            (["ssh://nas/", "ssh://nas/a"], "names no snapshot"),
            (["ssh://nas/a/../b", "ssh://nas/a"], ".."),
            (["s3://bucket/a/1", "s3://bucket/a/2"], "restore both snapshots"),
            (["dir:///a/1", "/a/2"], "stored streams can't be compared"),
            (["gopher://a/1", "/a/2"], "there are no gopher:// ends"),
            (["nas:/a/1", "/a/2"], "ssh://"),
            (["/a/1", "ssh://nas/a/2"], "on different hosts"),
            (["ssh://fred@nas/a/1", "ssh://nas/a/2"], "on different hosts"),
            (["ssh://nas:1/a/1", "ssh://nas:2/a/2"], "on different hosts"),
            (["--stall-timeout", "0", "/a/1", "/a/2"], "no number of seconds"),
            (["/nonexistent/1", "/nonexistent/2"], "/nonexistent/ does not exist"),
        ],
    )
    def test_is_told_in_one_line(self, arguments: list[str], words: str) -> None:
        assert_one_line(buttersink("diff", *arguments), 2, words)

    def test_only_the_first_word_alone_is_the_command(self, tmp_path: Path) -> None:
        (tmp_path / "diff").touch()
        assert_one_line(buttersink("./diff/", cwd=tmp_path), 2, "./diff/ is not a directory")
        assert_one_line(buttersink("-q", "diff/", cwd=tmp_path), 2, "diff/ is not a directory")


@pytest.mark.kernel
class TestWrongSnapshots:
    def test_that_are_none_are_named(self, snaps: Path) -> None:
        for wrong in ("plain", "writable"):
            done = buttersink("diff", "1", wrong, cwd=snaps)
            assert_one_line(done, 2, f"{wrong} is not a snapshot", "read-only subvolumes")
        assert_one_line(buttersink("diff", "no", "2", cwd=snaps), 2, "no does not exist")

    def test_on_different_file_systems_are_told(self, snaps: Path, fs_b: LoopFs) -> None:
        assert buttersink("-q", directory(snaps), directory(fs_b.path)).status == 0
        done = buttersink("diff", snaps / "1", fs_b.path / "2")
        assert_one_line(done, 2, "are on different file systems", "sync one")
        done = buttersink("diff", fs_b.path / "1", fs_b.path / "2")
        assert done.stdout.startswith(LINES)

    def test_outside_of_btrfs_are_told(self, snaps: Path, scratch: Path) -> None:
        outside = scratch / "tmpfs"
        outside.mkdir()
        run("mount", "-t", "tmpfs", "none", outside)
        done = buttersink("diff", snaps / "1", outside / "2")
        assert_one_line(done, 1, f"{outside}/ is not on a btrfs file system")


@pytest.mark.kernel
class TestOtherHosts:
    def test_serve_the_directory_that_has_both_and_may_only_be_read(
        self, snaps: Path, fs_a: LoopFs, tmp_path: Path
    ) -> None:
        (fs_a.path / "other").mkdir()
        snapshot_read_only(fs_a.path / "live", fs_a.path / "other" / "3")
        far, url = (
            ("diff", "--ssh-command", pipe_ssh_command(tmp_path)),
            f"ssh://fred@nas{fs_a.path}",
        )

        done = buttersink(*far, f"{url}/snaps/1", f"{url}/snaps/2/")
        apart = buttersink(*far, f"{url}/snaps/1", f"{url}/other/3")

        assert (done.status, apart.status) == (0, 0), done.stderr + apart.stderr
        assert done.stdout.startswith(LINES)
        assert apart.stdout.startswith(LINES)
        start = "sudo buttersink --server --mode r"
        assert [call.command for call in piped_calls(tmp_path)] == [
            f"{start} {snaps}/",
            f"{start} {fs_a.path}/",
        ]

    def test_name_what_is_no_snapshot(self, snaps: Path, tmp_path: Path) -> None:
        far, url = ("diff", "--ssh-command", pipe_ssh_command(tmp_path)), f"ssh://nas{snaps}"
        for wrong, words in (("writable", "is not a snapshot"), ("no", "does not exist")):
            done = buttersink(*far, f"{url}/1", f"{url}/{wrong}")
            assert_one_line(done, 2, f"{url}/{wrong} {words}")
        done = buttersink(*far, f"{url}/nowhere/1", f"{url}/nowhere/2")
        assert_one_line(done, 2, f"{snaps}/nowhere/ does not exist on nas")


class TestHostileServers:
    @pytest.fixture
    def server(self, tmp_path: Path) -> FakeServer:
        """Return a server with two snapshots, `new` on `old`."""
        made = sensible_server(tmp_path)
        older = snapshot(uuid=OTHER, paths=(b"old",))
        made.says("inventory", found(snapshot(), older), listed())
        return made

    def compared(self, server: FakeServer, *options: str) -> Run:
        return run_module(
            "buttersink", "diff", "--ssh-command", server.ssh_command, *options,
            "ssh://nas/bak/old", "ssh://nas/bak/new",
        )  # fmt: skip

    def outline(self, *commands: bytes) -> bytes:
        return stream(head(NEW, OTHER), *commands)

    def says(self, server: FakeServer, data: bytes) -> None:
        server.says("outline", encode_frame(Kind.DATA, data), encode_frame(Kind.END))

    def test_are_believed_while_they_make_sense(self, server: FakeServer) -> None:
        self.says(server, self.outline(mkfile(b"a"), rename(b"\x1b[2J\n", b"b")))
        done = self.compared(server)
        assert (done.status, done.stderr) == (0, "")
        assert done.stdout.splitlines()[:2] == ["+  a  (file)", r">  b  (from \x1b[2J\n)"]

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"", "ended early"),
            (b"\x1b[2J" * 100, "not a btrfs send stream"),
            (stream(head(NEW, OTHER))[:-3], "ended early"),
            (stream(head(NEW, OTHER)) + end(), "goes on after its END"),
            (stream(head(NEW, OTHER, version=2), version=2), "version 2 came, not 1"),
            (stream(head(NEW)), "does not begin with a snapshot and its parent"),
            (stream(head(NEW, OTHER), mkfile(b"../x")), "unsafe path '../x'"),
            (stream(head(NEW, OTHER), rename(b"a", b"a/b")), "into itself"),
            (stream(head(NEW, OTHER), truncate(b"f", 1 << 63)), "SIZE can't be"),
        ],
    )
    def test_are_told_from_others_in_one_line(
        self, server: FakeServer, data: bytes, words: str
    ) -> None:
        self.says(server, data)
        done = self.compared(server)
        assert_one_line(done, 1, "ssh://nas/bak: comparing old with new: ", words)

    def test_that_do_not_end_are_told(self, server: FakeServer) -> None:
        server.says("outline", encode_frame(Kind.DATA, self.outline()), error(b"it failed"))
        assert_one_line(self.compared(server), 1, "it failed")
        more = encode_frame(Kind.DATA, self.outline())
        server.says("outline", more, endless=more)
        assert_one_line(self.compared(server), 1, "goes on after its END")

    def test_that_change_their_mind_are_told(self, server: FakeServer) -> None:
        server.says("outline", error(b"no such\nsnapshot", kind="MissingError"))
        assert_one_line(self.compared(server), 1, r"no such\nsnapshot")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_can_be_left(self, server: FakeServer, tmp_path: Path, number: signal.Signals) -> None:
        server.says("outline")  # and nothing more
        ends = "ssh://nas/bak/old", "ssh://nas/bak/new"
        with Background("diff", "--ssh-command", server.ssh_command, *ends) as process:
            asked = tmp_path / "asked"
            wait_until(lambda: asked.exists() and "outline" in asked.read_text(), "it had begun")
            process.send_all(number)
            assert process.wait() == Run(130, "", "error: interrupted\n")
