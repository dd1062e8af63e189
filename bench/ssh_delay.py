"""Another host that is far away: round trips, and throughput, with a delay."""

from __future__ import annotations

import statistics
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from bench.comparing import Figure, alternate, figure
from bench.content import MIB, Stock, fill
from bench.ground import run
from bench.running import in_turns
from bench.ssh_cases import Case
from bench.ssh_tap import seen, wrapper
from bench.syncing import populate
from support.link_proxy import LinkProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.comparing import Extent
    from bench.far import Far
    from bench.ground import Ground

    Ends = Callable[[Far], tuple[str, ...]]

_ROUND_TRIP_SECONDS = 0.05
_SLOW_ROUND_TRIP_SECONDS = 0.55
"""So much more that the rest of a run's time, which varies, does not matter much."""
_AIM = 5
_SNAPSHOTS = 1000
_LARGE = 240 * MIB
_FILES = 500
_SMALL = 31 << 10


def round_trips(ground: Ground, extent: Extent, far: Far) -> Iterator[Figure]:
    """Count the round trips of runs that only look, with many snapshots."""
    count = _SNAPSHOTS // extent.divisor
    with ground.file_system() as full, ground.file_system() as same, ground.file_system() as empty:
        populate(full.path, same.path, count)
        looks: dict[str, Ends] = {
            "listing": lambda host: (host.url(full.path),),
            "first run there": lambda host: (f"{full.path}/", host.url(empty.path)),
            "first run back": lambda host: (host.url(full.path), f"{empty.path}/"),
            "nothing to do there": lambda host: (f"{full.path}/", host.url(same.path)),
            "nothing to do back": lambda host: (host.url(full.path), f"{same.path}/"),
        }
        for name, ends in looks.items():
            file = ground.directory / "seen"
            far.buttersink("--dry-run", *ends(far), wrapper=wrapper(file))
            what = f"ssh, {count} snapshots, {name}: round trips"
            yield _counted(what, [seen(file).round_trips])
        idle = "nothing to do back"  # has the least time of its own, which varies
        what = f"ssh, {count} snapshots, {idle}: round trips, by time"
        yield _counted(what, _by_time(extent, far, looks[idle]))


def _by_time(extent: Extent, far: Far, ends: Ends) -> list[float]:
    """Return how many round trips a run takes, as its time tells.

    Those are left out that ssh itself takes to log in and to part.
    """
    with LinkProxy(far.server.port) as proxy:
        behind = far.through(proxy.port)

        def at(round_trip: float, action: Callable[[], float]) -> Callable[[], float]:
            def act() -> float:
                proxy.delay = round_trip / 2
                return action()

            return act

        def look() -> float:
            return behind.buttersink("--dry-run", *ends(behind)).seconds

        def nothing() -> float:
            return behind.run(behind.ssh("cat")).seconds

        turns = in_turns(
            extent.pairs,
            [
                at(round_trip, action)
                for action in (look, nothing)
                for round_trip in (_ROUND_TRIP_SECONDS, _SLOW_ROUND_TRIP_SECONDS)
            ],
        )
    longer = _SLOW_ROUND_TRIP_SECONDS - _ROUND_TRIP_SECONDS
    return [
        (slow - quick - (slow_nothing - quick_nothing)) / longer
        for quick, slow, quick_nothing, slow_nothing in turns
    ]


def _counted(what: str, counts: list[int] | list[float]) -> Figure:
    told = ", ".join(f"{count:.3g}" for count in counts)
    return Figure(
        what=what,
        ratios=tuple(count / _AIM for count in counts),
        aim=1,
        note=f"{told}; the aim is {_AIM}",
    )


def throughput(ground: Ground, extent: Extent, far: Far) -> Iterator[Figure]:
    """Move what is mostly one large file; ssh's window limits that for both."""

    @contextmanager
    def fresh() -> Iterator[Path]:
        with ground.file_system() as empty:
            yield empty.path

    with (
        LinkProxy(far.server.port, delay=_ROUND_TRIP_SECONDS / 2) as proxy,
        ground.file_system() as source,
    ):
        behind = far.through(proxy.port)
        live, snapshot = source.path / "live", source.path / "snapshots" / "one"
        run("btrfs", "subvolume", "create", live)
        files = _FILES // extent.divisor
        fill(live, Stock.noise(5), large=_LARGE // extent.divisor, files=files, small=_SMALL)
        snapshot.parent.mkdir()
        run("btrfs", "subvolume", "snapshot", "-r", live, snapshot)
        for there, way in ((True, "there"), (False, "back")):
            name = f"ssh, {_ROUND_TRIP_SECONDS * 1000:.0f} ms away, {way}:"
            case = Case(name=name, snapshots=[snapshot], fresh=fresh, there=there)
            pairs = alternate(
                extent.pairs, partial(case.synced, behind), partial(case.piped, behind)
            )
            rate = statistics.median(mine.nbytes / mine.moving for mine, _ in pairs) / MIB
            yield figure(
                f"{name} moving / pipe; sync -f, less log-in",
                [(mine.moving, plain.moving) for mine, plain in pairs],
                note=f"{rate:.0f} MiB/s",
            )
