"""Our receiver makes of every stream what `btrfs receive` makes, and what the source has.

A dozen random histories; `make long` compares hundreds.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from buttersink.model import Receiver
from buttersink.stores.btrfs import BtrfsStore
from buttersink.stream.format import Command
from support.receiver_equality import Comparison, Leg, Tally
from support.receiver_flags import Flags, all_layouts, get_flags
from support.receiver_history import SETTINGS, ReceiverHistory
from support.receiver_streams import FORMATS, PLAIN, Route, Step, write_stream
from support.receivers import PlainBtrfsReceive, StoreReceive
from support.streams import commands
from support.subvolume_facts import make_read_only, make_writable
from support.tree import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from random import Random

    from conftest import MakeFs
    from support.receiver_history import Setting
    from support.receivers import Arrival

SNAPSHOTS = 4
STEPS = 120
DOZEN = [(seed, SETTINGS[seed % len(SETTINGS)]) for seed in range(12)]


def legs(seed: int) -> list[Leg]:
    """Return all routes but one, each in another format for another seed."""
    return [
        Leg(route, FORMATS[(seed + number) % len(FORMATS)])
        for number, route in enumerate(Route)
        if number != seed % len(Route)
    ]


class TestOurReceiver:
    @pytest.mark.parametrize(
        ("seed", "setting"), DOZEN, ids=[f"{seed}-{setting.name}" for seed, setting in DOZEN]
    )
    def test_is_equal_to_btrfs_receive(self, scratch: Path, seed: int, setting: Setting) -> None:
        def ours(directory: Path, rng: Random) -> StoreReceive:
            return StoreReceive(lambda: BtrfsStore(f"{directory}/", receiver=Receiver.OWN), rng)

        comparison = Comparison(seed, setting, scratch, count=SNAPSHOTS, steps=STEPS)

        tally = comparison.run(legs(seed), ours)

        assert not tally.failures, "\n".join(tally.failures)
        # Neither could apply the others, or they were sent again in full.
        assert tally.streams >= 0.9 * SNAPSHOTS * len(legs(seed))
        assert tally.kernel.total() <= 0.3 * tally.streams


class TestTheDozen:
    def test_has_every_route_in_every_format(self) -> None:
        assert {leg for seed, _ in DOZEN for leg in legs(seed)} == {
            Leg(route, form) for route in Route for form in FORMATS
        }
        assert {setting for _, setting in DOZEN} == set(SETTINGS)

    def test_has_all_that_streams_can_tell(self, make_fs: MakeFs, scratch: Path) -> None:
        told: set[int] = set()
        paths: list[Path] = []
        for seed, setting in DOZEN[:5]:
            fs = make_fs(mount_options=setting.source)
            history = ReceiverHistory(seed, fs)
            history.make_snapshots(SNAPSHOTS, steps=STEPS)
            paths += history.snapshots
            for number in range(SNAPSHOTS):
                step = Step(number, number - 1 if number else None)
                write_stream(scratch / "stream", history.snapshots, step, FORMATS[-1])
                told.update(command for command, _ in commands((scratch / "stream").read_bytes()))
        trees = [describe(path) for path in paths]
        entries = [entry for tree in trees for entry in tree.values()]
        names = [os.path.basename(path) for tree in trees for path in tree]
        layouts = [all_layouts(path, tree) for path, tree in zip(paths, trees, strict=True)]
        flags = Flags(0)
        for path, layout in zip(paths, layouts, strict=True):
            for name in layout:
                flags |= get_flags(os.path.join(os.fsencode(path), name))

        assert set(Command) - told == {Command.UPDATE_EXTENT, Command.ENABLE_VERITY}
        assert len({entry.kind for entry in entries}) == 7
        assert {name for entry in entries for name, _ in entry.xattrs} > {
            "btrfs.compression",
            "security.capability",
            "system.posix_acl_access",
            "system.posix_acl_default",
            "user.a",
        }
        assert Flags.NOCOW | Flags.NOCOMP | Flags.IMMUTABLE | Flags.APPEND in flags
        assert any(entry.mode & stat.S_ISUID for entry in entries)
        assert any(entry.links for entry in entries)
        assert any(len(name) == 255 for name in names)
        assert any(b"\xff" in name for name in names)
        assert max(path.count(b"/") for tree in trees for path in tree) >= 10
        assert any(len(data) > 1 for layout in layouts for data in layout.values())
        assert any(one == two for one, two in pairwise(trees))


def set_mode(path: Path) -> None:
    path.chmod(0o1)


def set_xattr(path: Path) -> None:
    os.setxattr(path, "trusted.sabotage", b"x")


def rename(path: Path) -> None:
    path.rename(path.with_name("sabotage"))


def append(path: Path) -> None:
    with keeping_times(path), path.open("ab") as file:
        file.write(b"x")


def blank(path: Path) -> None:
    with keeping_times(path), path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))


def fill_hole(path: Path) -> None:
    with keeping_times(path), path.open("r+b") as file:
        file.write(bytes(4096))


def touch(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


@contextmanager
def keeping_times(path: Path) -> Iterator[None]:
    status = path.stat()
    yield
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


class Saboteur:
    """`btrfs receive`, and then somebody changes one file, and perhaps leaves it open to all."""

    def __init__(self, directory: Path, change: Callable[[Path], None], *, locked: bool) -> None:
        self._directory = directory
        self._receiver = PlainBtrfsReceive(directory)
        self._change = change
        self._locked = locked

    def receive(self, arrival: Arrival) -> None:
        self._receiver.receive(arrival)
        path = self._directory / arrival.name
        make_writable(path)
        self._change(next(file for file in sorted(path.rglob("*")) if is_sparse(file)))
        if self._locked:
            make_read_only(path)


def is_sparse(path: Path) -> bool:
    """Tell whether a file starts with a hole, but has some data."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        try:
            return os.lseek(file.fileno(), 0, os.SEEK_DATA) >= 4096
        except OSError:  # no data at all
            return False


class TestTheComparison:
    def compare(
        self, scratch: Path, change: Callable[[Path], None], *, locked: bool = True
    ) -> Tally:
        comparison = Comparison(2, SETTINGS[0], scratch, count=1, steps=200)
        return comparison.run(
            [Leg(Route.FULL, PLAIN)],
            lambda directory, _: Saboteur(directory, change, locked=locked),
        )

    def test_finds_no_fault_where_there_is_none(self, scratch: Path) -> None:
        assert self.compare(scratch, lambda _: None) == Tally(streams=1)

    @pytest.mark.parametrize(
        "change",
        [set_mode, set_xattr, rename, append, blank, fill_hole, touch],
        ids=lambda change: change.__name__,
    )
    def test_finds_a_change(self, scratch: Path, change: Callable[[Path], None]) -> None:
        tally = self.compare(scratch, change)

        assert tally.failures
        assert not tally.kernel
        assert not tally.better

    def test_finds_a_snapshot_that_is_not_read_only(self, scratch: Path) -> None:
        (failure, *_) = self.compare(scratch, lambda _: None, locked=False).failures

        assert "the identities differ" in failure
