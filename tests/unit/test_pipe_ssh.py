"""The stand-in for ssh by pipe takes what ssh takes, and does what sshd does with it."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from buttersink.version import __version__
from support.pipe_ssh import PipedCall, pipe_ssh_command, piped_calls, remote_command

if TYPE_CHECKING:
    from pathlib import Path

    from support.command import Argument


def run(
    ssh_command: str, *arguments: Argument, given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    command = [*shlex.split(ssh_command), *arguments]
    return subprocess.run(command, input=given, capture_output=True, check=False)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-T", "-p", "2222", "-F", "/a file", "-oBatchMode=yes", "-o", "User=fred", "-J", "jump"],
        ["-T", "--"],
    ],
)
@pytest.mark.parametrize("more", [[], ["-T"], ["-x", "--"]])
def test_options_are_taken_where_ssh_takes_them(
    tmp_path: Path, options: list[str], more: list[str]
) -> None:
    ssh = pipe_ssh_command(tmp_path)
    run(ssh, *options, "fred@nas", *more, "echo", "-n", "--")
    assert piped_calls(tmp_path) == [PipedCall("fred@nas", "echo -n --")]


def test_words_are_joined_with_spaces_and_given_to_a_shell(tmp_path: Path) -> None:
    done = run(pipe_ssh_command(tmp_path), "nas", "echo", "a  b", "'c  d'", "$((1 + 1)); exit 7")
    assert (done.stdout, done.returncode) == (b"a b c  d 2\n", 7)


def test_calls_survive_any_name(tmp_path: Path) -> None:
    ssh = pipe_ssh_command(tmp_path)
    run(ssh, "nas", b"echo 'a\nb\xff'")
    run(ssh, "bak", "true")
    calls = [PipedCall("nas", "echo 'a\nb\udcff'"), PipedCall("bak", "true")]
    assert piped_calls(tmp_path) == calls


@pytest.mark.parametrize("arguments", [[], ["nas"], ["-p"], ["-Z", "nas", "true"], ["--"]])
def test_what_ssh_would_refuse_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    assert run(pipe_ssh_command(tmp_path), *arguments).returncode == 255
    assert piped_calls(tmp_path) == []


def test_data_pass_both_ways_untouched(tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    assert run(pipe_ssh_command(tmp_path), "nas", "cat", given=data).stdout == data


def test_the_environment_is_bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of the client")
    assert b"SECRET" not in run(pipe_ssh_command(tmp_path), "nas", "env").stdout


@pytest.mark.parametrize(
    "command", ["buttersink", "sudo buttersink", "sudo -n buttersink", remote_command()]
)
def test_the_far_side_finds_this_checkout(tmp_path: Path, command: str) -> None:
    directory = tmp_path / "a 'strange' name"
    directory.mkdir()
    done = run(pipe_ssh_command(directory), "nas", command, "--version")
    assert (done.stdout.decode(), done.stderr) == (f"buttersink {__version__}\n", b"")


def test_a_forced_command_finds_what_was_asked_for(tmp_path: Path) -> None:
    ssh = pipe_ssh_command(tmp_path, forced_command='echo "forced: $SSH_ORIGINAL_COMMAND"')
    done = run(ssh, "nas", "rm", "-r", "'a  b'")
    assert done.stdout == b"forced: rm -r 'a  b'\n"
