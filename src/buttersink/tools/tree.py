"""Walking a tree: from a directory to the entries of its manifest, in bounded memory.

Only the names in the directories between the top and the current one are held, the files that are
about to be hashed, and one path for each group of hard links that is not complete yet.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Protocol

from buttersink.errors import ButterSinkError
from buttersink.tools.manifest import TOP, Entry, escape

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

_CHUNK_BYTES = 1 << 20
_BATCH_BYTES = 1 << 20
_BATCH_ENTRIES = 16
"""With two batches for each thread, this bounds the number of files that are open at once."""
_TYPES = {
    stat.S_IFDIR: "dir",
    stat.S_IFREG: "file",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}
_HINTS = {
    errno.EACCES: "run it as root",
    errno.EPERM: "run it as root",
    errno.EIO: "the file system or its disk is damaged: see the kernel's log",
    errno.EMFILE: "raise the limit of open files, as with ulimit -n",
}
_CHANGES = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENODATA, errno.ESTALE)
"""What the kernel answers when something that was just there is gone, or is something else."""


class UnreadableError(ButterSinkError):
    """Something in the tree is not there, could not be read, or changed meanwhile."""


class Advance(Protocol):
    """Is told of progress, from several threads at once."""

    def __call__(self, *, files: int, nbytes: int) -> None:
        """So many more files and bytes are hashed."""


def scan(
    directory: str,
    *,
    jobs: int = 1,
    advance: Advance | None = None,
    left_out: Callable[[bytes], object] | None = None,
) -> Generator[Entry]:
    """Yield the entries of the tree in `directory`, in the order of a manifest.

    Args:
        directory: It may be a symbolic link; those inside it are never followed.
        jobs: Number of threads that hash files.
        advance: Is told of progress.
        left_out: Is given the path of each directory inside that lies on another device: nested
            subvolumes (or what stands for them in a snapshot) and mount points.

    Raises:
        UnreadableError: Something is not there, could not be read, or changed meanwhile.
    """
    walk = _Walk(directory, left_out)
    stop = threading.Event()
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="hash")
    window: deque[tuple[_Batch, Future[list[Entry]]]] = deque()
    try:
        with closing(_batches(walk.visits())) as batches:
            for batch in batches:
                window.append((batch, pool.submit(batch.finish, walk.root, stop, advance)))
                if len(window) > 2 * jobs:
                    yield from window.popleft()[1].result()
        while window:
            yield from window.popleft()[1].result()
    finally:
        stop.set()
        for batch, future in window:
            if future.cancel():
                batch.close()
        pool.shutdown()
        walk.close()


@dataclass(frozen=True, slots=True)
class _File:
    """A regular file that is open for hashing, and what lstat said before."""

    descriptor: int
    status: os.stat_result


_Visit = tuple[Entry, _File | None]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Entries that go to a thread together: handing over costs more than hashing a small file."""

    visits: list[_Visit] = field(default_factory=list)

    def finish(self, root: bytes, stop: threading.Event, advance: Advance | None) -> list[Entry]:
        """Hash and close the files, and return the entries with all their fields."""
        entries = []
        try:
            for entry, file in self.visits:
                try:
                    sha256 = _sha256(file, stop, advance) if file else None
                except OSError as error:
                    raise _unreadable(root, entry.path, error) from error
                entries.append(replace(entry, sha256=sha256) if sha256 else entry)
        finally:
            self.close()
        return entries

    def close(self) -> None:
        """Close the files."""
        for _, file in self.visits:
            if file:
                os.close(file.descriptor)


def _batches(visits: Iterable[_Visit]) -> Generator[_Batch]:
    """Put visits together; who takes a batch must finish or close it."""
    batch, nbytes = _Batch(), 0
    try:
        for entry, file in visits:
            batch.visits.append((entry, file))
            nbytes += entry.size or 0
            if len(batch.visits) == _BATCH_ENTRIES or nbytes >= _BATCH_BYTES:
                full, batch, nbytes = batch, _Batch(), 0
                yield full
        full, batch = batch, _Batch()
        yield full
    finally:
        batch.close()


@dataclass(frozen=True, slots=True)
class _Level:
    """A directory on the way from the top to the one that is open.

    Attributes:
        identity: Device and inode number, to know it again.
        names: A heap of what is to be visited: NAME is an entry, NAME/ a directory's contents.
        prefix: Length of its path, with the slash.
    """

    identity: tuple[int, int]
    names: list[bytes]
    prefix: int


class _Walk:
    """Visits a tree in the order of its paths with one directory open, however deep it is.

    The way up opens `..` and makes sure that this is where it came from. So neither the length
    of paths nor the number of descriptors limits the depth.
    """

    def __init__(self, directory: str, left_out: Callable[[bytes], object] | None) -> None:
        self.root = os.fsencode(directory)
        self._left_out = left_out
        self._path = bytearray()
        self._levels: list[_Level] = []
        self._links: dict[tuple[int, int], tuple[bytes, int]] = {}
        try:
            self._here = _open(self.root, os.O_DIRECTORY)
        except OSError as error:
            raise _unreadable(self.root, TOP, error) from error

    def close(self) -> None:
        """Close the directory that is open."""
        os.close(self._here)

    def visits(self) -> Iterator[_Visit]:
        """Yield every entry, those of files that are to be hashed with the open file."""
        try:
            yield replace(self._entry(TOP, os.fstat(self._here)), mtime=None), None
            self._levels.append(self._level())
            while self._levels:
                if visit := self._step(self._levels[-1]):
                    yield visit
        except OSError as error:
            raise _unreadable(self.root, bytes(self._path) or TOP, error) from error

    def _step(self, level: _Level) -> _Visit | None:
        """Visit what is next in `level`, or go down or up."""
        del self._path[level.prefix :]
        if not level.names:
            self._levels.pop()
            if self._levels:
                self._move(b"..")
                if _identity(os.fstat(self._here)) != self._levels[-1].identity:
                    raise _changed()
            return None
        name = heappop(level.names)
        self._path += name
        if name.endswith(b"/"):
            self._move(name[:-1])
            self._levels.append(self._level())
            if self._levels[-1].identity[0] != level.identity[0]:
                raise _changed()
            return None
        status = os.stat(name, dir_fd=self._here, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            if status.st_dev != level.identity[0]:
                if self._left_out:
                    self._left_out(bytes(self._path))
                return None
            heappush(level.names, name + b"/")
        entry = self._entry(name, status)
        if entry.type != "file" or entry.link is not None:
            return entry, None
        return entry, _File(_open(name, os.O_NOFOLLOW, self._here), status)

    def _move(self, name: bytes) -> None:
        """Open the directory `name` in place of the one that is open."""
        left, self._here = self._here, _open(name, os.O_DIRECTORY | os.O_NOFOLLOW, self._here)
        os.close(left)

    def _level(self) -> _Level:
        """Return what is to be visited in the directory that is open."""
        names = [os.fsencode(name) for name in os.listdir(self._here)]
        heapify(names)
        return _Level(_identity(os.fstat(self._here)), names, len(self._path))

    def _entry(self, name: bytes, status: os.stat_result) -> Entry:
        """Return the entry of `name` in the open directory, without the hash."""
        kind = _TYPES[stat.S_IFMT(status.st_mode)]
        device = kind in ("char", "block")
        return Entry(
            path=bytes(self._path) or TOP,
            type=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            size=status.st_size if kind == "file" else None,
            mtime=status.st_mtime_ns,
            target=os.readlink(name, dir_fd=self._here) if kind == "symlink" else None,
            device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if device else None,
            link=self._link(status) if kind != "dir" else None,
            xattrs=_xattrs(b"/proc/self/fd/%d/%s" % (self._here, name)),
        )

    def _link(self, status: os.stat_result) -> bytes | None:
        """Return the path under which this inode came before, if it did."""
        if status.st_nlink == 1:
            return None
        first, coming = self._links.pop(_identity(status), (None, status.st_nlink))
        if coming > 1:  # forgotten after the last link, so that memory is for open groups only
            self._links[_identity(status)] = (first or bytes(self._path), coming - 1)
        return first


def _sha256(file: _File, stop: threading.Event, advance: Advance | None) -> str:
    """Return the hash of a file's data, or of some part of it once nobody waits any more.

    Raises:
        OSError: It could not be read, or changed since it was looked at.
    """
    digest = hashlib.sha256()
    size, done = file.status.st_size, 0
    _same(file)
    # One byte more than is left is asked for, so that a file which grew is found out.
    while data := os.read(file.descriptor, min(_CHUNK_BYTES, size - done + 1)):
        digest.update(data)
        done += len(data)
        if advance:
            advance(files=0, nbytes=len(data))
        if stop.is_set() or done > size:
            break
    _same(file)
    if done != size:
        raise _changed()
    if advance:
        advance(files=1, nbytes=0)
    return digest.hexdigest()


def _same(file: _File) -> None:
    """Make sure that the open file is what lstat described.

    Raises:
        OSError: It is not.
    """
    now, before = os.fstat(file.descriptor), file.status
    if (_identity(now), stat.S_IFMT(now.st_mode), now.st_size, now.st_mtime_ns) != (
        _identity(before),
        stat.S_IFMT(before.st_mode),
        before.st_size,
        before.st_mtime_ns,
    ):
        raise _changed()


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _open(name: bytes, flags: int, directory: int | None = None) -> int:
    """Open `name` in `directory` for reading, if possible without a trace.

    O_NONBLOCK is for a fifo that has taken the place of a file since it was looked at.
    """
    flags |= os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=directory)
    except PermissionError:  # O_NOATIME is for the owner and root only
        return os.open(name, flags, dir_fd=directory)


def _xattrs(path: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Return the extended attributes of `path`, sorted by name, without those of btrfs itself.

    The `btrfs.` namespace says how data is stored (compression). What a receive creates takes it
    over from the directory it is created in, so that source and copy differ with no fault.
    """
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return ()
        raise
    if not names:
        return ()
    raw = sorted(os.fsencode(name) for name in names)
    return tuple(
        (name, os.getxattr(path, name, follow_symlinks=False))
        for name in raw
        if not name.startswith(b"btrfs.")
    )


def _changed() -> OSError:
    """Return the error for what is not what it was a moment ago."""
    return OSError(errno.ESTALE, "it changed while it was read")


def _unreadable(root: bytes, path: bytes, error: OSError) -> UnreadableError:
    """Return the error to show for `error`, which concerned `path` in the tree `root`."""
    name = os.fsdecode(root)
    if path != TOP:
        name = os.path.join(name, escape(path.rstrip(b"/")))
    reason = error.strerror or str(error)
    if path != TOP and error.errno in _CHANGES:
        hint = "it must not change meanwhile; take a read-only snapshot and use that"
    else:
        hint = _HINTS.get(error.errno or 0, "")
    return UnreadableError(f"cannot read {name}: {reason}", hint)
