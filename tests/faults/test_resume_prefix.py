"""The source makes another stream than the one that was interrupted: it is begun anew, and told."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from buttersink.events import TransferDone, TransferResumed, Warned
from support.command import buttersink
from support.loopfs import run as run_program
from support.resuming import kept_bytes, names, run
from support.ssh_ends import piped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from support.loopfs import LoopFs

MIB = 1 << 20
_FIDEDUPERANGE = 0xC0189436
_RANGE = struct.Struct("=QQHHI qQQiI")


def share(source: Path, file: Path, *, offset: int, length: int) -> None:
    """Let a range of a file of a read-only snapshot share the extent of the same data elsewhere.

    This is what tools such as duperemove do: FIDEDUPERANGE of linux/fs.h.
    """
    with source.open("rb") as one, file.open("rb") as other:
        asked = bytearray(_RANGE.pack(offset, length, 1, 0, 0, other.fileno(), offset, 0, 0, 0))
        fcntl.ioctl(one.fileno(), _FIDEDUPERANGE, asked)
        *_, shared, status, _ = _RANGE.unpack(asked)
    assert (shared, status) == (length, 0)


@pytest.fixture
def snaps(fs_a: LoopFs) -> Path:
    """Return snapshots of which the first has two files of the same data, which share nothing."""
    live = fs_a.path / "twins"
    run_program("btrfs", "-q", "subvolume", "create", live)
    data = os.urandom(6 * MIB)
    (live / "one").write_bytes(data)
    (live / "other").write_bytes(data)
    (live / "third").write_bytes(os.urandom(6 * MIB))
    directory = fs_a.path / "twin snaps"
    directory.mkdir()
    run_program("btrfs", "-q", "subvolume", "snapshot", "-r", live, directory / "twins")
    return directory


def test_after_deduplication_of_the_source_it_begins_anew(snaps: Path, backup: Path) -> None:
    finished, _, _ = run(snaps, backup, 10 * MIB)
    assert finished.failed == 1
    kept = kept_bytes(backup)
    assert kept > 9 * MIB
    share(snaps / "twins" / "one", snaps / "twins" / "other", offset=0, length=4 * MIB)

    finished, told, sent = run(snaps, backup)

    assert (finished.failed, finished.transferred) == (0, 1)
    assert finished.resumed_bytes == 0
    assert told.the(Warned).message == (
        "twins: the stream is not the one that was interrupted, as after a balance or "
        "deduplication of what is sent; it begins anew"
    )
    assert told.all(TransferResumed)  # as it was going to
    assert told.the(TransferDone).resumed_bytes == 0
    assert 14 * MIB < sent < 15 * MIB
    assert names(backup) == {"twins"}
    for name in ("one", "other", "third"):
        assert (backup / "twins" / name).read_bytes() == (snaps / "twins" / name).read_bytes()


@pytest.mark.parametrize("far", ["source", "destination"])
def test_a_far_end_begins_anew_just_so(snaps: Path, backup: Path, tmp_path: Path, far: str) -> None:
    finished, _, _ = run(snaps, backup, 10 * MIB)
    assert finished.failed == 1
    share(snaps / "twins" / "one", snaps / "twins" / "other", offset=0, length=4 * MIB)
    shell = piped(tmp_path)
    source = shell.end(snaps).url if far == "source" else f"{snaps}/"
    destination = shell.end(backup).url if far == "destination" else f"{backup}/"

    done = buttersink(*shell.options, source, destination)

    assert done.status == 0, done
    assert "the stream is not the one that was interrupted" in done.stderr
    assert "; it begins anew\n" in done.stderr
    assert "1 sent" in done.stderr
    assert names(backup) == {"twins"}
    for name in ("one", "other", "third"):
        assert (backup / "twins" / name).read_bytes() == (snaps / "twins" / name).read_bytes()


def test_a_pause_while_the_beginning_is_left_out_is_no_other_stream(
    snaps: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the machine sleeps: the kernel can't go on with that stream, but it is the same."""
    finished, _, _ = run(snaps, backup, 17 * MIB)
    assert finished.failed == 1
    kept = kept_bytes(backup)
    assert kept > 16 * MIB

    with sender_paused_after(kept // 2, monkeypatch):
        finished, told, _ = run(snaps, backup)

    assert told.the(Warned).message.endswith("; it goes on")
    assert finished.failed == 0
    assert finished.resumed_bytes == kept
    assert (backup / "twins" / "third").read_bytes() == (snaps / "twins" / "third").read_bytes()


@contextmanager
def sender_paused_after(nbytes: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the system restart a SEND once, when so much was read of streams.

    It does after SIGSTOP and SIGCONT, and after any signal whose handler is installed with
    SA_RESTART (signal(7)).
    """
    readv, counts = os.readv, list[int]()
    paused = threading.Event()

    def meddling(fd: int, buffers: Sequence[memoryview]) -> int:
        count = readv(fd, buffers)
        counts.append(count)
        if not paused.is_set() and sum(counts) > nbytes:
            paused.set()
            (sender,) = (each for each in threading.enumerate() if each.name == "btrfs-send")
            assert sender.ident is not None
            signal.pthread_kill(sender.ident, signal.SIGUSR1)
        return count

    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.siginterrupt(signal.SIGUSR1, False)
    monkeypatch.setattr(os, "readv", meddling)
    try:
        yield
    finally:
        monkeypatch.undo()
        signal.signal(signal.SIGUSR1, before)
    assert paused.is_set()
