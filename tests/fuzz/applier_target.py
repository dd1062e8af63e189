"""Send streams that mean harm, and are applied, as by a receiver, to a directory in memory.

Their checksums are made right before, as those of a hostile stream are; or they are composed of
commands that have the right form. A tmpfs can do much of
what btrfs can, and what it can't is an error of the kernel like any other. What lies beside the
directory must stay what it is, whatever a stream says.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import stat
import tempfile
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from buttersink.btrfs.applying.applier import Applier, Pending
from buttersink.errors import ButterSinkError, MissingError
from buttersink.stream.decoding import After, Decoder
from buttersink.stream.format import HEADER_SIZE
from buttersink.stream.guard import Expectation, StreamGuard
from fuzz.composing import composed
from fuzz.guard_target import with_right_checksums
from fuzz.parts import FuzzInput
from support.memory_mount import memory_mount
from support.stream_samples import PARENT, REAL_FULL_UUID, REAL_INCREMENT_UUID, TO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from buttersink.stream.commands import Commands

# What the bits of an input's options mean
INCREMENTAL: Final = 1
RESUMED: Final = 2
COMPOSED: Final = 4
LENIENT: Final = 8
"""What can't be applied is passed over: a receiver stops there, but more is tried so."""
VERSION_SHIFT: Final = 4
"""The newest version that is taken, less 1, is in two bits from here on."""

_TO: Final = frozenset({TO, REAL_FULL_UUID, REAL_INCREMENT_UUID})
_PARENTS: Final = frozenset({PARENT, REAL_FULL_UUID})

_LARGER_PARTS: Final = 64
"""By what parts of a stream are larger that was composed: it is much longer than the input."""

_ROOM: Final = 8 << 20
"""Bytes that fit into the directory, or into a file there if it is not on a tmpfs of its own."""
_INODES: Final = 4096
_FILE_BYTES: Final = 8192
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def take(raw: bytes) -> None:
    """Take a stream, and look at what has been touched."""
    given = FuzzInput.decode(raw)
    version = 1 + (given.options >> VERSION_SHIFT & 3)
    incremental = bool(given.options & INCREMENTAL)
    if given.options & COMPOSED:
        stream = composed(given.data, version, incremental=incremental)
        given = given._replace(data=stream, part_bytes=given.part_bytes * _LARGER_PARTS)
    else:
        given = given._replace(data=with_right_checksums(given.data))
    parents = _PARENTS if incremental else None
    expectation = Expectation(to=_TO, parents=parents, max_version=version)
    open_fds = os.listdir("/proc/self/fd")
    here = os.stat(".")
    with _place() as top_fd:
        secret = os.urandom(16)
        _furnish(top_fd, secret, incremental=incremental)
        before = _picture(top_fd)
        root_fd = os.open("root", _DIRECTORY, dir_fd=top_fd)
        parent_fd = os.open("parent", _DIRECTORY, dir_fd=top_fd)
        try:
            receiving = _Receiving(given, expectation, root_fd, parent_fd)
            whole = receiving.run()
        finally:
            os.close(parent_fd)
            os.close(root_fd)
        assert _picture(top_fd) == before
        assert not any(secret in content for content in _contents(top_fd))
    assert os.path.samestat(os.stat("."), here)
    assert os.listdir("/proc/self/fd") == open_fds
    if whole:
        _check_with_guard(given.data, expectation, whole)


class _Whole(NamedTuple):
    """What a decoder told of a stream that it took to the end."""

    plain_bytes: int


class _Receiving:
    """What a receiver does, with none of the walls around it."""

    def __init__(
        self, given: FuzzInput, expectation: Expectation, root_fd: int, parent_fd: int
    ) -> None:
        self._given = given
        self._expectation = expectation
        self._root_fd = root_fd
        self._parent_fd = parent_fd

    def run(self) -> _Whole | None:
        """Apply the stream; return None if that fails, or it has no end."""
        try:
            with _umask(0):
                return self._apply()
        except ButterSinkError as error:
            said = str(error)
        except OSError as error:
            said = os.strerror(error.errno or 0)
        assert said
        assert "\n" not in said
        return None

    def _apply(self) -> _Whole | None:
        applier = self._applier(None)
        try:
            decoder = self._decoder(applier, None)
            resumed = not self._given.options & RESUMED
            unread = bytearray()
            for part in self._given.parts():
                unread += part
                _take(decoder, unread)
                if not resumed and decoder.nbytes > HEADER_SIZE and not decoder.ended:
                    resumed = True
                    pending = Pending.from_json(json.loads(json.dumps(applier.pending().as_json())))
                    applier.close()
                    applier = self._applier(pending)
                    decoder = self._decoder(applier, decoder)
            if not decoder.ended:
                return None
            applier.finish()
            return _Whole(decoder.plain_bytes)
        finally:
            applier.close()

    def _applier(self, pending: Pending | None) -> Applier:
        return Applier(
            self._root_fd,
            own=_TO,
            sources=self._source,
            pending=pending,
            incremental=self._expectation.parents is not None,
        )

    def _decoder(self, applier: Applier, earlier: Decoder | None) -> Decoder:
        after = None
        if earlier is not None:
            after = After(
                version=earlier.version,
                nbytes=earlier.nbytes,
                plain_bytes=earlier.plain_bytes,
                ctransid=earlier.ctransid,
            )
        commands: Commands = applier
        if self._given.options & LENIENT:
            commands = cast("Commands", _Lenient(applier))
        return Decoder(self._expectation, commands, after=after)

    def _source(self, uuid: UUID) -> int:
        if uuid not in _PARENTS:
            raise MissingError(f"there is no {uuid}")
        return self._parent_fd


class _Lenient:
    """Has commands applied, and passes over those that can't be."""

    def __init__(self, applier: Applier) -> None:
        self._applier = applier

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Return what tries a command."""
        method: Callable[..., None] = getattr(self._applier, name)

        def attempt(*args: object, **kwargs: object) -> None:
            with suppress(OSError, ButterSinkError):
                method(*args, **kwargs)

        return attempt


def _take(decoder: Decoder, unread: bytearray) -> None:
    """Give a decoder what it has not taken yet; once it has failed, it takes no more."""
    with memoryview(unread) as view:
        try:
            taken = decoder.take(view)
        except Exception as error:
            with suppress(type(error)):
                decoder.take(view)
                raise AssertionError("it goes on after an error") from error
            raise
        assert taken <= len(unread)
    del unread[:taken]


def _check_with_guard(stream: bytes, expectation: Expectation, whole: _Whole) -> None:
    """Check that nothing was applied that a guard would not let through."""
    guard = StreamGuard(expectation)
    for _ in guard.push(memoryview(stream)):
        pass
    guard.finish()
    assert guard.plain_bytes == whole.plain_bytes


# Where it happens


@contextmanager
def _place() -> Iterator[int]:
    """Give a directory in which there is nothing, and little room."""
    try:
        fd = memory_mount(nbytes=_ROOM, inodes=_INODES)
    except PermissionError:
        with _ordinary_place() as ordinary_fd:
            yield ordinary_fd
        return
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _ordinary_place() -> Iterator[int]:
    """Give a directory to who may neither mount nor make device nodes."""
    directory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = tempfile.mkdtemp(prefix="buttersink-fuzz-", dir=directory)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    fd = os.open(path, _DIRECTORY)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (_ROOM, limits[1]))
        yield fd
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        os.close(fd)
        shutil.rmtree(path, onerror=_let_in)


def _let_in(remove: Callable[..., object], path: str, _error: object) -> None:
    """Remove what a stream has taken the permissions of."""
    for each in (os.path.dirname(path), path):
        if not os.path.islink(each):
            os.chmod(each, stat.S_IRWXU)
    if remove in {os.rmdir, os.unlink}:
        remove(path)
    else:
        shutil.rmtree(path, onerror=_let_in)


def _furnish(top_fd: int, secret: bytes, *, incremental: bool) -> None:
    """Make what must be neither touched nor read, and the directory that a stream is applied to."""
    _make_file(top_fd, "canary", secret)
    os.mkdir("outside", 0o700, dir_fd=top_fd)
    _make_file(top_fd, "outside/file", secret)
    os.mkdir("parent", 0o700, dir_fd=top_fd)
    _make_tree(top_fd, "parent")
    os.mkdir("root", 0o755, dir_fd=top_fd)
    if incremental:
        _make_tree(top_fd, "root")


def _make_tree(top_fd: int, name: str) -> None:
    """Make what is in the parent, and in the copy of it."""
    os.mkdir(f"{name}/dir", 0o700, dir_fd=top_fd)
    os.mkdir(f"{name}/empty", 0o700, dir_fd=top_fd)
    for each in ("file", "old", "copy", "o257-7-0", "dir/file", "dir/other"):
        _make_file(top_fd, f"{name}/{each}", b"precious")
    os.symlink("../outside", f"{name}/out", dir_fd=top_fd)
    os.symlink("../canary", f"{name}/dir/up", dir_fd=top_fd)
    os.mkfifo(f"{name}/fifo", dir_fd=top_fd)


def _make_file(top_fd: int, name: str, content: bytes) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=top_fd)
    try:
        os.write(fd, content * (_FILE_BYTES // len(content)))
    finally:
        os.close(fd)


def _picture(top_fd: int) -> list[tuple[object, ...]]:
    """Return all that there is beside the directory that a stream is applied to."""
    found: list[tuple[object, ...]] = []
    pending = [b"."]
    while pending:
        path = pending.pop()
        facts = os.stat(path, dir_fd=top_fd, follow_symlinks=False)
        mode = facts.st_mode
        times = (facts.st_mtime_ns, facts.st_ctime_ns)
        owner = (facts.st_uid, facts.st_gid)
        content: object = None
        if stat.S_ISDIR(mode):
            fd = os.open(path, _DIRECTORY, dir_fd=top_fd)
            try:
                names = sorted(map(os.fsencode, os.listdir(fd)))
            finally:
                os.close(fd)
            content = names
            pending += [path + b"/" + name for name in names if path + b"/" + name != b"./root"]
        elif stat.S_ISREG(mode):
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top_fd)
            try:
                content = os.read(fd, facts.st_size + 1), os.listxattr(fd)
            finally:
                os.close(fd)
        elif stat.S_ISLNK(mode):
            content = os.readlink(path, dir_fd=top_fd)
        found.append((path, mode, owner, facts.st_ino, facts.st_nlink, times, content))
    return found


def _contents(top_fd: int) -> Iterator[bytes]:
    """Yield what files have that a stream has made or written to, as far as there are copies."""
    for _, _, names, directory_fd in os.fwalk("root", dir_fd=top_fd):
        for name in map(os.fsencode, names):
            if stat.S_ISREG(os.stat(name, dir_fd=directory_fd, follow_symlinks=False).st_mode):
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                with suppress(PermissionError):  # of who is not root
                    fd = os.open(name, flags, dir_fd=directory_fd)
                    try:
                        yield os.read(fd, 2 * _FILE_BYTES)
                    finally:
                        os.close(fd)


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
