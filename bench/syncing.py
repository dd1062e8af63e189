"""What a run costs when there is nothing to do."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from bench.comparing import Figure, alternate, figure, timed
from bench.ground import program, run, shell, words
from buttersink.btrfs import ioctl
from buttersink.stores.btrfs import BtrfsStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

    from bench.comparing import Extent
    from bench.ground import Ground

_SNAPSHOTS = 1000
_STARTUP_AIM = 0.150
_NOOP_AIM = 1.5


def startup(_ground: Ground, extent: Extent) -> Iterator[Figure]:
    """`buttersink --version`, the whole process."""
    pairs = alternate(
        extent.many_pairs,
        lambda: timed(lambda: shell(words(program("buttersink"), "--version"))),
        lambda: timed(lambda: shell(words(sys.executable, "-c", "pass"))),
    )
    yield figure("startup: --version / python -c pass", pairs)
    yield _against("startup: --version / the aim", [ours for ours, _ in pairs], _STARTUP_AIM)


def noop(ground: Ground, extent: Extent) -> Iterator[Figure]:
    """A sync of 1,000 snapshots that are all there, the whole process."""
    with ground.file_system() as source, ground.file_system() as destination:
        count = _SNAPSHOTS // extent.divisor
        populate(source.path, destination.path, count)
        ours = words(program("buttersink"), f"{source.path}/", f"{destination.path}/")
        plain = "; ".join(
            words("btrfs", "subvolume", "list", "-uqR", end.path) for end in (source, destination)
        )
        pairs = alternate(
            extent.many_pairs,
            lambda: timed(lambda: shell(ours)),
            lambda: timed(lambda: shell(plain)),
        )
        yield figure(f"noop: {count} snapshots / btrfs subvolume list of both", pairs)
        yield _against(f"noop: {count} snapshots / the aim", [mine for mine, _ in pairs], _NOOP_AIM)


def _against(what: str, seconds: list[float], aim: float) -> Figure:
    return Figure(
        what=what, ratios=tuple(s / aim for s in seconds), aim=1, note=f"the aim is {aim:g} s"
    )


def populate(source: Path, destination: Path, count: int) -> None:
    """Make snapshots at one end, and what looks as if they were received at the other."""
    live = source / "live"
    run("btrfs", "subvolume", "create", live)
    for number in range(count):
        (live / f"{number:04}").write_bytes(b"x" * 100)
        _snapshot(source, live, f"{number:04}")
    with closing(BtrfsStore(str(source))) as store:
        identities = {s.path: s.uuid for s in store.inventory().snapshots}
    run("btrfs", "subvolume", "create", destination / "live")
    for name, identity in identities.items():
        (destination / "live" / name).write_bytes(b"x" * 100)
        _snapshot(destination, destination / "live", name, identity)


def _snapshot(directory: Path, live: Path, name: str, received_uuid: UUID | None = None) -> None:
    directory_fd, live_fd = _open(directory), _open(live)
    try:
        ioctl.create_snapshot(
            directory_fd, name.encode(), source_fd=live_fd, readonly=received_uuid is None
        )
        if received_uuid is not None:
            snapshot_fd = _open(directory / name)
            try:
                ioctl.set_received(snapshot_fd, received_uuid=received_uuid, stransid=1)
                ioctl.set_readonly(snapshot_fd)
            finally:
                os.close(snapshot_fd)
    finally:
        os.close(directory_fd)
        os.close(live_fd)


def _open(directory: Path) -> int:
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
