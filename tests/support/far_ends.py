"""Two ends that are at hand and can be reached by ssh as well, and what runs tell of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from support.command import Run, buttersink, directory
from support.history import simple_history
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run
from support.stored_ends import SubvolumeEnd
from support.subvolume_facts import make_read_only, make_writable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.loopfs import LoopFs
    from support.ssh_ends import Shell

STRANGER = UUID("deadbeef-0000-4000-8000-000000000001")
FAR_ENDS = ({"source"}, {"destination"}, {"source", "destination"})
FAR = pytest.mark.parametrize("far", FAR_ENDS, ids=["from", "to", "both"])


@dataclass(frozen=True, slots=True)
class FarEnds:
    """A source, and a destination that has some of it, and much else; ssh leads to both.

    Attributes:
        source: Has the snapshots "1" to "6" and one of another subvolume, "dir/other".
        destination: Has the first three; "2" was changed there, "3" deleted, and a file stands at
            its path. There are leftovers, and snapshots and subvolumes of its own.
    """

    source: SubvolumeEnd
    destination: SubvolumeEnd

    def named(self, shell: Shell, far: set[str]) -> tuple[str, str]:
        """Return what to call both on the command line, of which some are reached by ssh."""
        ends = {"source": self.source, "destination": self.destination}
        first, second = (shell.end(e.path) if n in far else e for n, e in ends.items())
        return first.url, second.url


def make_destination(fs: LoopFs, source: SubvolumeEnd) -> SubvolumeEnd:
    """Make a destination of `FarEnds`."""
    top = fs.path / "backup"
    top.mkdir()
    brought = buttersink("--only", "[123]", source.url, top)
    assert brought.status == 0, brought
    make_writable(top / "2")
    (top / "2" / "changed").write_bytes(b"by somebody")
    make_read_only(top / "2")
    run("btrfs", "--quiet", "subvolume", "delete", top / "3")
    (top / "3").write_bytes(b"in the way")
    leftover = top / f".buttersink-{STRANGER}.part"
    for path in (leftover, leftover / "new", top / "old.part", top / "writable"):
        create_subvolume(path)
    (top / "its own").mkdir()
    snapshot_read_only(top / "writable", top / "its own" / "snapshot")
    return SubvolumeEnd(top)


def make_source(fs: LoopFs) -> SubvolumeEnd:
    """Make a source of `FarEnds`."""
    simple_history(fs, 6)
    source = SubvolumeEnd(fs.path / "snaps")
    (source.path / "dir").mkdir()
    create_subvolume(fs.path / "another")
    (fs.path / "another" / "file").write_bytes(b"another " * 10_000)
    snapshot_read_only(fs.path / "another", source.path / "dir" / "other")
    return source


def make_ends(fs_a: LoopFs, fs_b: LoopFs) -> FarEnds:
    """Make both ends."""
    source = make_source(fs_a)
    return FarEnds(source, make_destination(fs_b, source))


def make_scattered(fs_a: LoopFs, fs_b: LoopFs) -> FarEnds:
    """Make two directories `new`: that of the source has "3", and what it is from is elsewhere."""
    simple_history(fs_a, 2)
    brought = buttersink(directory(fs_a.path / "snaps"), fs_b.path)
    assert brought.status == 0, brought
    for fs in (fs_a, fs_b):
        (fs.path / "new").mkdir()
    (fs_a.path / "live" / "more").write_bytes(b"more")
    snapshot_read_only(fs_a.path / "live", fs_a.path / "new" / "3")
    return FarEnds(SubvolumeEnd(fs_a.path / "new"), SubvolumeEnd(fs_b.path / "new"))


@dataclass(frozen=True, slots=True)
class Told:
    """What a run told, without the times, and with other names in place of those of its ends."""

    status: int
    events: tuple[Any, ...]
    lines: str
    errors: str


def told(done: Run, names: Mapping[str, str]) -> Told:
    """Return what a run told, with these names replaced; the longest first."""

    def plain(text: str) -> str:
        for name in sorted(names, key=len, reverse=True):
            text = text.replace(name, names[name])
        return text

    def renamed(value: Any) -> Any:
        match value:
            case str():
                return plain(value)
            case list():
                return [renamed(item) for item in value]
            case dict():
                return {key: renamed(item) for key, item in value.items() if key != "seconds"}
        return value

    is_json = done.stdout.startswith("{")
    events = [renamed(json.loads(line)) for line in done.stdout.splitlines()] if is_json else []
    return Told(
        status=done.status,
        events=tuple(event for event in events if event["event"] != "transfer_progress"),
        lines="" if is_json else plain(done.stdout),
        errors=plain(done.stderr),
    )
