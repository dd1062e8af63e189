"""The receiver: its time and memory against `btrfs receive`, its checkpoints, and resuming."""

from __future__ import annotations

import statistics
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from bench.comparing import Figure, alternate, figure
from bench.content import MIB, Stock, fill
from bench.ground import run, shell
from bench.movers import Case, Turn, Way, resumed, transferred
from bench.running import in_turns
from bench.transfers import history, mixed_snapshot, send_receive
from buttersink.model import Receiver
from buttersink.receiving import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bench.comparing import Extent
    from bench.ground import Ground, LoopFs

_ONE_FILE = 2048 * MIB
_FILES = 130_000
_SMALL = 8 << 10
_INCREMENT = 100 * MIB
_ZSTD = "compress=zstd"
_CHECKPOINTS_AIM = 1.03
_CUT_AT = 0.9

_BARE = Way()
_PROGS = Way(receiver=Receiver.BTRFS_PROGS.value)
_PIPE = Way(receiver=None, version=1)
_SAME_PIPE = Way(receiver=None)


def receiving(ground: Ground, extent: Extent) -> Iterator[Figure]:
    """Transfers alone, planned already, to the end of a sync of the destination."""
    with _one_file(ground, extent) as case:
        yield from _compare(case, extent, aim=1.0)
        yield from _resume(case, extent)
    with _small_files(ground, extent) as case:
        yield from _compare(case, extent, aim=1.0)
    with _increment(ground, extent) as case:
        yield from _compare(case, extent, aim=1.03)
    with _compressed(ground, extent) as case:
        yield from _compare(case, extent, aim=1.0)


@contextmanager
def _one_file(ground: Ground, extent: Extent) -> Iterator[Case]:
    with ground.file_system() as source:
        snapshot = _filled(source, large=_ONE_FILE // extent.divisor, files=0)
        yield Case(name="one file", snapshot=snapshot, fresh=_empty(ground))


@contextmanager
def _small_files(ground: Ground, extent: Extent) -> Iterator[Case]:
    with ground.file_system() as source:
        snapshot = _filled(source, large=0, files=_FILES // extent.divisor)
        yield Case(name="small files", snapshot=snapshot, fresh=_empty(ground))


@contextmanager
def _increment(ground: Ground, extent: Extent) -> Iterator[Case]:
    with ground.file_system() as source:
        parent, snapshot = history(source, "one", extent, steps=1, nbytes=_INCREMENT)
        with ground.file_system() as filled:
            shell(send_receive(parent, filled.path))
            template = ground.template(filled)
            yield Case(name="increment", snapshot=snapshot, parent=parent, fresh=template.copied)


@contextmanager
def _compressed(ground: Ground, extent: Extent) -> Iterator[Case]:
    with ground.file_system(mount_options=_ZSTD) as source:
        snapshot = mixed_snapshot(source, extent, Stock.text(1))
        yield Case(name="zstd", snapshot=snapshot, compressed=True, fresh=_empty(ground, _ZSTD))


def _filled(source: LoopFs, *, large: int, files: int) -> Path:
    live, snapshot = source.path / "live", source.path / "one"
    run("btrfs", "subvolume", "create", live)
    fill(live, Stock.noise(6), large=large, files=files, small=_SMALL)
    run("btrfs", "subvolume", "snapshot", "-r", live, snapshot)
    return snapshot


def _empty(ground: Ground, options: str = "") -> Callable[[], AbstractContextManager[Path]]:
    @contextmanager
    def fresh() -> Iterator[Path]:
        with ground.file_system(mount_options=options) as file_system:
            yield file_system.path

    return fresh


def _default(extent: Extent) -> Way:
    """Return what a run does unless told otherwise, with as many checkpoints for less data."""
    return Way(checkpoint_bytes=Pace().nbytes // extent.divisor)


def _compare(case: Case, extent: Extent, *, aim: float) -> Iterator[Figure]:
    """Compare our receiver with the others.

    The stream of version 2, which ButterSink asks for, is made and received in less time than the
    one that a plain user gets. So there are two pipes: the second has the same stream as ours.
    """
    ways = (_default(extent), _BARE, _PROGS, _PIPE, _SAME_PIPE)
    turns = in_turns(extent.pairs, [partial(transferred, case, way) for way in ways])
    ours, bare, progs, pipe, same = map(list, zip(*turns, strict=True))
    what = f"receive, {case.name}:"
    proto = "--proto 2 --compressed-data" if case.compressed else "--proto 2"
    yield _figure(f"{what} / send | receive; sync -f", ours, pipe, _synced, aim=aim)
    yield _figure(f"{what} / send | receive; processor time", ours, pipe, _cpu, aim=aim)
    yield _figure(f"{what} / send | receive; not synced", ours, pipe, _received)
    yield _figure(f"{what} / send | receive; all processors", ours, pipe, _machine)
    yield _figure(f"{what} / send {proto} |; sync -f", ours, same, _synced, aim=aim)
    yield _figure(f"{what} / send {proto} |; processor time", ours, same, _cpu, aim=aim)
    yield _figure(f"{what} / --receiver btrfs-progs", ours, progs, _synced)
    yield _figure(f"{what} / without checkpoints", ours, bare, _synced, aim=_CHECKPOINTS_AIM)
    yield from _memory(f"{what} memory / btrfs receive", ours, pipe)


def _resume(case: Case, extent: Extent) -> Iterator[Figure]:
    way = _default(extent)
    pairs = alternate(
        extent.pairs,
        lambda: resumed(case, way, cut_at=_CUT_AT),
        lambda: transferred(case, way),
    )
    ours, anew = map(list, zip(*pairs, strict=True))
    there = statistics.median(turn.taken.resumed for turn in ours)
    yield _figure(
        f"receive, {case.name}: cut at {_CUT_AT:.0%}, the rest / anew",
        ours,
        anew,
        _synced,
        note=f"{there:.0%} was there",
    )


def _figure(
    what: str,
    ours: Sequence[Turn],
    others: Sequence[Turn],
    of: Callable[[Turn], float],
    *,
    aim: float | None = None,
    note: str = "",
) -> Figure:
    pairs = [(of(mine), of(other)) for mine, other in zip(ours, others, strict=True)]
    return figure(what, pairs, aim=aim, note=note)


def _memory(what: str, ours: Sequence[Turn], others: Sequence[Turn]) -> Iterator[Figure]:
    """Compare memory, unless transfers were so short that nobody has seen it."""
    pairs = [
        (mine.receiver_bytes, other.receiver_bytes)
        for mine, other in zip(ours, others, strict=True)
        if mine.receiver_bytes and other.receiver_bytes
    ]
    if pairs:
        mine, theirs = (max(peaks) // MIB for peaks in zip(*pairs, strict=True))
        sender = max(turn.sender_bytes for turn in ours) // MIB
        yield Figure(
            what=what,
            ratios=tuple(a / b for a, b in pairs),
            note=f"{mine} MiB / {theirs} MiB, the sender {sender} MiB",
        )


def _synced(turn: Turn) -> float:
    return turn.taken.synced


def _received(turn: Turn) -> float:
    return turn.taken.received


def _cpu(turn: Turn) -> float:
    return turn.taken.cpu


def _machine(turn: Turn) -> float:
    return turn.taken.machine
