"""All that a file system holds, to tell whether anything was changed: an oracle.

Shares nothing with the code under test, so that both can't be wrong in the same way.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.loopfs import run
from support.tree import describe, differences

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.loopfs import LoopFs
    from support.tree import Entry


@dataclass(frozen=True, slots=True)
class Picture:
    """A file system at one moment.

    Attributes:
        lines: What `btrfs subvolume list` says of each subvolume, by path: id, generations,
            uuids, parents, whether it is read-only.
        trees: All that is in each subvolume, by path; "" is the top level.
    """

    lines: Mapping[str, str]
    trees: Mapping[str, Mapping[bytes, Entry]]


def picture(fs: LoopFs) -> Picture:
    """Take down everything that is on a file system."""
    run("btrfs", "filesystem", "sync", fs.path)
    read_only = _listed(fs, "-r").keys()
    every = {
        path: f"{facts} {'ro' if path in read_only else 'rw'}"
        for path, facts in _listed(fs, "-pcguqR").items()
    }
    return Picture(every, {path: describe(fs.path / path) for path in ("", *every)})


def _listed(fs: LoopFs, options: str) -> dict[str, str]:
    """Return what is told of each subvolume, by path; paths may have newlines in them."""
    command = ["btrfs", "subvolume", "list", options, os.fspath(fs.path)]
    told = os.fsdecode(subprocess.run(command, check=True, capture_output=True).stdout)
    found = re.findall(
        r"^(ID \d+ gen .*?) path (.*?)\n(?=ID \d+ gen |\Z)", told, re.MULTILINE | re.DOTALL
    )
    return {path: facts for facts, path in found}


def changes(before: Picture, after: Picture) -> list[str]:
    """Return a line for each difference between two moments."""
    lines = []
    for path in sorted(before.lines.keys() | after.lines.keys()):
        then, now = before.lines.get(path), after.lines.get(path)
        if then != now:
            lines.append(f"subvolume {path!r}: {then} -> {now}")
    for path in sorted(before.trees.keys() & after.trees.keys()):
        found = differences(dict(before.trees[path]), dict(after.trees[path]))
        lines += [f"in {path or 'the top level'!r}: {line}" for line in found]
    return lines


def assert_unchanged(before: Picture, fs: LoopFs) -> None:
    """Fail, naming what differs, unless a file system is as it was."""
    lines = changes(before, picture(fs))
    assert not lines, "\n  ".join(["something was changed:", *lines])


def assert_untouched(before: Picture, fs: LoopFs, *, besides: str = r"(?!)") -> None:
    """Fail unless all that was there is as it was; only subvolumes that match may have come.

    The directories that hold them may have changed their times, a writable subvolume its
    transaction numbers, and a read-only one the number that grows when it is snapshotted.

    Args:
        before: What was there.
        fs: Where.
        besides: Pattern of the paths of subvolumes that may be new.
    """
    after = picture(fs)
    new = [path for path in after.lines if path not in before.lines]
    strange = [path for path in new if not re.fullmatch(besides, path)]
    assert not strange, f"there is something new: {strange}"
    lost = [path for path in before.lines if path not in after.lines]
    assert not lost, f"something was deleted: {lost}"
    for path, line in before.lines.items():
        if line.endswith(" ro"):
            assert _without_generation(after.lines[path]) == _without_generation(line), path
        assert _uuids(after.lines[path]) == _uuids(line), path
    for path, tree in before.trees.items():
        was, now = _without_times(tree), _without_times(after.trees[path])
        lines = differences(was, now)
        assert not lines, f"{path!r} was changed: {lines}"


def _without_times(tree: Mapping[bytes, Entry]) -> dict[bytes, Entry]:
    return {
        path: entry._replace(mtime_ns=0) if entry.kind == "directory" else entry
        for path, entry in tree.items()
    }


def _without_generation(line: str) -> str:
    return re.sub(r" gen \d+ ", " ", line)


def _uuids(line: str) -> str:
    return " ".join(re.findall(r"(?:parent_uuid|received_uuid|uuid) \S+", line))
