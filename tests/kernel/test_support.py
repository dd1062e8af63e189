"""The tests' own tools: that histories repeat, that comparisons see, that nothing is skipped."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.history import History, many_snapshots, simple_history
from support.loopfs import SCRATCH_VARIABLE, LoopFs, mounts, run
from support.tree import assert_same_tree, describe

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).parent.parent
MISSING_PROGRAM = "kernel tests need the program mkfs.btrfs"


def transfer(snapshot: Path, destination: Path, *, parent: Path | None = None) -> Path:
    """Copy a snapshot with the programs of btrfs-progs."""
    since: tuple[str | Path, ...] = ("-p", parent) if parent else ()
    with subprocess.Popen(
        ["btrfs", "--quiet", "send", *since, snapshot], stdout=subprocess.PIPE
    ) as sender:
        subprocess.run(
            ["btrfs", "--quiet", "receive", destination], stdin=sender.stdout, check=True
        )
    assert sender.returncode == 0
    return destination / snapshot.name


class TestHistory:
    def test_survives_full_and_incremental_transfers(self, fs_a: LoopFs, fs_b: LoopFs) -> None:
        history = History(1, fs_a.path / "live")
        history.step(300)
        before = history.snapshot(fs_a.path / "before")
        history.step(300)
        after = history.snapshot(fs_a.path / "after")

        assert_same_tree(before, transfer(before, fs_b.path))
        assert_same_tree(after, transfer(after, fs_b.path, parent=before))

    def test_with_the_same_seed_makes_the_same_tree(self, fs_a: LoopFs) -> None:
        one, two = (History(1, fs_a.path / name) for name in ("one", "two"))
        one.step(300)
        two.step(100)
        two.step(200)

        assert one.log == two.log
        assert_same_tree(one.live, two.live, times=False)

    def test_with_another_seed_makes_another_tree(self, fs_a: LoopFs) -> None:
        one, two = (History(seed, fs_a.path / str(seed)) for seed in (1, 2))
        one.step(50)
        two.step(50)

        with pytest.raises(AssertionError, match="differ at"):
            assert_same_tree(one.live, two.live, times=False)

    def test_makes_every_kind_of_entry(self, fs_a: LoopFs) -> None:
        history = History(3, fs_a.path / "live")
        history.step(2000)
        entries = describe(history.live)

        kinds = {entry.kind for entry in entries.values()}
        xattrs = {name for entry in entries.values() for name, _ in entry.xattrs}
        assert kinds == {
            "file",
            "directory",
            "symlink",
            "fifo",
            "socket",
            "character device",
            "block device",
        }
        assert xattrs > {
            "btrfs.compression",
            "security.capability",
            "system.posix_acl_access",
            "system.posix_acl_default",
            "trusted.a",
            "user.a",
        }
        assert any(entry.links for entry in entries.values())

    def test_refuses_a_subvolume_with_unknown_contents(self, fs_a: LoopFs) -> None:
        (fs_a.path / "stranger").touch()

        with pytest.raises(ValueError, match="is not empty"):
            History(1, fs_a.path)

    def test_snapshots_are_read_only(self, fs_a: LoopFs) -> None:
        snapshot = History(1, fs_a.path / "live").snapshot(fs_a.path / "snapshot")

        with pytest.raises(OSError, match="Read-only") as refusal:
            (snapshot / "new").touch()
        assert refusal.value.errno == errno.EROFS


class TestQuickHistories:
    def test_simple_history_adds_a_little_to_each_snapshot(self, fs_a: LoopFs) -> None:
        snapshots = simple_history(fs_a, 3, size=300_000)

        assert snapshots == [fs_a.path / "snaps" / name for name in ("1", "2", "3")]
        sizes = [sum(entry.size for entry in describe(path).values()) for path in snapshots]
        assert 300_000 < sizes[0] < sizes[1] < sizes[2] < 320_000

    def test_many_snapshots_all_differ(self, fs_a: LoopFs) -> None:
        snapshots = many_snapshots(fs_a, 50)

        assert [(path / "number").read_text() for path in snapshots] == [
            str(number) for number in range(1, 51)
        ]


def set_size(path: Path) -> None:
    os.truncate(path, 3)


def set_content(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"DATA")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def set_mode(path: Path) -> None:
    path.chmod(0o4755)


def set_owner(path: Path) -> None:
    os.chown(path, 0, 7)


def set_mtime(path: Path) -> None:
    os.utime(path, ns=(0, 1))


def set_xattr(path: Path) -> None:
    os.setxattr(path, "user.x", b"")


def set_link(path: Path) -> None:
    os.link(path, path.with_name("other"))


class TestComparison:
    @pytest.mark.parametrize(
        ("change", "field"),
        [
            (set_size, "size"),
            (set_content, "digest"),
            (set_mode, "mode"),
            (set_owner, "gid"),
            (set_mtime, "mtime_ns"),
            (set_xattr, "xattrs"),
            (set_link, "links"),
        ],
    )
    def test_names_the_path_and_what_differs(
        self, fs_a: LoopFs, change: Callable[[Path], None], field: str
    ) -> None:
        tree = fs_a.path / "tree"
        (tree / "below").mkdir(parents=True)
        (tree / "below" / "file").write_bytes(b"data")
        run("cp", "--archive", tree, fs_a.path / "copy")
        assert_same_tree(tree, fs_a.path / "copy")

        change(tree / "below" / "file")

        with pytest.raises(AssertionError, match=rf"b'below/file': .*{field} "):
            assert_same_tree(tree, fs_a.path / "copy")

    def test_leaves_out_nested_subvolumes(self, fs_a: LoopFs) -> None:
        live = fs_a.path / "live"
        run("btrfs", "subvolume", "create", live)
        run("btrfs", "subvolume", "create", live / "nested")
        run("btrfs", "subvolume", "snapshot", "-r", live, fs_a.path / "snapshot")

        assert list(describe(live)) == list(describe(fs_a.path / "snapshot")) == [b"."]


class TestLoopFs:
    def test_is_gone_once_closed_wherever_it_was_mounted(self, scratch: Path) -> None:
        with LoopFs.create(scratch, size="256M", mount_options="compress=zstd") as fs:
            (fs.path / "directory").mkdir()
            inside = fs.mount_again(fs.path / "directory" / "again")
            beside = fs.mount_again(scratch / "beside", options="ro")
            bound = fs.mount_again(scratch / "bound", bind=fs.path / "directory")
            of_device = {Path(m.point) for m in mounts() if m.source == fs.device}
            assert of_device == {fs.path, inside, beside, bound}

        assert not fs.image.exists()
        assert not any(m.point.startswith(str(scratch)) for m in mounts())

    def test_closes_even_if_a_file_is_still_open(self, scratch: Path) -> None:
        fs = LoopFs.create(scratch, size="256M")
        with (fs.path / "file").open("wb"):
            fs.close()

        assert not any(m.point.startswith(str(scratch)) for m in mounts())

    def test_can_be_made_read_only_and_writable_again(self, fs_a: LoopFs) -> None:
        fs_a.remount("ro")
        with pytest.raises(OSError, match="Read-only"):
            (fs_a.path / "file").touch()

        fs_a.remount("rw")
        (fs_a.path / "file").touch()

    def test_leaves_nothing_behind_if_it_cannot_be_made(self, scratch: Path) -> None:
        with pytest.raises(RuntimeError, match=r"mkfs\.btrfs"):
            LoopFs.create(scratch, size="1M")

        assert not list(scratch.iterdir())


class Suite:
    """A copy of this suite's rules with other tests in it, run by a pytest of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.inner_scratch = home / "scratch"
        self.inner_scratch.mkdir()
        tests = home / "tests"
        shutil.copytree(TESTS / "support", tests / "support")
        shutil.copy(TESTS / "conftest.py", tests)
        (home / "pytest.ini").write_text(
            "[pytest]\n"
            "addopts = -q -p no:cacheprovider --strict-markers\n"
            "testpaths = tests\npythonpath = tests\nmarkers = kernel: needs the kernel\n"
        )
        self.add("unit", "def test_unit() -> None: pass")

    def add(self, directory: str, source: str) -> None:
        """Put tests into a new module in tests/`directory`."""
        path = self.home / "tests" / directory / f"test_{directory}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start pytest with nothing special but `environment`."""
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", *arguments],
            cwd=self.home,
            env=kept | {SCRATCH_VARIABLE: str(self.inner_scratch)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run pytest; return its exit status and what it wrote."""
        with self.start(*arguments, **environment) as pytest_run:
            output, _ = pytest_run.communicate()
        return pytest_run.returncode, output


@pytest.fixture
def suite(scratch: Path) -> Suite:
    return Suite(scratch)


KERNEL_TEST = "def test_kernel() -> None: pass"
SKIPPED_TEST = "import pytest\ndef test_kernel() -> None: pytest.skip('no')"
MARKED_TEST = "import pytest\n@pytest.mark.kernel\ndef test_kernel() -> None: pass"


class TestSkippingRule:
    def test_counts_the_kernel_tests(self, suite: Suite) -> None:
        suite.add("kernel", KERNEL_TEST)
        suite.add("faults", KERNEL_TEST)

        status, output = suite.run(CI="true")

        assert "kernel tests: 2 run, 0 skipped" in output
        assert status == 0

    @pytest.mark.parametrize(
        ("directory", "source"),
        [("kernel", KERNEL_TEST), ("faults", KERNEL_TEST), ("contract", MARKED_TEST)],
    )
    def test_skips_with_a_reason_where_something_is_missing(
        self, suite: Suite, directory: str, source: str
    ) -> None:
        suite.add(directory, source)

        status, output = suite.run("-rs", PATH="/nonexistent")

        assert MISSING_PROGRAM in output
        assert "kernel tests: 0 run, 1 skipped" in output
        assert "1 passed, 1 skipped" in output
        assert status == 0

    @pytest.mark.parametrize("required", [{"CI": "true"}, {"BUTTERSINK_REQUIRE_KERNEL": "1"}])
    def test_fails_at_once_where_nothing_may_be_missing(
        self, suite: Suite, required: dict[str, str]
    ) -> None:
        suite.add("kernel", KERNEL_TEST)

        status, output = suite.run(PATH="/nonexistent", **required)

        assert MISSING_PROGRAM in output
        assert "passed" not in output
        assert status == pytest.ExitCode.USAGE_ERROR

    def test_fails_if_a_kernel_test_skips_itself_in_ci(self, suite: Suite) -> None:
        suite.add("kernel", SKIPPED_TEST)

        status, output = suite.run(CI="true")

        assert "ERROR: kernel tests must not be skipped here" in output
        assert "kernel tests: 0 run, 1 skipped" in output
        assert status == pytest.ExitCode.TESTS_FAILED

    def test_fails_if_the_whole_suite_has_no_kernel_test_in_ci(self, suite: Suite) -> None:
        status, output = suite.run(CI="true")

        assert "ERROR: kernel tests must not be missing here" in output
        assert "kernel tests: 0 run, 0 skipped" in output
        assert status == pytest.ExitCode.TESTS_FAILED

    @pytest.mark.parametrize(
        "part", [("tests/unit",), ("-k", "unit"), ("-m", "not kernel"), ("--collect-only",)]
    )
    def test_lets_a_part_without_kernel_tests_pass_in_ci(
        self, suite: Suite, part: tuple[str, ...]
    ) -> None:
        status, output = suite.run(*part, CI="true")

        assert "ERROR" not in output
        assert status == 0


def test_a_terminated_run_cleans_up(suite: Suite) -> None:
    suite.add(
        "kernel",
        "import time\n"
        "def test_kernel(fs_a) -> None:\n"
        "    print('mounted', flush=True)\n"
        "    time.sleep(60)\n",
    )
    with suite.start("-s", "tests/kernel") as pytest_run:
        assert pytest_run.stdout is not None
        while "mounted" not in pytest_run.stdout.readline():
            assert pytest_run.poll() is None
        assert list(suite.inner_scratch.iterdir())
        pytest_run.send_signal(signal.SIGTERM)
        output, _ = pytest_run.communicate()

    assert pytest_run.returncode == 128 + signal.SIGTERM, output
    assert not list(suite.inner_scratch.iterdir())
