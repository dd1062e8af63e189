"""The program `checksumdir`: as far as it needs neither root nor btrfs."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from buttersink.tools.checksumdir import main
from buttersink.tools.tree import scan
from buttersink.version import __version__
from support.manifests import digest, make_tree, manifest

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = (
    sys.executable,
    "-c",
    "import sys; from buttersink.tools.checksumdir import main; sys.exit(main())",
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree")


class TestProgram:
    def test_it_prints_digests(self, tree: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        inner = tree / "dir"
        assert main([str(tree), str(inner)]) == 0
        expected = f"{digest(tree)}  {tree}\n{digest(inner)}  {inner}\n".encode()
        assert capfdbinary.readouterr() == (expected, b"")

    def test_it_prints_the_manifest(
        self, tree: Path, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        assert main(["--manifest", str(tree)]) == 0
        assert capfdbinary.readouterr() == (manifest(list(scan(str(tree)))), b"")

    def test_it_checks_a_directory_with_a_stored_manifest(
        self, tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        stored = str(tmp_path / "stored")
        assert main(["--manifest", "--output", stored, str(tree)]) == 0
        assert main(["--check", stored, str(tree)]) == 0
        assert capfd.readouterr() == ("", "checksumdir: no differences\n")
        (tree / "plain").chmod(0o600)
        assert main(["--check", stored, str(tree)]) == 1
        assert capfd.readouterr() == (
            "plain: mode: 0644 -> 0600\n",
            "checksumdir: 1 difference\n",
        )
        assert main(["--quiet", "--check", stored, str(tree)]) == 1
        assert capfd.readouterr().err == ""

    def test_a_stored_manifest_may_come_through_a_pipe(self, tree: Path) -> None:
        stored = manifest(list(scan(str(tree))))
        command = [*PROGRAM, "--check", "/dev/stdin", str(tree)]
        assert subprocess.run(command, input=stored, check=False).returncode == 0

    def test_it_compares_two_directories(
        self, tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        other = make_tree(tmp_path / "other")
        assert main(["--compare", str(tree), str(other)]) == 0
        assert main(["--compare", str(tree), str(tree)]) == 0
        (other / "plain").rename(other / "plane")
        capfd.readouterr()
        assert main(["--compare", str(tree), str(other)]) == 1
        assert capfd.readouterr() == (
            "plain: missing (file)\nplane: added (file)\n",
            "checksumdir: 2 differences\n",
        )

    def test_a_damaged_manifest_is_told_before_any_difference(
        self, tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        stored = tmp_path / "stored"
        stored.write_bytes(manifest(list(scan(str(tree)))).replace(b"uid=", b"uid=1"))
        assert main(["--check", str(stored), str(tree)]) == 1
        expected = f"checksumdir: {stored} is damaged: its digest does not fit its lines\n"
        assert capfd.readouterr() == ("", expected)

    def test_a_missing_directory_is_one_line(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert main([str(tmp_path / "none")]) == 1
        expected = f"checksumdir: cannot read {tmp_path}/none: No such file or directory\n"
        assert capfd.readouterr() == ("", expected)

    def test_a_missing_manifest_is_one_line(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["--check", str(tmp_path / "none"), str(tmp_path)]) == 1
        expected = f"checksumdir: cannot read {tmp_path}/none: No such file or directory\n"
        assert capfd.readouterr() == ("", expected)

    def test_a_failure_leaves_an_older_output_as_it_was(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_bytes(b"older")
        assert main(["--output", str(tmp_path / "out"), str(tmp_path / "none")]) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        assert (tmp_path / "out").read_bytes() == b"older"

    def test_output_may_go_to_what_is_no_file(self, tree: Path) -> None:
        command = [*PROGRAM, "--output", "/dev/stdout", str(tree)]
        done = subprocess.run(command, capture_output=True, check=True, text=True)
        assert done.stdout == f"{digest(tree)}  {tree}\n"

    def test_a_full_disk_is_one_line(self, tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["--output", "/dev/full", str(tree)]) == 1
        expected = "checksumdir: cannot write /dev/full: No space left on device\n"
        assert capfd.readouterr() == ("", expected)

    def test_a_reader_that_goes_away_is_no_reason_to_complain(self, tree: Path) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([*PROGRAM, str(tree)], stdout=writer, stderr=-1, check=False)
        os.close(writer)
        assert (done.returncode, done.stderr) == (1, b"")

    def test_an_interrupt_is_one_line(self, tree: Path, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        command = [*PROGRAM, "--check", str(tmp_path / "fifo"), str(tree)]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as program:
            with (tmp_path / "fifo").open("wb"):  # waits until the program has it open, too
                program.send_signal(signal.SIGINT)
                _, complaint = program.communicate()
            assert (program.returncode, complaint) == (130, b"checksumdir: interrupted\n")

    def test_on_a_terminal_it_shows_what_it_hashed(self, tree: Path) -> None:
        terminal, end = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
        command = [*PROGRAM, str(tree)]
        done = subprocess.run(command, stdout=-1, stderr=end, env=environment, check=True)
        os.close(end)
        shown = os.read(terminal, 1 << 16)
        os.close(terminal)
        assert b"files" in shown
        assert done.stdout == f"{digest(tree)}  {tree}\n".encode()

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["--compare", "a"], "--compare takes two directories, but 1 were named"),
            (["--check", "m", "a", "b"], "--check takes one directory, but 2 were named"),
            (["--manifest", "a", "b"], "--manifest takes one directory, but 2 were named"),
            (["-j", "0", "a"], "--jobs 0 is not possible (use 1 to 16)"),
        ],
    )
    def test_what_does_not_go_together_is_refused(
        self, arguments: list[str], complaint: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert main(arguments) == 2
        assert capfd.readouterr() == ("", f"checksumdir: {complaint}\n")

    def test_it_knows_its_version(self, capfd: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["--version"])
        assert ended.value.code == 0
        assert capfd.readouterr().out == f"checksumdir {__version__}\n"
