"""What a user is told, by what ssh, sudo and the shell on the other host said.

The texts are those of OpenSSH 9.2, sudo 1.9.13 and dash 0.5 on Debian 12, unless it is said
otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from buttersink.stores.ssh.diagnosis import Ending, diagnose
from buttersink.stores.ssh.faults import MEANINGS, Fault

NAS = Remote(host="nas", user="fred", port=4422, directory="/bak/a/")


class Case(NamedTuple):
    """What was left behind, and what of it a user must find in the message and in the hint."""

    name: str
    status: int | None
    said: str
    kind: type[ButterSinkError]
    message: str
    hint: str = ""
    strays: str = ""


def told(ending: Ending, remote: Remote = NAS, sudo_user: str | None = None) -> ButterSinkError:
    return diagnose(ending, remote, Mode.READ, doing="listing snapshots", sudo_user=sudo_user)


def told_in(case: Case) -> ButterSinkError:
    lines = case.said.splitlines()
    return told(Ending(status=case.status, said=lines, strays=case.strays.encode()))


CHANGED = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Someone could be eavesdropping on you right now (man-in-the-middle attack)!
It is also possible that a host key has just been changed.
The fingerprint for the ED25519 key sent by the remote host is
SHA256:qYg3UabcWaVs95G2asW6Rw/eBWNKfRPUp4xJk720AP0.
Please contact your system administrator.
Add correct host key in /root/.ssh/known_hosts to get rid of this message.
Offending ED25519 key in /root/.ssh/known_hosts:1
  remove with:
  ssh-keygen -f "/root/.ssh/known_hosts" -R "[nas]:4422"
Host key for [nas]:4422 has changed and you have requested strict checking.
Host key verification failed."""
OPEN_KEY = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
Permissions 0644 for 'key' are too open.
It is required that your private key files are NOT accessible by others.
This private key will be ignored.
Load key "key": bad permissions
fred@nas: Permission denied (publickey)."""
JUMP = """\
ssh: connect to host gate port 22: Connection refused
kex_exchange_identification: Connection closed by remote host
Connection closed by UNKNOWN port 65535"""
UNKNOWN_OPTION = """\
unknown option -- Z
usage: ssh [-46AaCfGgKkMNnqsTtVvXxYy] [-B bind_interface]
           [-b bind_address] [-c cipher_spec] [-D [bind_address:]port]"""
PASSWORD = """\
sudo: a terminal is required to read the password; either use the -S option to read from \
standard input or configure an askpass helper
sudo: a password is required"""
NO_PRIVILEGES = """\
sudo: The "no new privileges" flag is set, which prevents sudo from running as root.
sudo: If sudo is running in a container, you may need to adjust the container configuration to \
disable the flag."""
SUDO_USAGE = """\
sudo: unrecognized option '--foo'
usage: sudo -h | -K | -k | -V
usage: sudo -v [-ABkNnS] [-g group] [-h host] [-p prompt] [-u user]"""
NO_MODULE = """\
Traceback (most recent call last):
  File "/usr/local/bin/buttersink", line 5, in <module>
    from buttersink.cli import main
ModuleNotFoundError: No module named 'buttersink'"""
NO_DISTRIBUTION = """\
Traceback (most recent call last):
  File "/usr/local/bin/buttersink", line 4, in <module>
    __import__('pkg_resources').require('buttersink==0.6.9')
pkg_resources.DistributionNotFound: The 'psutil' distribution was not found"""
CRASH = """\
Traceback (most recent call last):
  File "/usr/local/lib/buttersink/session.py", line 7, in run
    answer()
RuntimeError: deque mutated during iteration"""

SSH_CASES = [
    Case("a key that is not authorised", 255, "fred@nas: Permission denied (publickey).",
         NotPermittedError, "Permission denied (publickey)", "try ssh -T -p 4422 fred@nas true"),
    Case("a key that is not there", 255, "Warning: Identity file nothere not accessible: No such "
         "file or directory.\nfred@nas: Permission denied (publickey).",
         NotPermittedError, "Identity file nothere not accessible"),
    Case("a key that all may read", 255, OPEN_KEY,
         NotPermittedError, "Permissions 0644 for 'key' are too open"),
    Case("too many keys", 255, "Received disconnect from 192.0.2.7 port 4422:2: Too many "
         "authentication failures\nDisconnected from 192.0.2.7 port 4422",
         NotPermittedError, "Too many authentication failures"),
    Case("another host key", 255, CHANGED, NotPermittedError,
         "Offending ED25519 key in /root/.ssh/known_hosts:1", "ssh-keygen -R [nas]:4422"),
    Case("an unknown host key", 255, "No ED25519 host key is known for [nas]:4422 and you have "
         "requested strict checking.\nHost key verification failed.",
         NotPermittedError, "No ED25519 host key is known", "ssh -T -p 4422 fred@nas"),
    Case("an unknown host key without a terminal", 255, "Host key verification failed.",
         NotPermittedError, "Host key verification failed", "by hand"),
    Case("an unknown host", 255, "ssh: Could not resolve hostname nas: Name or service not known",
         UnavailableError, "Could not resolve hostname nas", "is nas spelt right"),
    Case("no name server", 255,
         "ssh: Could not resolve hostname nas: Temporary failure in name resolution",
         UnavailableError, "Temporary failure in name resolution"),
    Case("a wrong port", 255, "ssh: connect to host nas port 4422: Connection refused",
         UnavailableError, "Connection refused", "ssh://nas:2222/path/"),
    Case("no network", 255, "ssh: connect to host nas port 4422: Network is unreachable",
         UnavailableError, "Network is unreachable"),
    Case("no route", 255, "ssh: connect to host nas port 4422: No route to host",
         UnavailableError, "No route to host"),
    Case("no answer", 255, "ssh: connect to host nas port 4422: Connection timed out",
         UnavailableError, "Connection timed out"),
    Case("no greeting", 255, "Connection timed out during banner exchange\n"
         "Connection to 192.0.2.7 port 4422 timed out",
         UnavailableError, "timed out during banner exchange"),
    Case("a reset", 255, "kex_exchange_identification: read: Connection reset by peer\n"
         "Connection reset by 192.0.2.7 port 4422", UnavailableError, "reset by peer"),
    Case("a closed door", 255, "kex_exchange_identification: Connection closed by remote host\n"
         "Connection closed by 192.0.2.7 port 4422", UnavailableError, "closed by remote host"),
    Case("a host between that is down", 255, JUMP, UnavailableError, "connect to host gate"),
    Case("a proxy that is missing", 255, "/bin/bash: line 1: exec: nosuchprog: not found\n"
         "kex_exchange_identification: Connection closed by remote host\n"
         "Connection closed by UNKNOWN port 65535",
         UsageError, "exec: nosuchprog: not found", "--ssh-command"),
    Case("a session that sshd ended", 255, "Connection to nas closed by remote host.",
         UnavailableError, "the connection was lost: Connection to nas closed by remote host"),
    Case("a session that broke", 255, "client_loop: send disconnect: Broken pipe",
         UnavailableError, "Broken pipe"),
    Case("a session that stalled", 255, "Timeout, server nas not responding.",
         UnavailableError, "not responding"),
    Case("no common algorithm", 255, "Unable to negotiate with 192.0.2.7 port 4422: no matching "
         "host key type found. Their offer: ssh-rsa,ssh-dss",
         TransferError, "no matching host key type", "upgrade"),
    Case("a port of something else", 255, "kex_exchange_identification: banner line contains "
         "invalid characters\nbanner exchange: Connection to 192.0.2.7 port 443: invalid format",
         TransferError, "no sshd", "port"),
    Case("a name that ssh refuses", 255, "hostname contains invalid characters",
         UsageError, "hostname contains invalid characters"),
    Case("an unknown option", 255, UNKNOWN_OPTION, UsageError, "unknown option -- Z"),
    Case("a bad option", 255, "command-line: line 0: Bad configuration option: foo",
         UsageError, "Bad configuration option: foo"),
    Case("a missing configuration", 255,
         "Can't open user config file /nonexist: No such file or directory",
         UsageError, "Can't open user config file /nonexist", "--ssh-command"),
    Case("another command in the configuration", 255,
         "Cannot execute command-line and remote command.", UsageError, "Cannot execute"),
    Case("something new", 255, "first\nsecond\nthird\nfourth", TransferError,
         "ssh gave up: second; third; fourth", "try ssh -T"),
    Case("nothing", 255, "", UnavailableError, "without a word", "-q"),
    Case("a kill", -9, "", UnavailableError, "ssh was killed by SIGKILL", "run again"),
    Case("an odd kill", -77, "", UnavailableError, "ssh was killed by signal 77"),
]  # fmt: skip

SUDO_CASES = [
    Case("a password", 1, PASSWORD, NotPermittedError, "a terminal is required to read the",
         "a NOPASSWD line for exactly buttersink --server --mode r /bak/a/"),
    Case("a password, with -n", 1, "sudo: a password is required", NotPermittedError,
         "sudo: a password is required", "docs/server-security.md"),
    Case("a password, with -S", 1, "[sudo] password for nobody: \nsudo: no password was provided\n"
         "sudo: a password is required", NotPermittedError, "no password was provided"),
    Case("a password, in sudo 1.8", 1, "sudo: no tty present and no askpass program specified",
         NotPermittedError, "no tty present", "NOPASSWD"),
    Case("a password, in sudo-rs", 1, "sudo: interactive authentication is required",
         NotPermittedError, "authentication is required", "NOPASSWD"),
    Case("a password, while sudo does not end", None, "sudo: a password is required",
         NotPermittedError, "sudo there wants a password", "NOPASSWD"),
    Case("a terminal", 1, "sudo: sorry, you must have a tty to run sudo",
         NotPermittedError, "you must have a tty", "requiretty"),
    Case("a user who is not listed", 1, "nobody is not in the sudoers file.",
         NotPermittedError, "nobody is not in the sudoers file", "NOPASSWD"),
    Case("a command that is not listed", 1, "Sorry, user nobody is not allowed to execute "
         "'/usr/local/bin/buttersink --server --mode w /bak/a/' as root on nas.",
         NotPermittedError, "is not allowed to execute", "NOPASSWD"),
    Case("a host that is not listed", 1, "nobody is not allowed to run sudo on nas.",
         NotPermittedError, "not allowed to run sudo"),
    Case("no account", 1, "sudo: you do not exist in the passwd database",
         NotPermittedError, "passwd database"),
    Case("no privileges", 1, NO_PRIVILEGES, NotPermittedError, "no new privileges"),
    Case("a bad option", 1, SUDO_USAGE, UsageError, "unrecognized option", "--remote-command"),
    Case("no program", 1, "sudo: unable to resolve host nas: Name or service not known\n"
         "sudo: buttersink: command not found", MissingError,
         "buttersink was not found there: sudo: buttersink: command not found",
         "--remote-command"),
]  # fmt: skip

REMOTE_CASES = [
    Case("no sudo, says dash", 127, "sh: 1: sudo: not found",
         MissingError, "sudo was not found there: sh: 1: sudo: not found", "as root"),
    Case("no sudo, says bash", 127, "bash: line 1: sudo: command not found",
         MissingError, "bash: line 1: sudo: command not found"),
    Case("no sudo, says nobody", 127, "", MissingError, "sudo was not found there"),
    Case("a program that can't be run", 126, "sh: 1: /opt/buttersink: Permission denied",
         NotPermittedError, "/opt/buttersink: Permission denied", "install"),
    Case("a script without its Python", 126, "bash: line 1: /usr/local/bin/buttersink: "
         "/usr/bin/python3.9: bad interpreter: No such file or directory",
         TransferError, "bad interpreter", "install"),
    Case("no package", 1, NO_MODULE, TransferError,
         "is broken: ModuleNotFoundError: No module named 'buttersink'", "install"),
    Case("no module", 1, "/usr/bin/python3: No module named buttersink",
         TransferError, "is broken: /usr/bin/python3: No module", "install"),
    Case("no distribution", 1, NO_DISTRIBUTION, TransferError, "'psutil' distribution", "install"),
    Case("a crash", 1, CRASH, TransferError,
         "broke down there, by a fault of its own: RuntimeError: deque mutated"),
    Case("wrong arguments", 2, "buttersink server: the server can't be started with '--server': "
         "it does not end in --server --mode r|a|w /path/to/directory/",
         UsageError, "the server can't be started"),
    Case("an early version", 2, "usage: buttersink [-h] [-n]\nbuttersink: error: unrecognized "
         "arguments: --server", UsageError, "unrecognized arguments", "upgrade"),
    Case("a key for another directory", 1, "buttersink server: this key is for buttersink in "
         "'/bak/b/' only; 'x' was refused, as it does not end in --server",
         NotPermittedError, "for buttersink in '/bak/b/' only", "authorized_keys"),
    Case("a server that gave up", 1, "buttersink server: the client speaks another version "
         "(upgrade the older side)", TransferError, "the client speaks another version"),
    Case("a server that has waited in vain", 1, "buttersink server: the client has gone: nothing "
         "has come for 60 seconds", UnavailableError, "the server heard nothing from here: "
         "buttersink server: the client has gone: nothing has come", "run again"),
    Case("a killed server", 137, "bash: line 1: 24372 Killed   buttersink", UnavailableError,
         "the server was killed by SIGKILL: bash: line 1: 24372 Killed"),
    Case("an odd status", 77, "what?", TransferError, "status 77: what?"),
    Case("an odd status, without a word", 77, "", TransferError, "status 77"),
    Case("a good end that came too soon", 0, "", TransferError, "gone without a word"),
    Case("no shell", 1, "", NotPermittedError, "This account is currently not available",
         "forced command", "This account is currently not available.\n"),
    Case("no shell but files", 1, "", NotPermittedError, "sftp connections only",
         "forced command", "This service allows sftp connections only.\n"),
    Case("a shell that greets", 0, "", ProtocolError, "Good morning, fred",
         "~/.bashrc", "\nGood morning, fred!\nYou have mail.\n"),
    Case("a shell that greets and does not end", None, "", ProtocolError, "Good morning",
         "startup files", "Good morning\n"),
    Case("a shell that greets, and sudo", 1, PASSWORD, NotPermittedError, "password",
         "NOPASSWD", "Good morning\n"),
    Case("ButterSink 0.6.9", 0, "S|version 0.6.9", ProtocolError, "older than version 1",
         "upgrade it there", '{"traceback": "...", "command": "buttersink", "server": true, '
         '"errorType": "KeyError", "error": "buttersink"}\n'),
]  # fmt: skip

ALL_CASES = [*SSH_CASES, *SUDO_CASES, *REMOTE_CASES]


@pytest.mark.parametrize("case", SSH_CASES, ids=lambda case: case.name)
def test_what_ssh_says_is_passed_on_with_advice(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", SUDO_CASES, ids=lambda case: case.name)
def test_what_sudo_wants_is_told(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", REMOTE_CASES, ids=lambda case: case.name)
def test_what_is_wrong_on_the_other_host_is_told(case: Case) -> None:
    check(case)


def check(case: Case) -> None:
    error = told_in(case)
    assert type(error) is case.kind
    assert error.message.startswith("fred@nas: listing snapshots: ")
    assert case.message in error.message
    assert case.hint in error.hint


def test_every_fault_has_a_meaning_and_a_case() -> None:
    begun = {told_in(case).message.split(": ")[2] for case in ALL_CASES}
    fields = {"program": "sudo", "signal": "SIGKILL", "status": "77"}
    assert set(MEANINGS) == set(Fault)
    assert {meaning.what.format_map(fields) for meaning in MEANINGS.values()} <= begun


def test_an_address_is_advised_as_it_is_written_in_an_end() -> None:
    ending = Ending(status=255, said=["ssh: connect to host ::1 port 22: Connection refused"])
    assert "ssh://[::1]:2222/" in told(ending, Remote(host="::1", directory="/")).hint


class TestUnderSudo:
    """ssh runs as root then, and looks for its configuration and keys in root's home."""

    @pytest.mark.parametrize(
        "said",
        [
            "fred@nas: Permission denied (publickey).",
            "Host key verification failed.",
            "ssh: Could not resolve hostname nas: Name or service not known",
        ],
    )
    def test_the_users_own_configuration_is_advised(self, said: str) -> None:
        error = told(Ending(status=255, said=[said]), sudo_user="eve")
        assert "--ssh-command 'ssh -F /home/eve/.ssh/config -i /home/eve/.ssh/" in error.hint

    def test_other_advice_stays(self) -> None:
        ending = Ending(status=255, said=["ssh: connect to host nas port 22: Connection refused"])
        assert told(ending, sudo_user="eve").hint == told(ending).hint


class TestWhatWasSeenFromHere:
    def see(self, ending: Ending, seen: ButterSinkError) -> ButterSinkError:
        return diagnose(ending, NAS, Mode.READ, doing="sending", seen=seen)

    @pytest.mark.parametrize("kind", [UnavailableError, ProtocolError, TransferError])
    @pytest.mark.parametrize("status", [0, None])
    def test_is_told_if_ssh_knows_nothing(
        self, kind: type[ButterSinkError], status: int | None
    ) -> None:
        error = self.see(Ending(status=status), kind("it broke", "mend it"))
        assert type(error) is kind
        assert str(error) == "fred@nas: sending: it broke (mend it)"

    def test_goes_with_what_else_was_said(self) -> None:
        error = self.see(Ending(status=0, said=["by the way"]), UnavailableError("it broke"))
        assert error.message == "fred@nas: sending: it broke: by the way"

    def test_gives_way_to_a_better_explanation(self) -> None:
        ending = Ending(status=255, said=["Timeout, server nas not responding."])
        assert "not responding" in self.see(ending, ProtocolError("it broke")).message


class TestOnlyTheNetwork:
    def test_may_be_tried_again(self) -> None:
        network = {case.name for case in ALL_CASES if case.kind is UnavailableError}
        again = {case.name for case in ALL_CASES if isinstance(told_in(case), UnavailableError)}
        assert again == network

    @pytest.mark.parametrize("status", [1, 2, 126, 127])
    def test_is_not_blamed_for_words_of_the_other_side(self, status: int) -> None:
        said = ["ssh: connect to host other port 22: Connection refused", "Broken pipe"]
        assert not isinstance(told(Ending(status=status, said=said)), UnavailableError)


class TestAnyText:
    LINES = st.text(max_size=30) | st.sampled_from(
        [line for case in ALL_CASES for line in case.said.splitlines()]
    )

    @given(
        status=st.none() | st.integers(-64, 255),
        said=st.lists(LINES, max_size=6),
        strays=st.binary(max_size=40),
        directory=st.text(st.characters(exclude_characters="\0"), max_size=9).filter(
            lambda text: ".." not in text
        ),
    )
    def test_becomes_one_printable_line(
        self, status: int | None, said: list[str], strays: bytes, directory: str
    ) -> None:
        remote = Remote(host="nas", directory=f"/{directory}")
        error = told(Ending(status=status, said=said, strays=strays), remote)
        assert error.message.startswith("nas: listing snapshots: ")
        assert str(error).isprintable()

    def test_is_cut_to_a_length_that_can_be_read(self) -> None:
        error = told(Ending(status=1, said=["x" * 5000] * 40))
        assert len(error.message) < 1100

    def test_with_control_characters_is_shown_harmless(self) -> None:
        error = told(Ending(status=255, said=["\x1b]0;owned\x07 Permission denied (\u202e)"]))
        assert r"\x1b]0;owned\x07 Permission denied (\u202e)" in error.message
