"""What is kept on this machine about buckets: locks between runs, and journals of uploads."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from buttersink.errors import BusyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE_SECONDS: Final = 3.0
_POLL_SECONDS: Final = 0.1


class LocalState:
    """A directory of small files, named by hashes of what they are about.

    Args:
        directory: Its path; made when it is first needed.
        shelf: What tells this bucket from others, whatever their services.
    """

    def __init__(self, directory: str, shelf: str) -> None:
        self._directory = directory
        self._shelf = shelf

    def journal_path(self, key: str) -> str:
        """Return the path of the file for the record of an upload to `key`."""
        return self._path(key, "upload")

    @contextmanager
    def lock(self, prefix: str, name: str) -> Iterator[None]:
        """Keep away other runs on this machine that work below `prefix`, or on what is around.

        Args:
            prefix: What the keys begin with.
            name: What to call it in an error.

        Raises:
            BusyError: Another run is at work there.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        with ExitStack() as held:
            # Shared locks on the prefixes around this one meet the exclusive one of a run that
            # works on all of them.
            for around in _prefixes_around(prefix):
                self._lock_one(held, around, fcntl.LOCK_SH, deadline, name)
            self._lock_one(held, prefix, fcntl.LOCK_EX, deadline, name)
            yield

    def _lock_one(
        self, held: ExitStack, prefix: str, kind: int, deadline: float, name: str
    ) -> None:
        path = self._path(prefix, "lock")
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(path, error) from error
        held.callback(os.close, fd)
        while True:
            try:
                fcntl.flock(fd, kind | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise BusyError(
                        f"another run is at work on {name}", "wait until it has ended"
                    ) from error
                time.sleep(_POLL_SECONDS)
            except OSError as error:
                raise _unusable(path, error) from error
            else:
                return

    def _path(self, about: str, kind: str) -> str:
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
        except OSError as error:
            raise _unusable(self._directory, error) from error
        text = f"{self._shelf}\0{about}".encode(errors="surrogateescape")
        return os.path.join(self._directory, f"s3-{hashlib.sha256(text).hexdigest()[:32]}.{kind}")


def _prefixes_around(prefix: str) -> list[str]:
    """Return the directories that a prefix lies in, from the whole bucket down.

    >>> _prefixes_around("a/b/")
    ['', 'a/']
    """
    ends = [0] + [place + 1 for place, character in enumerate(prefix) if character == "/"]
    return [prefix[:end] for end in ends if end < len(prefix)]


def _unusable(path: str, error: OSError) -> UsageError:
    return UsageError(
        f"{path} can't be used for locks and journals: {os.strerror(error.errno or 0)}",
        "name another directory for the state",
    )
