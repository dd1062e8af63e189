"""A directory that streams are received in, and what must not be touched by them."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import stat
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from buttersink.model import Diff, StreamOptions
from buttersink.receiving import Pace
from buttersink.stores.btrfs import BtrfsStore
from support.hostile_streams import VERSION
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import LoopFs, run, scratch_root
from support.streams import captured, with_commands
from support.subvolume_facts import identity
from support.tree import assert_same_tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from buttersink.model import Partial
    from buttersink.store import Writer

OPTIONS = StreamOptions(version=VERSION)
LONG = 300_000
"""Bytes of the largest file that the increment adds."""
CLOSE = Pace(nbytes=1 << 16)
"""Checkpoints close together."""


class Fact(NamedTuple):
    """All that a thing is: whoever changes anything of it changes its ctime as well."""

    inode: tuple[int, int]
    mode: int
    links: int
    owner: tuple[int, int]
    size: int
    device: int
    mtime_ns: int
    ctime_ns: int
    xattrs: tuple[tuple[str, bytes], ...]
    content: bytes


Facts = dict[str, Fact | str]
"""By path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostileWorld:
    """Two file systems.

    Attributes:
        source: Where the snapshots of the honest sender are: `1` and `2`.
        fs: Where streams are received. It has a directory `dst` with the snapshot `1` and another
            one, `other`, that may be cloned from, and a writable subvolume; and, outside of
            `dst`, a snapshot `secret` and a directory `canary`.
        temporary: A directory in /tmp, with the same as the canary.
        disk: A block device, and the file that it is made of.
        first: Identity of `1`; likewise the others.
        increment: The honest stream that makes `2` of `1`, of version 3.
    """

    source: Path
    fs: LoopFs
    temporary: Path
    disk: tuple[Path, Path]
    first: UUID
    second: UUID
    other: UUID
    secret: UUID
    increment: bytes

    @property
    def directory(self) -> Path:
        """Where streams are received."""
        return self.fs.path / "dst"

    @property
    def diff(self) -> Diff:
        """What the honest stream is."""
        return Diff(self.second, self.first)

    @property
    def disk_number(self) -> int:
        """The number of the block device as streams have it."""
        number = os.stat(self.disk[0]).st_rdev
        minor = os.minor(number)
        return (minor & 0xFF) | os.major(number) << 8 | (minor & ~0xFF) << 12

    def store(self, pace: Pace | None = None) -> BtrfsStore:
        """Open the directory, for a run of its own."""
        made = BtrfsStore(f"{self.directory}/", pace=pace or Pace())
        made.inventory()
        return made

    @contextmanager
    def receiving(self, *, pace: Pace | None = None, fresh: bool = False) -> Iterator[Writer]:
        """Receive a stream as `new`."""
        store = self.store(pace)
        try:
            with store.receive(self.diff, "new", OPTIONS, fresh=fresh) as writer:
                yield writer
        finally:
            store.close()

    def receive(self, stream: bytes, *, pace: Pace | None = None) -> None:
        """Receive a whole stream as `new`."""
        with self.receiving(pace=pace) as writer:
            writer.write(memoryview(stream))

    def with_harm(self, *commands: bytes) -> bytes:
        """Return the honest stream with commands before its END."""
        return with_commands(self.increment, VERSION, commands)

    def leftovers(self) -> tuple[Partial, ...]:
        """Return what a later run would find."""
        store = self.store()
        try:
            return store.inventory().partials
        finally:
            store.close()

    def assert_nothing_left(self) -> None:
        """Check that there is no trace of what was received."""
        left = self.leftovers()
        assert not left, left
        names = sorted(os.listdir(self.directory))
        assert names == ["1", "other", "work"], names

    def clear(self) -> None:
        """Delete what should not be there, for the sake of the next test."""
        for name in set(os.listdir(self.directory)) - {"1", "other", "work"}:
            if name.endswith(".part"):
                for path in (self.directory / name).iterdir():
                    if path.is_dir():
                        run("btrfs", "subvolume", "delete", path)
            run("btrfs", "subvolume", "delete", self.directory / name)

    def assert_arrived(self) -> None:
        """Check that `new` is what the honest sender has, and delete it."""
        assert_same_tree(self.source / "2", self.directory / "new")
        self.delete()

    def delete(self) -> None:
        """Delete what has arrived; nothing is left."""
        run("btrfs", "subvolume", "delete", "--commit-after", self.directory / "new")
        self.assert_nothing_left()

    def assert_can_arrive(self) -> None:
        """Check that the honest stream can be received."""
        self.receive(self.increment)
        self.assert_arrived()

    def facts(self) -> Facts:
        """Return all that no stream may touch."""
        found: Facts = {}
        for top in (self.fs.path, self.temporary):
            found |= _facts_below(top)
        found["disk"] = hashlib.sha256(self.disk[1].read_bytes()).hexdigest()
        run("btrfs", "filesystem", "sync", self.fs.path)
        for line in run("btrfs", "subvolume", "list", "-pcguqR", self.fs.path).splitlines():
            # Its generation grows as a copy of it is made.
            copied = re.sub(r" gen \d+ ", " ", line) if line.endswith("dst/1") else line
            found[f"subvolume {line.rpartition(' path ')[2]}"] = copied
        # Names come and go in the one while something is received. That of the other was the
        # last of several, of which the kernel keeps the times only as long as it is in memory.
        for path in (self.directory, self.directory / "1"):
            fact = found[os.fspath(path)]
            assert isinstance(fact, Fact)
            found[os.fspath(path)] = fact._replace(mtime_ns=0, ctime_ns=0)
        return found


@contextmanager
def hostile_world() -> Iterator[HostileWorld]:
    """Make one; it is for many tests, each of which has to leave it as it was."""
    with ExitStack() as stack:
        scratch = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="buttersink-test-", dir=scratch_root())
        )
        temporary = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="buttersink-test-", dir="/tmp"))
        )
        source_fs, fs = (
            stack.enter_context(LoopFs.create(scratch, mount_options="noatime", label=label))
            for label in ("source", "target")
        )
        image = Path(scratch, "disk")
        image.write_bytes(b"precious" * (1 << 15))
        device = Path(run("losetup", "--find", "--show", image).strip())
        stack.callback(run, "losetup", "--detach", device)
        first, second = _make_source(source_fs.path, fs.path, temporary, device)
        (fs.path / "dst").mkdir()
        other, secret = _make_target(fs.path)
        for directory in (fs.path / "canary", temporary / "canary"):
            _make_canary(directory)
        source = BtrfsStore(f"{source_fs.path}/")
        target = BtrfsStore(f"{fs.path}/dst/")
        stack.callback(source.close)
        stack.callback(target.close)
        source.inventory()
        target.inventory()
        with target.receive(Diff(first), "1", OPTIONS) as writer:
            writer.write(memoryview(captured(source, Diff(first), StreamOptions(version=2))))
        stream = captured(source, Diff(second, first), StreamOptions(version=2))
        yield HostileWorld(
            source=source_fs.path,
            fs=fs,
            temporary=temporary,
            disk=(device, image),
            first=first,
            second=second,
            other=other,
            secret=secret,
            increment=with_commands(stream, VERSION, []),
        )


def _make_source(top: Path, target: Path, temporary: Path, device: Path) -> tuple[UUID, UUID]:
    live = top / "live"
    create_subvolume(live)
    for name in ("file", "log", "moved"):
        (live / name).write_bytes(name.encode() * 4096)
    for name in ("dir", "empty"):
        (live / name).mkdir()
    (live / "dir" / "file").write_bytes(b"inner" * 4096)
    os.mkfifo(live / "fifo")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.fspath(live / "socket"))
    os.mknod(live / "disk", stat.S_IFBLK | 0o600, os.stat(device).st_rdev)
    (live / "absolute").symlink_to(temporary / "canary")
    (live / "relative").symlink_to("../../../canary")
    (live / "to-file").symlink_to(target / "canary" / "file")
    snapshot_read_only(live, top / "1")
    (live / "large").write_bytes(os.urandom(LONG))
    (live / "log").write_bytes(b"another line")
    (live / "moved").rename(live / "dir" / "moved")
    snapshot_read_only(live, top / "2")
    one, two = (UUID(identity(top / name)) for name in "12")
    return one, two


def _make_target(top: Path) -> tuple[UUID, UUID]:
    work = top / "dst" / "work"
    create_subvolume(work)
    (work / "file").write_bytes(b"work" * 4096)
    (work / "dir").mkdir()
    (work / "way-out").symlink_to("../../canary")
    (work / "to-file").symlink_to("file")
    os.mkfifo(work / "fifo")
    snapshot_read_only(work, top / "dst" / "other")
    snapshot_read_only(work, top / "secret")
    return UUID(identity(top / "dst" / "other")), UUID(identity(top / "secret"))


def _make_canary(directory: Path) -> None:
    directory.mkdir()
    (directory / "file").write_bytes(b"precious" * 1024)
    (directory / "file").chmod(0o640)
    os.setxattr(directory / "file", "trusted.was", b"there")
    (directory / "empty").mkdir()


def _facts_below(top: Path) -> Iterable[tuple[str, Fact]]:
    pending = [os.fspath(top)]
    found: list[tuple[str, Fact]] = []
    while pending:
        path = pending.pop()
        found.append((path, _fact(path)))
        if stat.S_ISDIR(os.lstat(path).st_mode):
            pending += [os.path.join(path, name) for name in os.listdir(path)]
    return found


def _fact(path: str) -> Fact:
    facts = os.lstat(path)
    content = b""
    if stat.S_ISREG(facts.st_mode):
        content = hashlib.sha256(Path(path).read_bytes()).digest()
    elif stat.S_ISLNK(facts.st_mode):
        content = os.fsencode(os.readlink(path))
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return Fact(
        inode=(facts.st_dev, facts.st_ino),
        mode=facts.st_mode,
        links=facts.st_nlink,
        owner=(facts.st_uid, facts.st_gid),
        size=facts.st_size,
        device=facts.st_rdev,
        mtime_ns=facts.st_mtime_ns,
        ctime_ns=facts.st_ctime_ns,
        xattrs=tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names),
        content=content,
    )


def assert_untouched(world: HostileWorld, before: Facts) -> None:
    """Fail, naming what differs, unless everything is what it was."""
    after = world.facts()
    lines = [
        f"{path}: {before.get(path)} -> {after.get(path)}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]
    assert not lines, "\n  ".join(["something was changed:", *lines])
