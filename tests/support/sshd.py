"""A real sshd on the loopback interface, with throw-away keys and a configuration of its own.

Nothing of the machine's or the user's own ssh is read or changed.
"""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from support.far_programs import far_path, make_far_programs
from support.processes import processes, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from support.processes import Process

_HOST_ALIAS: Final = "buttersink-test"
_PRIVILEGE_SEPARATION: Final = "/run/sshd"
"""Debian's sshd wants it, empty; it is made at boot, which a container may never have had."""
_TRIES: Final = 5

_SERVER: Final = """\
{first}
Port {port}
{addresses}
HostKey "{directory}/host_key"
AuthorizedKeysFile "{directory}/authorized_keys"
PidFile none
StrictModes no
UsePAM {pam}
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PermitUserRC no
MaxStartups 100
MaxSessions 100
PrintMotd no
LogLevel VERBOSE
SetEnv "PATH={path}" "HOME={home}"
"""
# HOME is elsewhere because Debian's bash reads ~/.bashrc when sshd starts it.

_CLIENT: Final = """\
Host *
    User {user}
    HostKeyAlias {alias}
    UserKnownHostsFile "{directory}/known_hosts"
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    UpdateHostKeys no
    IdentityFile "{directory}/user_key"
    IdentitiesOnly yes
    IdentityAgent none
    PreferredAuthentications publickey
    BatchMode yes
    ControlMaster no
    ControlPath none
    LogLevel ERROR
"""


@dataclass(frozen=True, slots=True)
class Sshd:
    """A running sshd.

    Attributes:
        port: Where it listens, at 127.0.0.1 and, if there is such a thing, at ::1.
        user: Who may log in: whoever runs the tests.
        directory: Holds all its files; `bin` in it is searched first for programs, and holds
            `buttersink`, which is this checkout's, and `sudo`, which allows everything.
        ssh_command: What to give to --ssh-command. It works for any address and port by which the
            server can be reached, also through a proxy. Further options may be appended, and win.
        pid: Of its main process.
    """

    port: int
    user: str
    directory: Path
    ssh_command: str
    pid: int

    @property
    def programs(self) -> Path:
        """The directory that is searched first for programs."""
        return self.directory / "bin"

    def url(self, path: str | os.PathLike[str], *, host: str = "127.0.0.1", port: int = 0) -> str:
        """Return the end `path` on this server, by way of a proxy if `port` is that of one.

        An IPv6 address as `host` stands in brackets.
        """
        return f"ssh://{self.user}@{host}:{port or self.port}{os.fspath(path)}"

    def authorize(self, *options: str) -> None:
        """Let the key of the tests in, with these options in front of it, such as `restrict`.

        From the next connection on; without options it may do everything, as in the beginning.
        """
        key = (self.directory / "user_key.pub").read_text(encoding="ascii")
        line = f"{','.join(options)} {key}".lstrip()
        draft = self.directory / ".authorized_keys"
        draft.write_text(line, encoding="utf-8", errors="surrogateescape")
        draft.rename(self.directory / "authorized_keys")

    def far_side(self) -> list[Process]:
        """Return the processes of its connections: sshd's own, and what was started by them."""
        return _descendants(self.pid)

    def log(self) -> str:
        """Return what it has logged."""
        return (self.directory / "log").read_text(encoding="utf-8", errors="backslashreplace")


def forced(command: str) -> str:
    """Return the option for `authorize` that runs this command whatever is asked for.

    The command finds what was asked for in SSH_ORIGINAL_COMMAND.
    """
    quoted = command.replace('"', '\\"')
    return f'command="{quoted}"'


@contextmanager
def sshd(*lines: str) -> Iterator[Sshd]:
    """Run a sshd from entering the block to leaving it, with all its connections.

    Args:
        lines: Of sshd_config; they take precedence over the others.

    Raises:
        OSError: It did not start, or isn't installed.
    """
    if os.geteuid() == 0:
        os.makedirs(_PRIVILEGE_SEPARATION, mode=0o755, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="buttersink-sshd-") as name:
        directory = Path(name)
        user = getpass.getuser()
        ssh_command = _prepare(directory, user)
        process, port = _start(directory, lines)
        try:
            server = Sshd(port, user, directory, ssh_command, process.pid)
            server.authorize()
            yield server
        except BaseException as error:
            error.add_note(
                (directory / "log").read_text(encoding="utf-8", errors="replace")[-4000:]
            )
            raise
        finally:
            _end(process)


def _prepare(directory: Path, user: str) -> str:
    """Make the files that don't depend on the port; return the command of the client."""
    make_far_programs(directory)
    (directory / "home").mkdir()
    for key in ("host_key", "user_key"):
        subprocess.run(
            [
                _program("ssh-keygen"),
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                "",
                "-f",
                directory / key,
            ],
            check=True,
            stdin=subprocess.DEVNULL,
        )
    host_key = (directory / "host_key.pub").read_text(encoding="ascii")
    (directory / "known_hosts").write_text(f"{_HOST_ALIAS} {host_key}", encoding="ascii")
    config = directory / "ssh_config"
    text = _CLIENT.format(alias=_HOST_ALIAS, directory=directory, user=user)
    config.write_text(text, encoding="utf-8")
    return shlex.join([_program("ssh"), "-F", str(config)])


def _start(directory: Path, lines: Sequence[str]) -> tuple[subprocess.Popen[bytes], int]:
    """Start it; return its process and its port."""
    addresses = [address for address in ("127.0.0.1", "::1") if _exists(address)]
    config, log = directory / "sshd_config", directory / "log"
    for _ in range(_TRIES):  # somebody else may take the port in between
        port = _free_port()
        text = _SERVER.format(
            first="\n".join(lines),
            port=port,
            addresses="\n".join(f"ListenAddress {address}" for address in addresses),
            directory=directory,
            pam="yes" if _is_locked() else "no",
            path=far_path(directory / "bin"),
            home=directory / "home",
        )
        config.write_text(text, encoding="utf-8", errors="surrogateescape")
        with log.open("wb") as output:
            process = subprocess.Popen(
                # By its whole path: it executes itself anew for each connection.
                [_program("sshd"), "-D", "-e", "-f", config],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            if _listens(process, log, [f"on {address} port {port}." for address in addresses]):
                return process, port
        except BaseException:
            _end(process)
            raise
        _end(process)
    raise OSError(f"sshd did not start: {log.read_text(encoding='utf-8', errors='replace')}")


def _listens(process: subprocess.Popen[bytes], log: Path, addresses: Sequence[str]) -> bool:
    """Wait until it accepts connections everywhere; tell whether it does."""

    def listening() -> bool:
        text = log.read_text(encoding="utf-8", errors="replace")
        return all(f"Server listening {address}" in text for address in addresses)

    def failed() -> bool:
        return process.poll() is not None or b"Bind to port" in log.read_bytes()

    wait_until(lambda: failed() or listening(), "sshd listened")
    return not failed()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and its connections, which are in sessions of their own.

    What a connection had started may be a process of nobody by now. It then has only pipes that
    nobody holds any more, and is expected to end because of that.
    """
    if process.poll() is not None:
        return
    stopped = {process.pid}
    process.send_signal(signal.SIGSTOP)
    while found := {each.pid for each in _descendants(process.pid)} - stopped:
        _signal(found, signal.SIGSTOP)  # or else one might start another while its parent is killed
        stopped |= found
    _signal(stopped, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not stopped & {each.pid for each in processes()}, "they had ended")


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _descendants(pid: int) -> list[Process]:
    """Return the processes that a process has started, and those that they have, and so on."""
    found: list[Process] = []
    everyone = processes()
    parents = {pid}
    while parents:
        children = [process for process in everyone if process.parent in parents]
        found += children
        parents = {process.pid for process in children}
    return found


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin")
    if found is None:
        raise FileNotFoundError(f"{name}: apt-get install openssh-server")
    return found


def _exists(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with suppress(OSError), socket.socket(family) as sock:
        sock.bind((address, 0))
        return True
    return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _is_locked() -> bool:
    """Tell whether the account is locked, so that sshd lets it in only by way of PAM."""
    with suppress(OSError):
        for line in Path("/etc/shadow").read_text(encoding="utf-8").splitlines():
            user, password, *_ = line.split(":")
            if user == getpass.getuser():
                return password.startswith("!")
    return False
