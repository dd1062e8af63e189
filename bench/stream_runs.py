"""Runs of ButterSink with stored streams, and the snapshot that they are about."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.content import MIB, Stock, fill
from bench.ground import program, run
from bench.running import watched
from bench.services import JOBS, PART_MIB

if TYPE_CHECKING:
    from pathlib import Path

    from bench.comparing import Extent
    from bench.ground import Ground
    from bench.services import S3Server

_LARGE = 1000 * MIB
_FILES = 800
_SMALL = 31 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one turn took.

    Attributes:
        whole: Seconds of all of it.
        moving: Seconds in which data was moved, without starting, listing and planning.
        cpu: Seconds of the processor, without those of a server.
        peak: The most bytes of memory; 0 where nobody looked.
    """

    whole: float
    moving: float
    cpu: float
    peak: int = 0


def snapshot_of(top: Path, stock: Stock, extent: Extent) -> Path:
    """Make a snapshot of about 1 GiB, most of it in one file; alone in its directory."""
    live, snapshot = top / "live", top / "snapshots" / "one"
    run("btrfs", "subvolume", "create", live)
    fill(live, stock, large=_LARGE // extent.divisor, files=_FILES // extent.divisor, small=_SMALL)
    snapshot.parent.mkdir()
    run("btrfs", "subvolume", "snapshot", "-r", live, snapshot)
    return snapshot


def nbytes_of(extent: Extent) -> int:
    """Return about how many bytes a stream of `snapshot_of` has."""
    return (_LARGE + _FILES * _SMALL) // extent.divisor


def synced(
    ground: Ground,
    server: S3Server | None,
    source: str,
    destination: str,
    *,
    compress: bool = False,
    part_mib: int = PART_MIB,
) -> Turn:
    """Run ButterSink, and see how long it was moving streams."""
    done = watched(
        *(program("buttersink"), "--json", "--compress", "zstd:3" if compress else "none"),
        *("--jobs", str(JOBS), "--part-size", str(part_mib)),
        *(("--endpoint-url", server.endpoint_url) if server else ()),
        *(source, destination),
        environment={
            "XDG_STATE_HOME": str(ground.directory / "state"),
            **(server.environment() if server else {}),
        },
    )
    events = [json.loads(line) for line in done.output.splitlines()]
    moving = sum(event["seconds"] for event in events if event["event"] == "transfer_done")
    return Turn(whole=done.seconds, moving=moving, cpu=done.cpu_seconds, peak=done.peak_bytes)
