"""Which words reach the other host, whatever its directories are called."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buttersink.errors import UsageError
from buttersink.model import Mode
from buttersink.server.arguments import parse_grant
from buttersink.stores.ssh.command import Remote, argv, server_words, trial

NAS = Remote(host="nas", directory="/bak/a/")

TEXTS = st.binary(max_size=12).filter(lambda raw: b"\0" not in raw).map(os.fsdecode)
AWKWARD = st.sampled_from(["a b", "@", ";", "$HOME", "'", '"', "\n", "\udcff", "`id`", "-rf", "~"])
NAMES = (TEXTS | AWKWARD).filter(lambda text: text not in {"", ".", ".."} and "/" not in text)
PATHS = st.lists(NAMES, max_size=4).map(lambda names: "/" + "".join(f"{name}/" for name in names))
COMMANDS = st.lists(TEXTS | AWKWARD, min_size=1, max_size=4).filter(
    lambda words: words[0] != "" and not words[0].startswith("-")
)


def words_behind_host(words: list[str]) -> str:
    """What ssh makes of the words behind the host (ssh(1)): one text for the shell there."""
    return " ".join(words[words.index("nas") + 1 :])


def read_by_sh(commands: list[str]) -> list[list[str]]:
    """Have one POSIX shell split texts into words."""
    script = "".join(f"set -- {text}\nprintf '%s\\0' $# \"$@\"\n" for text in commands)
    run = subprocess.run(["sh"], input=os.fsencode(script), stdout=subprocess.PIPE, check=True)
    fields = iter(os.fsdecode(run.stdout).split("\0"))
    return [[next(fields) for _ in range(int(next(fields)))] for _ in commands]


class TestPlainWords:
    def test_are_the_documented_command(self) -> None:
        words = " ".join(argv(NAS, Mode.READ))
        assert words == "ssh -T nas sudo buttersink --server --mode r /bak/a/"

    @pytest.mark.parametrize("mode", Mode)
    def test_name_the_mode_by_its_letter(self, mode: Mode) -> None:
        assert argv(NAS, mode)[-2] == mode.letter

    def test_name_user_port_and_programs(self) -> None:
        remote = Remote(
            host="::1",
            user="fred",
            port=4422,
            directory="/bak/",
            ssh_command="/usr/bin/ssh -F '/a b/config' -J gate",
            remote_command="sudo -n /opt/buttersink",
        )
        assert argv(remote, Mode.WRITE) == [
            *("/usr/bin/ssh", "-F", "/a b/config", "-J", "gate", "-T", "-p", "4422", "fred@::1"),
            *("sudo", "-n", "/opt/buttersink", "--server", "--mode", "w", "/bak/"),
        ]

    def test_can_be_tried_by_a_person(self) -> None:
        remote = Remote(host="nas", port=22, directory="/x/", ssh_command="ssh -F 'a b'")
        assert trial(remote) == "ssh -F 'a b' -T -p 22 nas true"


class TestAnyDirectory:
    @settings(max_examples=20)
    @given(paths=st.lists(PATHS, min_size=1, max_size=30))
    def test_reaches_the_program_through_a_shell(self, paths: list[str]) -> None:
        remotes = [Remote(host="nas", directory=path) for path in paths]
        seen = read_by_sh([words_behind_host(argv(remote, Mode.APPEND)) for remote in remotes])
        assert seen == [["sudo", "buttersink", "--server", "--mode", "a", path] for path in paths]

    @given(path=PATHS)
    def test_is_one_that_the_server_takes(self, path: str) -> None:
        words = argv(Remote(host="nas", directory=path), Mode.READ)
        grant = parse_grant(["--server", "--mode", "r", "/"], words_behind_host(words))
        assert grant.served == path

    @given(path=PATHS, data=st.data())
    def test_is_spelt_in_one_way(self, path: str, data: st.DataObject) -> None:
        def slashes() -> str:
            return data.draw(st.sampled_from(["/", "//", "/./", "/.//./"]))

        other = "".join(slashes() if char == "/" else char for char in path)
        spellings = {other, other.rstrip("/") or "/"}
        for directory in spellings:
            remote = Remote(host="nas", directory=directory)
            assert server_words(remote, Mode.READ)[-1] == path

    @pytest.mark.parametrize(
        "directory", ["", "bak/", "./bak/", "~/bak/", "/a/../b/", "/..", "/\0/"]
    )
    def test_is_refused_if_it_could_mean_another(self, directory: str) -> None:
        with pytest.raises(UsageError, match="nas") as caught:
            argv(Remote(host="nas", directory=directory), Mode.READ)
        assert str(caught.value).isprintable()


class TestTheCommandThere:
    @settings(max_examples=20)
    @given(commands=st.lists(COMMANDS, min_size=1, max_size=30))
    def test_reaches_the_shell_as_it_was_split(self, commands: list[list[str]]) -> None:
        remotes = [
            Remote(host="nas", directory="/", remote_command=shlex.join(words))
            for words in commands
        ]
        seen = read_by_sh([words_behind_host(argv(remote, Mode.READ)) for remote in remotes])
        assert seen == [[*words, "--server", "--mode", "r", "/"] for words in commands]

    @pytest.mark.parametrize("command", ["", "  ", "''", "'unbalanced", "end\\", "-n buttersink"])
    def test_is_refused_if_it_names_no_program(self, command: str) -> None:
        with pytest.raises(UsageError, match="--remote-command"):
            argv(Remote(host="nas", directory="/", remote_command=command), Mode.READ)


class TestTheCommandHere:
    @pytest.mark.parametrize("command", ["", "  ", "''", 'ssh "-F', "ssh\0"])
    def test_is_refused_if_it_names_no_program(self, command: str) -> None:
        with pytest.raises(UsageError, match="--ssh-command"):
            argv(Remote(host="nas", directory="/", ssh_command=command), Mode.READ)

    @pytest.mark.parametrize(
        ("user", "host"),
        [(None, "-oProxyCommand=id"), ("-l", "nas"), ("fred", "-nas"), (None, ""), (None, "a\0")],
    )
    def test_takes_no_name_for_an_option(self, user: str | None, host: str) -> None:
        with pytest.raises(UsageError, match="no host"):
            argv(Remote(host=host, user=user, directory="/"), Mode.READ)

    @pytest.mark.skipif(shutil.which("ssh") is None, reason="OpenSSH is not installed")
    @pytest.mark.parametrize("host", ["nas.example", "192.0.2.7", "2001:db8::7", "fe80::1%lo"])
    def test_is_read_by_openssh_as_it_is_meant(self, host: str) -> None:
        remote = Remote(host=host, user="fred", port=4422, directory="/", ssh_command="ssh -F none")
        words = argv(remote, Mode.READ)
        words.insert(1, "-G")
        run = subprocess.run(words, capture_output=True, check=True, encoding="utf-8")
        shown = run.stdout.splitlines()
        assert {f"hostname {host}", "user fred", "port 4422", "requesttty false"} <= set(shown)
