"""A history to sync, and ends of every kind to sync it between."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from support.history import History
from support.kernel_calls import snapshot_read_only
from support.stored_ends import BucketEnd, DirectoryEnd, End, SubvolumeEnd
from support.subvolume_facts import snapshot_writable

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeFs
    from support.loopfs import LoopFs
    from support.s3_servers import S3Server
    from support.ssh_ends import Shell

MIB = 1 << 20


class Origin:
    """A file system with a random history, in two directories.

    Attributes:
        end: Its snapshots.
        snapshots: Where each is, by its relative path.
    """

    def __init__(self, fs: LoopFs, *, seed: int = 3) -> None:
        (fs.path / "snaps" / "home").mkdir(parents=True)
        self.end = SubvolumeEnd(fs.path / "snaps")
        self.snapshots: dict[str, Path] = {}
        self._history = History(seed, fs.path / "live")
        # So much stays the same that a diff is always cheaper.
        (fs.path / "live" / "ballast").write_bytes(Random(seed).randbytes(2 * MIB))

    def add(self, *paths: str, steps: int = 40) -> None:
        """Let the history go on, with a snapshot after so many steps."""
        for path in paths:
            self._history.step(steps)
            self.snapshots[path] = self._history.snapshot(self.end.path / path)


class Ends:
    """Makes ends.

    Args:
        scratch: Directory for those that are none on btrfs.
        make_fs: What makes file systems for the others.
        server: Has the buckets; the environment leads there.
        shell: Leads to those that are reached by ssh.
    """

    def __init__(
        self, scratch: Path, make_fs: MakeFs, server: S3Server, shell: Shell | None = None
    ) -> None:
        self._scratch = scratch
        self._make_fs = make_fs
        self._server = server
        self._shell = shell

    def make(self, kind: str, name: str) -> End:
        """Return a new, empty end: btrfs, ssh, dir or s3."""
        match kind:
            case "btrfs":
                return SubvolumeEnd(self._make_fs(label=name).path)
            case "ssh":
                assert self._shell is not None
                return self._shell.end(self._make_fs(label=name).path)
            case "dir":
                path = self._scratch / f"streams-{name}"
                path.mkdir()
                return DirectoryEnd(path)
            case _:
                return BucketEnd(self._server)


def continued(fs: LoopFs, snapshot: Path, path: Path) -> Path:
    """Let somebody work on a copy of a snapshot; return the snapshot made of that."""
    live = snapshot_writable(snapshot, fs.path / "live")
    (live / "new").write_bytes(b"made where it was restored" * 1000)
    snapshot_read_only(live, path)
    return path
