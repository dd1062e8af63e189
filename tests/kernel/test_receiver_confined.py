"""The process that receives a stream: what it can reach, and that it never stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import ButterSinkError, CorruptStreamError, TransferError
from buttersink.model import Diff, StreamOptions
from buttersink.stores.btrfs import BtrfsStore
from buttersink.stream.format import HEADER_SIZE
from support.hostile_streams import VERSION, clone, command, encoded_write, harm, named, u64, write
from support.hostile_world import HostileWorld, assert_untouched, hostile_world
from support.processes import PATIENCE_SECONDS, wait_until
from support.receiver_processes import (
    capabilities,
    family,
    is_running,
    open_devices,
    open_files,
    status,
    wait_for_receiver,
)
from support.stream_samples import OTHER, TO, A, C, head, split, stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buttersink.store import Writer
    from support.hostile_world import Facts
    from support.loopfs import LoopFs

SECRET = "a secret that nobody else may read"
NEEDED = {
    *("chown", "dac_override", "fowner", "fsetid", "linux_immutable", "mknod", "setfcap"),
    "sys_admin",
}
"""What applying a stream takes."""

PROGRAM = """
import sys, time
from uuid import UUID
from buttersink.model import Diff, StreamOptions
from buttersink.stores.btrfs import BtrfsStore
directory, to, parent, version = sys.argv[1:]
store = BtrfsStore(directory + "/")
store.inventory()
options = StreamOptions(version=int(version))
with store.receive(Diff(UUID(to), UUID(parent)), "new", options) as writer:
    writer.write(memoryview(sys.stdin.buffer.read()))
    time.sleep(1000)
"""


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[HostileWorld, Facts]]:
    """Return a world for all tests, and what must not change of it."""
    with hostile_world() as world:
        world.assert_can_arrive()
        yield world, world.facts()


@pytest.fixture
def world(made: tuple[HostileWorld, Facts]) -> Iterator[HostileWorld]:
    """Return the world; afterwards nothing of it has changed, and nothing is left."""
    world, before = made
    yield world
    try:
        world.assert_nothing_left()
        assert_untouched(world, before)
    finally:
        world.clear()


def top(world: HostileWorld) -> Path:
    """Return where the snapshot is being made."""
    return world.directory / f".buttersink-{world.second}.part" / "new"


def half(world: HostileWorld) -> bytes:
    """Return the first half of the honest stream."""
    return world.increment[: len(world.increment) // 2]


@contextmanager
def paused(world: HostileWorld, *more: bytes) -> Iterator[tuple[Writer, int]]:
    """Receive half a stream, and then some commands; give the process, which waits for more."""
    commands = split(world.increment)
    beginning = world.increment[:HEADER_SIZE] + b"".join(commands[: len(commands) // 2])
    last = command(C.MKDIR, b"so far", (A.INO, u64(999)))
    with world.receiving() as writer:
        writer.write(memoryview(b"".join((beginning, *more, last))))
        pid = wait_for_receiver(top(world))
        wait_until(lambda: is_applied(world, writer), "half the stream was applied")
        yield writer, pid


def is_applied(world: HostileWorld, writer: Writer) -> bool:
    """Tell whether half the stream was applied; whoever writes also answers to the receiver."""
    writer.write(memoryview(b""))
    return (top(world) / "so far").exists()


class TestAReceiverAtWork:
    @pytest.fixture
    def pid(self, world: HostileWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
        """Return a process that has received half a stream, with a clone from another snapshot."""
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("PYTHONPATH", "/nowhere")
        cloned = clone(b"file", world.other, b"file")
        with suppress(CorruptStreamError), paused(world, cloned) as (_, pid):
            yield pid

    def test_has_no_more_privileges_than_it_needs(self, pid: int) -> None:
        for kind in ("Eff", "Prm", "Bnd"):
            assert capabilities(pid, kind) == NEEDED
        for kind in ("Inh", "Amb"):
            assert capabilities(pid, kind) == set()
        assert status(pid)["NoNewPrivs"] == "1"

    def test_has_nothing_but_the_snapshot_for_its_paths(
        self, world: HostileWorld, pid: int
    ) -> None:
        assert os.path.samefile(f"/proc/{pid}/root/", top(world))
        assert os.path.samefile(f"/proc/{pid}/cwd/", top(world))
        mounts = Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8").splitlines()
        (mount,) = (line.split() for line in mounts)
        assert mount[4] == "/"
        assert {"nosuid", "nodev", "noexec"} <= set(mount[5].split(","))
        assert os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")

    def test_has_nothing_open_but_what_it_needs(self, world: HostileWorld, pid: int) -> None:
        kinds = sorted(name.partition(":")[0] for name in open_files(pid) if name[0] != "/")
        assert kinds == ["pipe", "pipe", "socket"]  # its stream, what it complains to, its orders
        assert open_devices(pid) == {
            os.stat("/dev/null").st_dev,
            top(world).stat().st_dev,
            (world.directory / "other").stat().st_dev,
        }

    def test_knows_nothing_of_the_environment(self, pid: int) -> None:
        for process in {pid, *family(os.getpid())}:
            words = Path(f"/proc/{process}/cmdline").read_bytes()
            if process != pid and b"applying.main" not in words:
                continue  # a server of other tests
            environment = Path(f"/proc/{process}/environ").read_bytes()
            assert environment == b"LC_ALL=C.UTF-8\0"
            assert SECRET.encode() not in words

    def test_is_one_thread_apart_from_the_terminal(self, pid: int) -> None:
        assert status(pid)["Threads"] == "1"
        assert os.getpgid(pid) != os.getpgrp()


class TestTheEndOfAReceiver:
    def test_comes_with_that_of_its_block(self, world: HostileWorld) -> None:
        with pytest.raises(CorruptStreamError), paused(world) as (_, pid):
            pass
        assert not is_running(pid)

    def test_comes_when_the_run_is_killed(self, world: HostileWorld) -> None:
        arguments = (world.directory, world.second, world.first, VERSION)
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as run:
            assert run.stdin is not None
            run.stdin.write(half(world))
            run.stdin.close()
            pid = wait_for_receiver(top(world), of=run.pid)
            started = family(run.pid)
            assert pid in started
            run.kill()
        wait_until(lambda: not any(map(is_running, started)), "all that it started had ended")
        world.assert_can_arrive()

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
    def test_before_its_time_is_an_error(self, world: HostileWorld, number: int) -> None:
        with pytest.raises(TransferError, match=r"^the receiver was killed"):
            kill_and_go_on(world, number)
        world.assert_nothing_left()
        world.assert_can_arrive()

    def test_is_noticed_when_all_was_written(self, world: HostileWorld) -> None:
        with pytest.raises(TransferError, match=r"^the receiver was killed"), paused(world) as it:
            os.kill(it[1], signal.SIGKILL)

    def test_comes_by_a_second_interrupt_where_it_hangs(self, world: HostileWorld) -> None:
        with (
            interrupts_after(0.5, KeyboardInterrupt),
            suppress(KeyboardInterrupt),
            paused(world) as (_, pid),
        ):
            os.kill(pid, signal.SIGSTOP)
            raise KeyboardInterrupt
        assert not is_running(pid)
        world.assert_can_arrive()


def test_what_a_directory_is_called_does_not_matter(fs_a: LoopFs) -> None:
    """Its name is in the answer to what the receiver asks for."""
    directory = os.fsencode(fs_a.path) + b"/\xff\x1b\n"
    os.mkdir(directory)
    store = BtrfsStore(os.fsdecode(directory) + "/")
    store.inventory()
    hostile = stream(head(version=VERSION), clone(b"file", OTHER, b"file"), version=VERSION)
    try:
        with (
            interrupts_after(PATIENCE_SECONDS / 2, AssertionError),
            pytest.raises(CorruptStreamError, match="clone from outside"),
            store.receive(Diff(TO), "new", StreamOptions(version=VERSION)) as writer,
        ):
            writer.write(memoryview(hostile))
    finally:
        store.close()


def kill_and_go_on(world: HostileWorld, number: int) -> None:
    with paused(world) as (writer, pid):
        os.kill(pid, number)
        while True:
            writer.write(memoryview(bytes(1 << 16)))


@contextmanager
def interrupts_after(seconds: float, error: type[BaseException]) -> Iterator[None]:
    """Interrupt what is at work by an error, again and again."""

    def interrupt(_number: int, _frame: object) -> None:
        raise error("it hangs")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class TestModulesInAStream:
    def test_are_not_what_the_receiver_imports(self, world: HostileWorld) -> None:
        """Python looks for them by path, and in its new root the paths are the stream's."""
        for last in (
            harm(b"../up", world.second)["write"],
            harm(b"nowhere", world.second)["write"],
            harm(b"disk", world.second)["encoded_write"],
            *(encoded_write(b"file", b"\xff" * 4096, kind=kind) for kind in (1, 2, 3)),
            clone(b"file", world.secret, b"file"),
        ):
            with pytest.raises(ButterSinkError) as error:
                world.receive(world.with_harm(*planted_modules(), last))
            assert named(error.value.message, last)

    def test_are_planted_where_they_would_be_found(self, made: tuple[HostileWorld, Facts]) -> None:
        world, _ = made
        world.receive(world.with_harm(*planted_modules()))
        new = world.directory / "new"
        planted = new / sysconfig.get_path("stdlib").lstrip("/") / "traceback.py"
        done = subprocess.run([sys.executable, planted], check=False, capture_output=True)
        assert done.returncode == 99
        world.delete()


def planted_modules() -> Iterator[bytes]:
    """Yield commands that make modules, which end whoever imports them."""
    made: set[bytes] = set()
    for directory in _search_path():
        for depth, letter in enumerate(directory + b"/"):
            above = directory[:depth]
            if letter == ord("/") and above not in made:
                made.add(above)
                yield command(C.MKDIR, above, (A.INO, u64(999)))
        for name in sorted(sys.stdlib_module_names):
            path = directory + b"/" + name.encode() + b".py"
            yield command(C.MKFILE, path, (A.INO, u64(999)))
            yield write(path, b"import os\nos._exit(99)\n")


def _search_path() -> list[bytes]:
    """Return where the receiver might look for modules, as paths in its root directory."""
    found = [path for path in sys.path if os.path.isabs(path)]
    packages = chain.from_iterable(
        getattr(each, "__path__", []) for each in [*sys.modules.values()]
    )
    known = {"encodings", "ctypes", "json", "zstandard", "msgspec"}
    found += [path for path in packages if os.path.basename(path) in known]
    return [os.fsencode(path).strip(b"/") for path in dict.fromkeys(found)]
