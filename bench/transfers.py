"""Moving snapshots: full, incremental, compressed; against `btrfs send | btrfs receive`."""

from __future__ import annotations

import json
import random
import time
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

from bench.comparing import alternate, figure, timed
from bench.content import MIB, Stock, change, fill
from bench.ground import drop_caches, program, run, shell, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bench.comparing import Extent, Figure
    from bench.ground import Ground, LoopFs, Template

LARGE = 400 * MIB
FILES = 20_000
SMALL = 31 << 10
_SERIES = 20
_ZSTD = "compress=zstd"


def full(ground: Ground, extent: Extent) -> Iterator[Figure]:
    """One full snapshot of 1 GiB: a large file and 20,000 small ones."""
    with ground.file_system() as source:
        snapshot = mixed_snapshot(source, extent)
        yield from _compare_full(ground, extent, snapshot, "full", aim=1.03)


def compressed(ground: Ground, extent: Extent) -> Iterator[Figure]:
    """The same, of text on file systems that compress."""
    with ground.file_system(mount_options=_ZSTD) as source:
        snapshot = mixed_snapshot(source, extent, Stock.text(1))
        yield from _compare_full(
            ground, extent, snapshot, "compressed", aim=0.6, mount_options=_ZSTD
        )


def incremental(ground: Ground, extent: Extent) -> Iterator[Figure]:
    """What changed: 100 MiB in one step, and 20 steps of 1 MiB."""
    with ground.file_system() as source:
        one = history(source, "one", extent, steps=1, nbytes=100 * MIB)
        many = history(source, "many", extent, steps=_SERIES, nbytes=1 * MIB)
        with ground.file_system() as filled:
            for snapshots in (one, many):
                directory = filled.path / snapshots[0].parent.name
                directory.mkdir()
                shell(send_receive(snapshots[0], directory))
            template = ground.template(filled)
            yield from _compare_steps(extent, template, one, "incremental: 100 MiB")
            yield from _compare_steps(extent, template, many, f"incremental: {_SERIES} times 1 MiB")


def mixed_snapshot(source: LoopFs, extent: Extent, stock: Stock | None = None) -> Path:
    """Make a snapshot of a large file and many small ones; return it, alone in its directory."""
    live, snapshot = source.path / "live", source.path / "snapshots" / "one"
    run("btrfs", "subvolume", "create", live)
    fill(
        live,
        stock or Stock.noise(1),
        large=LARGE // extent.divisor,
        files=FILES // extent.divisor,
        small=SMALL,
    )
    snapshot.parent.mkdir()
    run("btrfs", "subvolume", "snapshot", "-r", live, snapshot)
    return snapshot


def history(source: LoopFs, name: str, extent: Extent, *, steps: int, nbytes: int) -> list[Path]:
    """Make a subvolume, change it step by step, and return its snapshots, the oldest first."""
    live, directory = source.path / f"live-{name}", source.path / name
    run("btrfs", "subvolume", "create", live)
    directory.mkdir()
    stock, rng = Stock.noise(2), random.Random(name)
    fill(live, stock, large=LARGE // 2 // extent.divisor, files=4000 // extent.divisor, small=SMALL)
    snapshots = []
    for number in range(steps + 1):
        if number:
            change(live, stock, rng=rng, nbytes=nbytes // extent.divisor, small=SMALL)
        snapshots.append(directory / f"{number:02}")
        run("btrfs", "subvolume", "snapshot", "-r", live, snapshots[-1])
    return snapshots


def _compare_full(
    ground: Ground,
    extent: Extent,
    snapshot: Path,
    name: str,
    *,
    aim: float,
    mount_options: str = "",
) -> Iterator[Figure]:
    @contextmanager
    def destination() -> Iterator[Path]:
        with ground.file_system(mount_options=mount_options) as fresh:
            yield fresh.path

    return _compare(extent, [snapshot], destination, f"{name}: / send | receive", aim=aim)


def _compare_steps(
    extent: Extent, template: Template, snapshots: list[Path], name: str
) -> Iterator[Figure]:
    @contextmanager
    def destination() -> Iterator[Path]:
        with template.copied() as point:
            yield point / snapshots[0].parent.name

    return _compare(extent, snapshots, destination, f"{name}: / send -p | receive", aim=1.03)


def _compare(
    extent: Extent,
    snapshots: list[Path],
    fresh: Callable[[], AbstractContextManager[Path]],
    what: str,
    *,
    aim: float,
) -> Iterator[Figure]:
    """Compare ways to send a series of snapshots, of which all but a lone first one are diffs.

    Three figures: the plain pipe leaves data in memory, which a power cut would take, while
    ButterSink gives no snapshot its name before its data is on the disk. So there is a second
    one, for which `sync` follows the pipe. And the plain user knows what to send on what; so the
    third one leaves out what it takes ButterSink to start and to find that out.
    """

    def ours() -> tuple[float, float]:
        """Return the seconds of the whole run, and those that it was moving streams."""
        with fresh() as destination:
            drop_caches()
            start = time.perf_counter()
            printed = run(
                program("buttersink"), "--json", f"{snapshots[0].parent}/", f"{destination}/"
            )
            whole = time.perf_counter() - start
            events = [json.loads(line) for line in printed.splitlines()]
            return whole, sum(e["seconds"] for e in events if e["event"] == "transfer_done")

    def plain() -> tuple[float, float]:
        with fresh() as destination:
            script = "\n".join(
                send_receive(snapshot, destination, parent=parent)
                for parent, snapshot in steps_of(snapshots)
            )
            drop_caches()
            received = timed(lambda: shell(script))
            return received, received + timed(lambda: run("sync", "--file-system", destination))

    pairs = alternate(extent.pairs, ours, plain)
    seconds = [(*mine, *other) for mine, other in pairs]
    yield figure(what, [(whole, received) for whole, _, received, _ in seconds], aim=aim)
    yield figure(f"{what}; sync -f", [(whole, synced) for whole, _, _, synced in seconds])
    yield figure(f"{what}; transfers alone", [(moving, synced) for _, moving, _, synced in seconds])


def steps_of(snapshots: list[Path]) -> Iterable[tuple[Path | None, Path]]:
    return pairwise(snapshots) if len(snapshots) > 1 else [(None, snapshots[0])]


def send_receive(snapshot: Path, destination: Path, *, parent: Path | None = None) -> str:
    """Return the pipe that a plain user types."""
    base = ("-p", parent) if parent else ()
    sender = words("btrfs", "send", *base, snapshot)
    return f"{sender} | {words('btrfs', 'receive', destination)}"
