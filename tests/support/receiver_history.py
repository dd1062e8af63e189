"""Histories for receivers: snapshots that share data, stand still, go back, or are locked."""

from __future__ import annotations

import os
import stat
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.attribute_changes import set_acl, set_capability
from support.history import History
from support.kernel_calls import CLONE_BLOCK, clone, clone_range, unless_invalid
from support.live import Kind, Live
from support.loopfs import run
from support.name_changes import make_deep_tree
from support.receiver_flags import PINS, Flags, get_flags, set_flags
from support.subvolume_facts import snapshot_writable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.live import Entry
    from support.loopfs import LoopFs

_STILL = 0.1
"""How often a snapshot is the same as the one before."""
_BACK = 0.15
"""How often the subvolume has been rolled back before a snapshot, and went another way."""
_PINNED = 0.3
"""How often a snapshot has files that can't be changed."""
_HARMLESS = (
    Flags.NOATIME,
    Flags.NODUMP,
    Flags.SYNC,
    Flags.DIRSYNC,
    Flags.COMPR,
    Flags.NOCOMP,
    Flags.NOCOW,
)
_SET_IDS = stat.S_ISUID | stat.S_ISGID
_NO_ID = (1 << 32) - 1
_DEFAULT_ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, permissions, identity)
    for tag, permissions, identity in (
        (1, 7, _NO_ID),
        (2, 5, 1000),
        (4, 5, _NO_ID),
        (16, 7, _NO_ID),
        (32, 0, _NO_ID),
    )
)
"""user::rwx, user:1000:r-x, group::r-x, mask::rwx, other::---; see linux/posix_acl_xattr.h."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where a history takes place.

    Attributes:
        name: For reports.
        source: Mount options of the source's file system.
        destination: Likewise of the receivers'.
        top_inherits: Whether the top directory has a default ACL and a compression property,
            which `btrfs receive` lets everything inherit that a stream makes.
    """

    name: str
    source: str = ""
    destination: str = ""
    top_inherits: bool = False


SETTINGS = (
    Setting(name="plain"),
    Setting(name="zstd", source="compress=zstd"),
    Setting(name="lzo", source="compress=lzo", destination="compress=zstd"),
    Setting(name="zlib", source="compress=zlib"),
    Setting(name="force", source="compress-force=zstd", destination="compress=lzo"),
    Setting(name="nodatacow", source="nodatacow", destination="nodatacow"),
    Setting(name="top", source="compress=zstd", top_inherits=True),
)


class ReceiverHistory(History):
    """A history that makes its snapshots itself, 0, 1, ... in `snaps` beside the subvolume.

    Attributes:
        snapshots: Those so far, oldest first.
    """

    def __init__(self, seed: int, fs: LoopFs, *, top_inherits: bool = False) -> None:
        """Start `live` on an empty file system."""
        more = (
            (2, self._clone_from_snapshot),
            (2, self._clone_part_from_snapshot),
            (1, self._create_again),
            (1.5, _set_harmless_flag),
            # Rare otherwise, for what is given in a hundred steps.
            (3, set_acl),
            (1, set_capability),
            (1, make_deep_tree),
            (0.7, _give_away),
        )
        super().__init__(seed, fs.path / "live", more=more)
        self.snapshots: list[Path] = []
        self._files: list[bytes] = []
        """Where the snapshots have files; paths from the file system's top."""
        self._directory = fs.path / "snaps"
        self._directory.mkdir()
        self._top_inherits = top_inherits

    def make_snapshots(self, count: int, *, steps: int) -> None:
        """Make `count` more snapshots, with about `steps` changes before each."""
        for _ in range(count):
            chance = self._rng.random()
            if self.snapshots and chance < _BACK:
                self._go_back(self._rng.choice(self.snapshots))
            if not self.snapshots or chance < 1 - _STILL:
                self.step(self._rng.randint(steps // 2, steps * 3 // 2))
            if self._top_inherits and len(self.snapshots) == 1:
                # Not from the start, so that some of what is in it has not inherited anything.
                os.setxattr(self.live, "system.posix_acl_default", _DEFAULT_ACL)
                os.setxattr(self.live, "btrfs.compression", b"zlib")
            with self._pinned():
                self._take()

    def take_empty(self) -> None:
        """Make a snapshot before anything was changed."""
        if self.log:
            raise ValueError("the history has begun")
        self._take()

    def _take(self) -> None:
        path = self.snapshot(self._directory / str(len(self.snapshots)))
        self.snapshots.append(path)
        files = [e.path for e in self._state.root.walk() if e.kind is Kind.FILE]
        self._files += [os.path.join(os.fsencode(path), file) for file in files]

    def _go_back(self, snapshot: Path) -> None:
        """Let the subvolume be as in a snapshot; inode numbers are then given a second time."""
        run("btrfs", "--quiet", "subvolume", "delete", self.live)
        snapshot_writable(snapshot, self.live)
        self._state = _known(self.live, self._state)
        for path in self._state.root.walk():
            _unpin(self._state, path)

    @contextmanager
    def _pinned(self) -> Iterator[None]:
        """Let some files and directories be immutable or append-only for a while."""
        pinned: list[Entry] = []
        if self._rng.random() < _PINNED:
            drawn = [self._state.draw(Kind.FILE, Kind.DIRECTORY) for _ in range(4)]
            pinned = list(dict.fromkeys(entry for entry in drawn if entry))
        for entry in pinned:
            path = self._state.path(entry)
            with unless_invalid():  # btrfs reports combinations of flags that it does not take
                set_flags(path, get_flags(path) | self._rng.choice(tuple(PINS)))
        yield
        for entry in pinned:
            _unpin(self._state, entry)

    def _clone_from_snapshot(self, live: Live) -> bool:
        """Reflink a whole file of a snapshot to a new one."""
        place = live.draw_place()
        if not self._files or place is None:
            return False
        path = live.path_in(*place)
        with (
            open(live.rng.choice(self._files), "rb") as source,
            open(path, "xb") as file,
            unless_invalid(),  # it is between files with and without checksums
        ):
            clone(source.fileno(), file.fileno())
        live.add(*place, Kind.FILE)
        return True

    def _clone_part_from_snapshot(self, live: Live) -> bool:
        """Reflink a range of a file of a snapshot into a file."""
        entry = live.draw(Kind.FILE)
        if not self._files or entry is None:
            return False
        with (
            open(live.rng.choice(self._files), "rb") as source,
            open(live.path(entry), "r+b") as file,
            unless_invalid(),
        ):
            blocks = os.fstat(source.fileno()).st_size // CLONE_BLOCK
            if not blocks:
                return False
            start = live.rng.randrange(blocks)
            clone_range(
                source.fileno(),
                file.fileno(),
                source_offset=start * CLONE_BLOCK,
                length=live.rng.randint(1, min(blocks - start, 64)) * CLONE_BLOCK,
                offset=live.rng.randint(0, os.fstat(file.fileno()).st_size // CLONE_BLOCK + 2)
                * CLONE_BLOCK,
            )
        return True

    def _create_again(self, live: Live) -> bool:
        """Delete a file and make another under the same name."""
        entry = live.draw(Kind.FILE)
        if entry is None:
            return False
        path, place = live.path(entry), (entry.directory, entry.name)
        os.unlink(path)
        live.remove(entry)
        with open(path, "xb") as file:
            file.write(live.data.draw(live.rng.choice((0, 100, 5000, 200_000))))
        live.add(*place, Kind.FILE)
        return True


def _give_away(live: Live) -> bool:
    """Change the owner of a program with set-user-id or set-group-id, and leave it so."""
    drawn = [live.draw(Kind.FILE) for _ in range(8)]
    paths = [live.path(entry) for entry in drawn if entry]
    if not paths:
        return False
    modes = {path: stat.S_IMODE(os.stat(path).st_mode) for path in paths}
    path = next((path for path in paths if modes[path] & _SET_IDS), paths[0])
    mode = modes[path] if modes[path] & _SET_IDS else 0o6755
    os.chown(path, live.rng.randrange(5), live.rng.randrange(5))
    os.chmod(path, mode)
    return True


def _set_harmless_flag(live: Live) -> bool:
    """Set or clear a flag that keeps nobody from changing the file."""
    entry = live.draw(Kind.FILE, Kind.DIRECTORY)
    if entry is None:
        return False
    path = live.path(entry)
    with unless_invalid():  # some exclude each other, or want an empty file
        set_flags(path, get_flags(path) ^ live.rng.choice(_HARMLESS))
    return True


def _unpin(live: Live, entry: Entry) -> None:
    if entry.kind in (Kind.FILE, Kind.DIRECTORY):
        path = live.path(entry)
        flags = get_flags(path)
        if flags & PINS:
            set_flags(path, flags & ~PINS)


def _known(top: Path, before: Live) -> Live:
    """Return what is known of a subvolume that was changed behind a history's back."""
    live = Live(os.fsencode(top), before.rng)
    pending = [live.root]
    while pending:
        directory = pending.pop()
        for name in sorted(os.listdir(live.path(directory))):
            mode = os.lstat(live.path_in(directory, name)).st_mode
            entry = live.add(directory, name, _kind(mode))
            if entry.kind is Kind.DIRECTORY:
                pending.append(entry)
    return live


def _kind(mode: int) -> Kind:
    kinds = {stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFREG: Kind.FILE, stat.S_IFLNK: Kind.SYMLINK}
    return kinds.get(stat.S_IFMT(mode), Kind.SPECIAL)
