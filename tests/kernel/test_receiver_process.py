"""Our receiver as a process: what it is asked, and what it asks, at awkward moments."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from threading import Timer
from typing import TYPE_CHECKING

import pytest

from buttersink.btrfs.hosting import ReceiverHost
from buttersink.btrfs.receive import Mark, ReceiverProcess
from buttersink.errors import TransferError
from buttersink.stream.format import Attribute, Command, encode_command, encode_stream_header
from support.kernel_calls import create_subvolume
from support.processes import processes
from support.stream_samples import INCREMENTAL, PARENT, clone, end, head, u64

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.loopfs import LoopFs

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def host() -> Iterator[ReceiverHost]:
    with closing(ReceiverHost()) as made:
        yield made


@pytest.fixture
def parent(fs_a: LoopFs) -> Path:
    path = fs_a.path / "parent"
    create_subvolume(path)
    (path / "file").write_bytes(bytes(1 << 16))
    return path


def begun(process: ReceiverProcess, fs: LoopFs, parent: Path) -> None:
    """Let a receiver begin in a new subvolume."""
    create_subvolume(fs.path / "new")
    fd = os.open(fs.path / "new", os.O_RDONLY)
    process.begin(fd, INCREMENTAL, find=lambda _: os.open(parent, os.O_RDONLY))
    os.close(fd)


def mkfile(path: bytes) -> bytes:
    return encode_command(
        Command.MKFILE, [(Attribute.PATH, path), (Attribute.INO, u64(257))], version=1
    )


def test_a_mark_may_be_asked_for_while_it_asks_for_a_snapshot(
    fs_a: LoopFs, host: ReceiverHost, parent: Path
) -> None:
    files = b"".join(mkfile(b"f%d" % number) for number in range(4000))
    data = encode_stream_header(1) + head(parent=PARENT) + files + mkfile(b"copy") + clone(PARENT)
    with ReceiverProcess(host) as process:
        begun(process, fs_a, parent)
        process.write(memoryview(data))
        mark = process.mark()  # much is still to be applied, and the clone comes last
        assert mark is not None
        assert mark.nbytes <= len(data)
        process.go_on()
        process.write(memoryview(end()))
        assert not isinstance(process.finish(), Mark)
    assert (fs_a.path / "new" / "copy").stat().st_size > 0


def test_a_mark_that_was_interrupted_does_not_keep_it_from_its_end(
    fs_a: LoopFs, host: ReceiverHost, parent: Path
) -> None:
    data = encode_stream_header(1) + head(parent=PARENT) + mkfile(b"x")
    with ReceiverProcess(host) as process:
        begun(process, fs_a, parent)
        process.write(memoryview(data))
        assert process.mark() is not None
        ended = process.finish()
    assert isinstance(ended, Mark)
    assert ended.nbytes == len(data)


def test_one_after_the_other_comes_of_one_program(
    fs_a: LoopFs, host: ReceiverHost, parent: Path
) -> None:
    data = encode_stream_header(1) + head(parent=PARENT) + mkfile(b"x") + end()
    for number in range(3):
        with ReceiverProcess(host) as process:
            begun(process, fs_a, parent)
            process.write(memoryview(data))
            assert not isinstance(process.finish(), Mark)
        assert (fs_a.path / "new" / "x").exists()
        (fs_a.path / "new").rename(fs_a.path / f"{number}")


def test_the_end_of_the_program_is_noticed_while_one_that_it_made_goes_on(
    host: ReceiverHost,
) -> None:
    """It holds what the program complains to."""
    before = children()
    with ReceiverProcess(host):
        (program,) = children() - before
        os.kill(program, signal.SIGSTOP)
        Timer(0.2, os.kill, (program, signal.SIGKILL)).start()
        with pytest.raises(TransferError, match="the receiver can't be started"):
            ReceiverProcess(host)


def children() -> set[int]:
    return {each.pid for each in processes() if each.parent == os.getpid()}
