"""What may be wrong with a received snapshot, and who is to blame."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.tree import differences

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.tree import Entry

    Tree = dict[bytes, Entry]

_BLOCK_BYTES = 4096
_SET_IDS = stat.S_ISUID | stat.S_ISGID


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What the known faults depend on.

    Attributes:
        incremental: Whether the stream has a parent.
        compressed: Whether extents travel compressed.
        top_inherits: Whether the top directory has what `btrfs receive` lets others inherit.
    """

    incremental: bool
    compressed: bool
    top_inherits: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said of one stream.

    Attributes:
        kernel: What the kernel has sent wrongly.
        better: What `btrfs receive` alone got wrong.
        apart: Where the receivers differ, and must not.
        wrong: Where ours differs from the source, and must not.
    """

    kernel: frozenset[str]
    better: frozenset[str]
    apart: list[str]
    wrong: list[str]


@dataclass(frozen=True, slots=True)
class Made:
    """A tree and where it is."""

    path: Path
    tree: Tree


def judge(source: Made, ours: Made, theirs: Made, circumstances: Circumstances) -> Verdict:
    """Compare what two receivers have made with each other and with what was sent."""
    kernel, better = set(), set()
    apart, wrong = [], []
    for path, line in _differing(ours.tree, theirs.tree):
        fault = _fault_of_theirs(path, source, ours, theirs, circumstances)
        if fault:
            better.add(fault)
        else:
            apart.append(line)
    for path, line in _differing(source.tree, ours.tree):
        fault = _fault_of_kernel(path, source, ours, circumstances)
        if fault:
            kernel.add(fault)
        else:
            wrong.append(line)
    return Verdict(frozenset(kernel), frozenset(better), apart, wrong)


def _differing(one: Tree, two: Tree) -> Iterator[tuple[bytes, str]]:
    for path in sorted(one.keys() | two.keys()):
        if one.get(path) != two.get(path):
            here, there = ({path: tree[path]} if path in tree else {} for tree in (one, two))
            (line,) = differences(here, there)
            yield path, line


def _fault_of_theirs(
    path: bytes, source: Made, ours: Made, theirs: Made, by: Circumstances
) -> str | None:
    """Return in words what `btrfs receive` alone got wrong; None if that can't be told."""
    sent, made, foreign = (tree.tree.get(path) for tree in (source, ours, theirs))
    if sent is None or made is None or foreign is None:
        return None
    if (made.mode, made.xattrs) != (sent.mode, sent.xattrs):
        return None
    if foreign._replace(mode=made.mode) == made and not (foreign.mode ^ made.mode) & ~_SET_IDS:
        return "a change of owner cleared set-user-id bits"
    if by.top_inherits and foreign._replace(mode=made.mode, xattrs=made.xattrs) == made:
        return "something was inherited from the top directory"
    return None


def _fault_of_kernel(path: bytes, source: Made, ours: Made, by: Circumstances) -> str | None:
    """Return in words which of the faults in `buttersink.stream.losses` this is."""
    sent, made = source.tree.get(path), ours.tree.get(path)
    if sent is None or made is None or made.size > sent.size:
        return None
    if made._replace(digest=sent.digest, size=sent.size) != sent:
        return None
    whole, ending = _read(source.path, path), _read(ours.path, path)
    padded = ending.ljust(len(whole), b"\0")
    places = [place for place, (a, b) in enumerate(zip(whole, padded, strict=True)) if a != b]
    blocks = {place // _BLOCK_BYTES for place in places}
    # Nothing was sent for the end of a block, which stays what it was: a hole.
    if (
        by.incremental
        and made.size == sent.size
        and len(blocks) == 1
        and not any(padded[place] for place in places)
    ):
        return "the last bytes of a file were not sent"
    # Likewise behind a short extent, so that it is the parent's bytes that stay, or nothing.
    if by.compressed and blocks <= {0} and not any(whole[place] for place in places):
        return "a compressed inline extent was sent without what follows it"
    return None


def _read(top: Path, path: bytes) -> bytes:
    with open(os.path.join(os.fsencode(top), path), "rb") as file:
        return file.read()
