"""Measuring a diff without reading its data, against really making its stream."""

from __future__ import annotations

import random
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

from bench.comparing import alternate, figure, timed
from bench.content import MIB, Stock, change, fill
from bench.ground import drop_caches, run, shell, words
from bench.transfers import FILES, LARGE, SMALL
from buttersink.model import Diff, StreamOptions
from buttersink.stores.btrfs import BtrfsStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.comparing import Extent, Figure
    from bench.ground import Ground

_BUFFER = 1 << 20


def measuring(ground: Ground, extent: Extent) -> Iterator[Figure]:
    """Full, incremental and backward; in stream versions 1 and 2."""
    with ground.file_system() as source:
        live, directory = source.path / "live", source.path / "snapshots"
        run("btrfs", "subvolume", "create", live)
        directory.mkdir()
        stock = Stock.noise(3)
        fill(live, stock, large=LARGE // extent.divisor, files=FILES // extent.divisor, small=SMALL)
        old, new = directory / "old", directory / "new"
        run("btrfs", "subvolume", "snapshot", "-r", live, old)
        change(live, stock, rng=random.Random(3), nbytes=100 * MIB // extent.divisor, small=SMALL)
        run("btrfs", "subvolume", "snapshot", "-r", live, new)
        for version in (1, 2):
            for kind, to, parent in (
                ("full", old, None),
                ("incremental", new, old),
                ("backward", old, new),
            ):
                yield _compare(extent, f"{kind}, version {version}", to, parent, version)


def _compare(extent: Extent, what: str, to: Path, parent: Path | None, version: int) -> Figure:
    sizes: set[int] = set()
    send = ["btrfs", "send", "--quiet", "--proto", str(version)]
    send += ["-p", str(parent)] if parent else []
    with closing(BtrfsStore(str(to.parent))) as store:
        identities = {s.path: s.uuid for s in store.inventory().snapshots}
        diff = Diff(identities[to.name], identities[parent.name] if parent else None)

        def measure() -> float:
            drop_caches()
            return timed(
                lambda: sizes.add(store.measure(diff, StreamOptions(version=version)).nbytes)
            )

        def really_send() -> float:
            drop_caches()
            return timed(lambda: shell(words(*send, "-f", "/dev/null", to)))

        pairs = alternate(extent.pairs, measure, really_send)
    off = max(abs(size - _bytes([*send, str(to)])) for size in sizes)
    return figure(f"measuring: {what}: / send to /dev/null", pairs, note=f"{off} bytes off, aim 0")


def _bytes(command: list[str]) -> int:
    """Return how many bytes a program writes."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        count = 0
        while data := process.stdout.read(_BUFFER):
            count += len(data)
    if process.returncode:
        raise RuntimeError(f"{words(*command)}: exit status {process.returncode}")
    return count
