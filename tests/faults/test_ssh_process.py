"""An ssh that talks too much, hangs, breaks off, or is not there.

A script stands in for ssh: what matters is how a program that behaves so is treated.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import (
    ButterSinkError,
    MissingError,
    NotPermittedError,
    ProtocolError,
    TransferError,
    UnavailableError,
    UsageError,
)
from buttersink.model import Mode
from buttersink.stores.ssh.command import Remote
from buttersink.stores.ssh.process import SshProcess
from buttersink.wire.frames import PREAMBLE
from support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IGNORES_ALL = r"""
import os, signal, time
for number in signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE:
    signal.signal(number, signal.SIG_IGN)
os.write(1, b"deaf\n")
while True:
    time.sleep(60)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], SshProcess]]:
    """Return what starts a script of Python or sh in the place of ssh."""
    with ExitStack() as stack:

        def start_script(script: str) -> SshProcess:
            program = tmp_path / "ssh"
            head = "/bin/sh" if "import " not in script else sys.executable
            program.write_text(f"#!{head}\n{script}", encoding="utf-8")
            program.chmod(0o755)
            return stack.enter_context(SshProcess(remote_by(str(program)), Mode.READ))

        yield start_script


def remote_by(program: str) -> Remote:
    return Remote(host="nas", directory="/bak/", ssh_command=program)


def read_all(process: SshProcess) -> bytes:
    return b"".join(iter(lambda: os.read(process.read_fd, 1 << 16), b""))


def children() -> frozenset[int]:
    """Return the processes that were started here and not collected yet."""
    tasks = Path("/proc/self/task").iterdir()
    return frozenset(int(pid) for task in tasks for pid in (task / "children").read_text().split())


@pytest.fixture
def others() -> frozenset[int]:
    """Return those that were there before the test, such as servers of other tests."""
    return children()


class TestARunningSsh:
    def test_is_written_to_and_read_from(self, start: Callable[[str], SshProcess]) -> None:
        process = start("exec cat")
        os.write(process.write_fd, b"to and fro")
        assert os.read(process.read_fd, 100) == b"to and fro"

    def test_gets_its_words_without_a_shell(self, start: Callable[[str], SshProcess]) -> None:
        process = start("""printf '%s\\0' "$@" """)
        words = read_all(process).split(b"\0")
        assert words[:-1] == b"-T nas sudo buttersink --server --mode r /bak/".split()

    def test_may_ask_on_the_terminal(self, start: Callable[[str], SshProcess]) -> None:
        process = start("ps -o pgid=,sid= -p $$")
        assert read_all(process).split() == [b"%d" % os.getpgrp(), b"%d" % os.getsid(0)]

    def test_speaks_english(
        self, start: Callable[[str], SshProcess], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
        assert read_all(start('echo "$LC_ALL"')) == b"C\n"


class TestMessages:
    def test_never_block_ssh(self, start: Callable[[str], SshProcess]) -> None:
        process = start("yes 0123456789abcde | head -c 1048576 >&2; echo over; exit 1")
        assert read_all(process) == b"over\n"
        error = process.failure("listing")
        assert "status 1: 0123456789abcde" in error.message

    @pytest.mark.parametrize("count", [5000, 1 << 20])
    def test_that_are_long_are_cut(
        self, start: Callable[[str], SshProcess], caplog: pytest.LogCaptureFixture, count: int
    ) -> None:
        caplog.set_level(logging.DEBUG, "buttersink")
        process = start(f"import os\nfor _ in range(2): os.write(2, b'x' * {count} + b'\\n')")
        error = process.failure("listing", strays=b"")
        assert "xxx…; xxx" in error.message
        assert len(error.message) < 1000
        assert [len(record.getMessage()) for record in caplog.records] == [1005, 1005]

    def test_are_kept_from_the_first_on(self, start: Callable[[str], SshProcess]) -> None:
        process = start("echo 'nas: Permission denied (publickey).' >&2; seq 100000 >&2; exit 255")
        assert isinstance(process.failure("listing"), NotPermittedError)

    def test_are_kept_to_the_last(self, start: Callable[[str], SshProcess]) -> None:
        process = start("seq 100000 >&2; echo 'sudo: a password is required' >&2; exit 1")
        assert isinstance(process.failure("listing"), NotPermittedError)

    def test_go_to_the_log(
        self, start: Callable[[str], SshProcess], caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG, "buttersink"):
            start("printf 'one\\r\\n\\n\\033[2Jtwo' >&2").close()
        assert [record.getMessage() for record in caplog.records] == [
            "nas: one",
            r"nas: \x1b[2Jtwo",
        ]


class TestAFailure:
    def test_is_told_by_the_status_and_the_words_of_ssh(
        self, start: Callable[[str], SshProcess]
    ) -> None:
        process = start("echo 'ssh: connect to host nas port 22: No route to host' >&2; exit 255")
        error = process.failure("listing snapshots")
        assert type(error) is UnavailableError
        assert error.message == (
            "nas: listing snapshots: there was no connection: "
            "ssh: connect to host nas port 22: No route to host"
        )

    def test_is_told_of_an_ssh_that_was_killed(self, start: Callable[[str], SshProcess]) -> None:
        error = start("kill -KILL $$").failure("listing")
        assert "ssh was killed by SIGKILL" in error.message

    def test_waits_for_an_ssh_that_says_why_at_the_end_of_its_input(
        self, start: Callable[[str], SshProcess]
    ) -> None:
        process = start("cat; echo 'sudo: a password is required' >&2; exit 1")
        assert isinstance(process.failure("listing"), NotPermittedError)

    def test_takes_what_keeps_ssh_from_ending(self, start: Callable[[str], SshProcess]) -> None:
        process = start("head -c 1048576 /dev/zero; echo gone >&2; exit 3")
        assert "status 3: gone" in process.failure("listing").message

    def test_shows_text_that_was_read_before_the_protocol(
        self, start: Callable[[str], SshProcess]
    ) -> None:
        process = start("echo morning; echo evening; cat")
        strays = os.read(process.read_fd, 4)
        error = process.failure("listing", strays=strays)
        assert type(error) is ProtocolError
        assert "in place of buttersink: morn" in error.message

    def test_shows_text_that_nobody_has_read(self, start: Callable[[str], SshProcess]) -> None:
        error = start("echo 'no shell for you'; exit 1").failure("listing", strays=b"")
        assert "no shell for you" in error.message

    def test_takes_no_protocol_for_text(self, start: Callable[[str], SshProcess]) -> None:
        process = start(f"printf '{PREAMBLE.decode().strip()}\\nmore'; cat")
        seen = UnavailableError("it broke")
        error = process.failure("listing", strays=os.read(process.read_fd, 4), seen=seen)
        assert type(error) is UnavailableError
        assert error.message == "nas: listing: it broke"

    def test_takes_no_frames_for_text(self, start: Callable[[str], SshProcess]) -> None:
        error = start("echo frames; cat").failure("listing", seen=ProtocolError("nonsense"))
        assert error.message == "nas: listing: nonsense"

    def test_can_be_asked_for_after_the_end(self, start: Callable[[str], SshProcess]) -> None:
        process = start("echo 'sudo: a password is required' >&2; exit 1")
        process.close()
        assert isinstance(process.failure("listing"), NotPermittedError)

    @pytest.mark.parametrize(
        "script",
        [IGNORES_ALL, "echo deaf; exec 1>&-; trap '' TERM; while :; do sleep 0.1; done"],
        ids=["pipes stay open", "output is closed"],
    )
    def test_is_told_of_an_ssh_that_never_ends(
        self, start: Callable[[str], SshProcess], script: str, others: frozenset[int]
    ) -> None:
        process = start(script)
        assert os.read(process.read_fd, 5) == b"deaf\n"
        error = process.failure("listing", seen=UnavailableError("no answer for 60 s"))
        assert type(error) is UnavailableError
        assert error.message == "nas: listing: no answer for 60 s"
        assert children() <= others

    def test_is_told_of_an_ssh_that_never_stops_talking(
        self, start: Callable[[str], SshProcess], others: frozenset[int]
    ) -> None:
        error = start("exec yes nonsense").failure("listing", strays=b"")
        assert type(error) is ProtocolError
        assert error.message.endswith(": nonsense")
        assert children() <= others


class TestTheEnd:
    def test_comes_by_itself_when_there_is_no_more_input(
        self, start: Callable[[str], SshProcess], tmp_path: Path, others: frozenset[int]
    ) -> None:
        start(f"cat > {tmp_path}/taken; echo whole > {tmp_path}/end").close()
        assert (tmp_path / "end").read_text() == "whole\n"
        assert children() <= others

    @pytest.mark.parametrize(
        "script",
        ["exit 0", "kill -KILL $$", "exec sleep 600", "exec yes", IGNORES_ALL],
        ids=["gone", "killed", "hangs", "talks", "ignores all"],
    )
    def test_leaves_no_process(
        self, start: Callable[[str], SshProcess], script: str, others: frozenset[int]
    ) -> None:
        process = start(script)
        process.close(0.1)
        assert children() <= others

    def test_is_asked_for_before_it_is_forced(
        self, start: Callable[[str], SshProcess], tmp_path: Path
    ) -> None:
        note = tmp_path / "note"
        process = start(f"trap 'echo bye > {note}; exit' TERM; echo; while :; do sleep 0.01; done")
        assert os.read(process.read_fd, 1) == b"\n"
        process.close(0)
        assert note.read_text() == "bye\n"

    def test_may_come_twice(
        self, start: Callable[[str], SshProcess], others: frozenset[int]
    ) -> None:
        process = start("cat")
        process.close()
        process.close()
        assert children() <= others

    def test_leaves_no_descriptor(self, start: Callable[[str], SshProcess]) -> None:
        before = set(os.listdir("/proc/self/fd"))
        start("cat").close()
        assert set(os.listdir("/proc/self/fd")) <= before

    def test_comes_when_a_block_is_left_by_an_error(
        self, start: Callable[[str], SshProcess], others: frozenset[int]
    ) -> None:
        with pytest.raises(UsageError), start("cat"):
            raise UsageError("no")
        assert children() <= others

    def test_does_not_wait_for_what_ssh_left_in_the_background(
        self, start: Callable[[str], SshProcess], tmp_path: Path
    ) -> None:
        # As a connection that is shared with later runs does (ControlPersist).
        fifo = tmp_path / "until"
        os.mkfifo(fifo)
        process = start(f"cat {fifo} >/dev/null & echo 'sudo: a password is required' >&2; exit 1")
        try:
            assert isinstance(process.failure("listing"), NotPermittedError)
        finally:
            fifo.write_bytes(b"")
        wait_until(lambda: "ssh-stderr" not in thread_names(), "the last reader had gone")

    def test_comes_at_once_after_an_interrupt(
        self, start: Callable[[str], SshProcess], others: frozenset[int]
    ) -> None:
        process = start(IGNORES_ALL)
        assert os.read(process.read_fd, 5) == b"deaf\n"
        main = threading.main_thread().ident
        assert main is not None
        timer = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            process.close(600)
        timer.join()
        assert children() <= others


class TestAProgramThatCannotBeRun:
    @pytest.mark.parametrize(
        ("content", "mode", "kind"),
        [
            (None, 0, MissingError),
            ("#!/bin/sh\n", 0o644, NotPermittedError),
            ("#!/no/such/program\n", 0o755, MissingError),
            ("neither one nor the other", 0o755, TransferError),
        ],
        ids=["missing", "not executable", "without its interpreter", "no program"],
    )
    def test_is_named(
        self, tmp_path: Path, content: str | None, mode: int, kind: type[ButterSinkError]
    ) -> None:
        program = tmp_path / "plink"
        if content is not None:
            program.write_text(content)
            program.chmod(mode)
        with pytest.raises(ButterSinkError, match="plink can't be run: ") as caught:
            SshProcess(remote_by(str(program)), Mode.READ)
        assert type(caught.value) is kind
        assert "\n" not in str(caught.value)

    def test_is_not_even_tried_with_words_that_make_no_sense(self) -> None:
        with pytest.raises(UsageError, match="--ssh-command"):
            SshProcess(remote_by("'"), Mode.READ)


def thread_names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}
