"""The program that receives streams, as a child process: see `btrfs.hosting`, its other side.

When everything is loaded, it waits to be asked for receivers: each is a copy of it (fork) that
receives one stream, and ends. A receiver is told where to work; from then on that is all that it
can reach of any file system, and it has only the privileges that this takes.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from buttersink.btrfs import privileges
from buttersink.btrfs.applying.receiver import CommandFailedError, Receiver
from buttersink.btrfs.confinement import confine
from buttersink.btrfs.control import Control, ControlEndedError
from buttersink.errors import ButterSinkError, NotPermittedError

if TYPE_CHECKING:
    from collections.abc import Sequence

NEEDED: Final = (
    privileges.CAP_CHOWN,
    privileges.CAP_DAC_OVERRIDE,  # files that nobody may write, and directories nobody may enter
    privileges.CAP_FOWNER,
    privileges.CAP_FSETID,  # set-group-id bits of other groups, and those of what is written to
    privileges.CAP_LINUX_IMMUTABLE,
    privileges.CAP_MKNOD,
    privileges.CAP_SETFCAP,
    privileges.CAP_SYS_ADMIN,  # extents as they are on disk, attributes trusted.* and security.*
)
"""The capabilities that applying a stream takes."""

_OF_SYSTEM: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
    | {errno.EPERM, errno.EACCES}
)
"""What the system is to blame for, and not where we began. What can't be read (EIO) may be that."""

_CHILD: Final = 0


def main() -> None:
    """Make receivers, until the other side has gone; the argument is the descriptor of it."""
    # What ends a run ends us by and by: what has come is to be kept before.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    host = Control(socket.socket(fileno=int(sys.argv[1])))
    # It keeps directories open, of each snapshot that it clones from.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    while True:
        try:
            _, fds = host.hear()
            _make(host, fds)
        except ControlEndedError:
            return


def _make(host: Control, fds: Sequence[int]) -> None:
    """Make a receiver that reads its stream from the first descriptor, and obeys the second."""
    stream_fd, control_fd = fds
    pid = os.fork()
    if pid == _CHILD:
        host.close()
        _receive(Control(socket.socket(fileno=control_fd)), stream_fd)
    os.close(stream_fd)
    os.close(control_fd)
    # It can't be mistaken for another process: its number is free only when it is waited for.
    process_fd = os.pidfd_open(pid)
    try:
        host.say("made", fds=[process_fd])
    finally:
        os.close(process_fd)
    while _wait_for_any():
        pass


def _wait_for_any() -> bool:
    """Let go of a receiver that has ended, if there is one."""
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def _receive(control: Control, stream_fd: int) -> NoReturn:
    """Receive one stream, and end."""
    status = 1
    try:
        _report(control, stream_fd)
        status = 0
    except ControlEndedError:
        pass  # there is nobody to tell anything
    finally:
        os._exit(status)


def _report(control: Control, stream_fd: int) -> None:
    """Receive one stream; say what goes wrong."""
    try:
        job, (directory_fd,) = control.hear()
        os.umask(0)
        # From now on, the directories in which modules are looked for are the stream's own.
        sys.meta_path.clear()
        root_fd = _shut_in(directory_fd)
        Receiver(control, stream_fd, root_fd, job).run()
    except ControlEndedError:
        raise
    except ButterSinkError as error:
        name = type(error).__name__
        control.say("failed", error=name, message=error.message, hint=error.hint)
    except CommandFailedError as error:
        control.say("failed", error="OSError", message=error.strerror, errno=error.errno)
    except OSError as error:
        said = error.strerror or str(error)
        of = f" ({os.fsdecode(error.filename)})" if error.filename else ""
        message = f"the receiver could not begin or end: {said}{of}"
        number = error.errno or 0
        control.say(
            "failed",
            error="TransferError",
            message=message,
            errno=number,
            gave_up=number not in _OF_SYSTEM,
        )
    except MemoryError:
        control.say("failed", error="TransferError", message="out of memory")
    except Exception as error:  # noqa: BLE001 - a bug; whoever waits shall hear of it
        message = f"the receiver failed with {type(error).__name__}: {error}"
        control.say("failed", error="TransferError", message=message, gave_up=True)


def _shut_in(directory_fd: int) -> int:
    """Give up all but one directory, and the privileges that are needed; return its descriptor.

    Raises:
        NotPermittedError: That is not possible here, and nothing is received without it.
    """
    try:
        confine(directory_fd)
        os.close(directory_fd)
        root_fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        privileges.keep_only(NEEDED)
    except OSError as error:
        raise NotPermittedError(
            f"the receiver can't be confined to the subvolume that it makes: {error.strerror}",
            "run as root; it takes CAP_SYS_ADMIN, CAP_SYS_CHROOT and a mount namespace",
        ) from error
    return root_fd
