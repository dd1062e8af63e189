"""A stream that breaks, at either end or between them: never taken for a whole one."""

from __future__ import annotations

import errno
import os
import signal
import tempfile
from contextlib import closing, contextmanager
from functools import partial
from operator import add
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from buttersink.btrfs.progs_receive import ReceiveProcess
from buttersink.errors import CorruptStreamError, TransferError
from buttersink.events import Failed, Skipped
from buttersink.model import Receiver
from buttersink.plan import Transfer
from buttersink.settings import Settings
from buttersink.stores.btrfs import BtrfsStore
from buttersink.stores.btrfs_source import BtrfsSource
from buttersink.sync import sync
from support.arrivals import Arrivals, moving_history
from support.command import buttersink
from support.damage import damage
from support.history import simple_history
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.processes import Background

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from buttersink.events import Event, Finished
    from buttersink.model import (
        Diff,
        Position,
        StreamOptions,
    )
    from buttersink.store import Reader
    from conftest import MakeFs
    from support.loopfs import LoopFs

MIB = 1 << 20
RANDOM_CUTS = 20


class BrokenReader:
    """A stream that breaks off after some bytes, as its end of data or with an error."""

    def __init__(self, stream: Reader, left: int, error: Exception | None) -> None:
        self._stream = stream
        self._left = left
        self._error = error

    def readinto(self, buffer: memoryview, /) -> int:
        if self._left == 0:
            if self._error is not None:
                raise self._error
            return 0
        count = self._stream.readinto(buffer[: self._left])
        self._left -= count
        return count


class BreakingSource(BtrfsSource):
    """A source whose first stream breaks off."""

    def __init__(
        self, path: str, *, after: Callable[[int], int], error: Exception | None = None
    ) -> None:
        super().__init__(path)
        self._after = after
        self._error = error
        self._broke = False

    @contextmanager
    def send(
        self, diff: Diff, options: StreamOptions, *, resume: Position | None = None
    ) -> Iterator[Reader]:
        with super().send(diff, options, resume=resume) as stream:
            if self._broke:
                yield stream
                return
            self._broke = True
            whole = self.measure(diff, options).nbytes
            yield BrokenReader(stream, self._after(whole), self._error)


class Told(list["Event"]):
    """The events of a run."""

    def errors(self) -> dict[str, Exception]:
        return {
            event.step.path: event.error
            for event in self
            if isinstance(event, Failed) and isinstance(event.step, Transfer)
        }

    def paths_skipped(self) -> list[str]:
        return [event.skip.path for event in self if isinstance(event, Skipped)]


def broken_run(
    arrivals: Arrivals, *, after: Callable[[int], int], error: Exception | None = None
) -> tuple[Finished, Told]:
    """Sync, but let the first stream break off.

    Args:
        arrivals: What is transferred.
        after: Tells after how many bytes, given how many there would be.
        error: How it breaks off; None for a silent end.
    """
    told = Told()
    destination = BtrfsStore(os.fspath(arrivals.destination), receiver=arrivals.receiver)
    with (
        closing(BreakingSource(os.fspath(arrivals.source), after=after, error=error)) as source,
        closing(destination),
    ):
        finished = sync(source, destination, Settings(), told.append)
    return finished, told


@pytest.fixture
def arrivals(fs_a: LoopFs, fs_b: LoopFs, receiver: Receiver) -> Arrivals:
    source = moving_history(fs_a, 2, size=MIB)
    return Arrivals(source, fs_b.path / "backup", receiver=receiver)


@pytest.fixture
def one(fs_a: LoopFs, fs_b: LoopFs, receiver: Receiver) -> Arrivals:
    """A single snapshot."""
    simple_history(fs_a, 1)
    return Arrivals(fs_a.path / "snaps", fs_b.path / "backup", receiver=receiver)


def cuts() -> Iterator[Callable[[int], int]]:
    """Return functions from the size of a stream to where it is cut."""
    for nbytes in (0, 12, 17, 50):  # in the header, the command that names the snapshot
        yield partial(min, nbytes)
    for nbytes in (1, 9, 10, 11):  # in, before and just before the END command
        yield partial(add, -nbytes)
    rng = Random(0)
    for _ in range(RANDOM_CUTS):
        yield rng.randrange


class TestAStreamThatIsCutShort:
    def test_is_never_taken_for_whole_wherever_it_is_cut(self, one: Arrivals) -> None:
        for cut in cuts():
            finished, told = broken_run(one, after=cut)

            assert finished.failed == 1
            (error,) = told.errors().values()
            assert isinstance(error, CorruptStreamError), error
            assert not one.check()
            assert not one.leftovers()
        one.converge()

    def test_keeps_back_only_what_builds_on_it(self, arrivals: Arrivals) -> None:
        finished, told = broken_run(arrivals, after=lambda whole: whole // 2)

        assert list(told.errors()) == ["0"]
        assert told.paths_skipped() == ["1"]
        assert finished.failed == 2
        assert not arrivals.check()
        arrivals.converge()


class TestAStreamThatCouldNotBeMade:
    def test_fails_with_the_sender_s_words(self, arrivals: Arrivals) -> None:
        error = TransferError("the cable was pulled")

        _, told = broken_run(arrivals, after=lambda whole: whole // 2, error=error)

        assert told.errors() == {"0": error}
        assert told.paths_skipped() == ["1"]
        assert not arrivals.check()
        assert not arrivals.leftovers()
        arrivals.converge()

    def test_fails_with_what_the_system_said(self, arrivals: Arrivals) -> None:
        error = OSError(errno.EIO, os.strerror(errno.EIO))

        _, told = broken_run(arrivals, after=lambda whole: whole // 2, error=error)

        (failure,) = told.errors().values()
        assert isinstance(failure, TransferError)
        assert "sending snaps/0: Input/output error" in failure.message
        assert "scrub" in failure.hint
        assert not arrivals.check()
        assert not arrivals.leftovers()

    def test_keeps_back_only_what_builds_on_it(
        self, make_fs: MakeFs, fs_b: LoopFs, receiver: Receiver
    ) -> None:
        fs = make_fs(size="512M", label="a")
        snaps = moving_history(fs, 3, size=MIB)
        create_subvolume(fs.path / "other")
        (fs.path / "other" / "file").write_bytes(Random(0).randbytes(MIB))
        snapshot_read_only(fs.path / "other", snaps / "other")
        arrivals = Arrivals(snaps, fs_b.path / "backup", receiver=receiver)
        damage(fs, snaps / "0" / "new 0" / "2")

        done = buttersink(*arrivals.command)

        assert done.status == 3
        told = done.stderr.splitlines()
        (error,) = (line for line in told if line.startswith("error"))
        assert error.startswith("error: could not send 0: ")
        assert "sending snaps/0: Input/output error" in error
        assert told[told.index(error) + 1].startswith("hint: ")
        assert "btrfs scrub" in told[told.index(error) + 1]
        assert {line.split(":")[0] for line in told if line.startswith("skipped")} == {
            "skipped 1",
            "skipped deeper/2",
        }
        assert arrivals.check() == {"other"}
        assert not arrivals.leftovers()


KILLED = {
    Receiver.OWN: "the receiver was killed, or has crashed",
    Receiver.BTRFS_PROGS: "btrfs receive was killed by signal 9: it said nothing",
}


class TestAReceiver:
    def test_that_is_killed_is_the_cause_that_is_told(self, arrivals: Arrivals) -> None:
        with Background("--bwlimit", "500K", *arrivals.command) as run:
            os.kill(run.wait_for_receiver(), signal.SIGKILL)
            done = run.wait()
            assert not run.survivors()

        assert done.status == 3
        assert [line for line in done.stderr.splitlines() if not line.startswith("hint")] == [
            f"error: could not send 0: {KILLED[arrivals.receiver]}",
            "skipped 1: because 0, which it builds on, did not arrive",
            "0 sent, 2 failed",
        ]
        assert not arrivals.check()
        assert not arrivals.leftovers()
        arrivals.converge()


class TestBtrfsReceive:
    def test_that_says_very_much_is_heard_to_its_end(self) -> None:
        with (
            pretended_receiver(
                "yes 'WARNING: of something' | head -n 50000 >&2",
                "echo 'ERROR: the cause' >&2",
                "yes 'ERROR: what follows' | head -n 50000 >&2",
                "exit 4",
            ) as process,
            pytest.raises(TransferError) as raised,
        ):
            process.finish()

        assert raised.value.message == (
            "btrfs receive ended with status 4: the cause; what follows; what follows"
        )

    def test_that_ends_early_gives_the_cause_and_not_the_broken_pipe(self) -> None:
        with (
            pretended_receiver(
                "head -c 1000 >/dev/null",
                "echo 'Chroot to somewhere' >&2",
                "echo 'it has had enough' >&2",
                "exit 1",
            ) as process,
            pytest.raises(TransferError) as raised,
        ):
            process.write(bytes(8 * MIB))  # more than any pipe holds

        assert raised.value.message == "btrfs receive ended with status 1: it has had enough"


@contextmanager
def pretended_receiver(*lines: str) -> Iterator[ReceiveProcess]:
    """Start a shell script in place of `btrfs`."""
    # Neither in /tmp, which the process can't see, nor in memory, from where it may be forbidden
    # to run programs.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        program = Path(directory, "btrfs")
        program.write_text("\n".join(["#!/bin/sh", *lines, ""]), encoding="ascii")
        program.chmod(0o700)
        directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with ReceiveProcess(os.fspath(program), directory_fd) as process:
                yield process
        finally:
            os.close(directory_fd)
