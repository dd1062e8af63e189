"""Fixtures, and the rule that the tests which need the kernel can't be skipped unnoticed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from hypothesis import settings

from support.loopfs import LoopFs, scratch_root, unmount_below

if TYPE_CHECKING:
    from collections.abc import Iterator

_TESTS = Path(__file__).resolve().parent
_KERNEL_DIRECTORIES = (_TESTS / "kernel", _TESTS / "faults")
_CAP_SYS_ADMIN = 21
_REQUIRED = os.environ.get("CI") == "true" or os.environ.get("BUTTERSINK_REQUIRE_KERNEL") == "1"

settings.register_profile(
    "default",
    max_examples=60,
    deadline=None,  # tests never depend on how fast a shared machine happens to be
    derandomize=_REQUIRED,
)
settings.load_profile("default")


class MakeFs(Protocol):
    """What the fixture `make_fs` gives: `LoopFs.create` in the test's scratch directory."""

    def __call__(self, *, size: str = ..., mount_options: str = ..., label: str = ...) -> LoopFs:
        """Return a new file system; it is closed after the test."""
        ...


@pytest.fixture(scope="session", autouse=True)
def _state_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what runs remember out of the machine's own state."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Return an empty directory, on a fast file system if there is one, deleted afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="buttersink-test-", dir=scratch_root()))
    try:
        yield directory
    finally:
        unmount_below(directory)  # or else deleting would reach into what is mounted there
        shutil.rmtree(directory)


@pytest.fixture
def make_fs(scratch: Path) -> Iterator[MakeFs]:
    """Return a maker of btrfs file systems."""
    with ExitStack() as stack:

        def make(*, size: str = "2G", mount_options: str = "", label: str = "fs") -> LoopFs:
            fs = LoopFs.create(scratch, size=size, mount_options=mount_options, label=label)
            return stack.enter_context(fs)

        yield make


@pytest.fixture
def fs_a(make_fs: MakeFs) -> LoopFs:
    """Return a fresh btrfs file system."""
    return make_fs(label="a")


@pytest.fixture
def fs_b(make_fs: MakeFs) -> LoopFs:
    """Return another fresh btrfs file system."""
    return make_fs(label="b")


def _missing() -> str:
    """Return what keeps the kernel tests from running, in one line; empty if nothing does."""
    if os.geteuid() != 0 or not _has_capability(_CAP_SYS_ADMIN):
        return "kernel tests need root, with the right to mount"
    for program in ("mkfs.btrfs", "btrfs", "mount", "umount", "losetup"):
        if shutil.which(program) is None:
            return f"kernel tests need the program {program}"
    if not _kernel_has_btrfs():
        return "kernel tests need btrfs in the kernel: /proc/filesystems does not list it"
    if not os.path.exists("/dev/loop-control"):
        return "kernel tests need loop devices: there is no /dev/loop-control"
    return ""


def _has_capability(number: int) -> bool:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def _kernel_has_btrfs() -> bool:
    filesystems = Path("/proc/filesystems")
    if "btrfs" in filesystems.read_text(encoding="ascii").split():
        return True
    if shutil.which("modprobe") is None:
        return False
    subprocess.run(["modprobe", "btrfs"], check=False, capture_output=True)
    return "btrfs" in filesystems.read_text(encoding="ascii").split()


def _is_asked_for(config: pytest.Config) -> bool:
    """Tell whether this run, by its arguments, should reach a kernel test."""
    if config.getoption("keyword") or config.getoption("markexpr") or config.option.collectonly:
        return False
    paths = [Path(config.invocation_params.dir, arg.partition("::")[0]) for arg in config.args]
    return any(
        directory.is_relative_to(os.path.realpath(path))
        for path in paths
        for directory in _KERNEL_DIRECTORIES
    )


class KernelTally:
    """Counts the kernel tests, so that each run says how many there were."""

    def __init__(self) -> None:
        self._kernel: frozenset[str] = frozenset()
        self._ran: set[str] = set()
        self._skipped: set[str] = set()
        self._failure = ""

    @pytest.hookimpl(trylast=True)  # once -k and -m have taken out what does not run
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        kernel = [item for item in items if item.get_closest_marker("kernel")]
        self._kernel = frozenset(item.nodeid for item in kernel)
        reason = _missing() if kernel else ""
        if not reason:
            return
        if _REQUIRED:
            raise pytest.UsageError(f"{reason}; here they must not be skipped")
        for item in kernel:
            item.add_marker(pytest.mark.skip(reason=reason))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.nodeid not in self._kernel:
            return
        if report.skipped and not hasattr(report, "wasxfail"):
            self._skipped.add(report.nodeid)
        elif report.when == "call" or report.failed:
            self._ran.add(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not _REQUIRED or session.exitstatus not in (
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        ):
            return
        if self._skipped:
            self._failure = "kernel tests must not be skipped here"
        elif not self._ran and _is_asked_for(session.config):
            self._failure = "kernel tests must not be missing here"
        if self._failure:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._failure:
            terminalreporter.write_line(f"ERROR: {self._failure}", red=True)
        terminalreporter.write_line(
            f"kernel tests: {len(self._ran)} run, {len(self._skipped)} skipped"
        )


def pytest_configure(config: pytest.Config) -> None:
    """Count the kernel tests, and clean up also when the run is told to terminate."""
    config.pluginmanager.register(KernelTally())
    owner = os.getpid()

    def terminate(number: int, _frame: object) -> None:
        if os.getpid() == owner:
            pytest.exit("terminated", returncode=128 + number)
        signal.signal(number, signal.SIG_DFL)  # a forked child has nothing to clean up
        signal.raise_signal(number)

    signal.signal(signal.SIGTERM, terminate)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As in the background of a shell; the programs under test would inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what lies in the directories of kernel tests, before -m is looked at."""
    path = item.path.resolve()
    if any(path.is_relative_to(directory) for directory in _KERNEL_DIRECTORIES):
        item.add_marker(pytest.mark.kernel)
