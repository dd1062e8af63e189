"""Another host that is far away: round trips, and throughput, with a delay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.comparing import Figure, figure
from bench.content import MIB, Stock, fill
from bench.far import receive, send
from bench.ground import drop_caches, run
from bench.running import in_turns
from bench.ssh_tap import seen, wrapper
from bench.syncing import populate
from support.link_proxy import LinkProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.comparing import Extent
    from bench.far import Far
    from bench.ground import Ground

    Ends = Callable[[Far], tuple[str, ...]]

_ROUND_TRIP_SECONDS = 0.05
_SLOW_ROUND_TRIP_SECONDS = 0.45
"""So much more that the rest of a run's time, which varies, does not matter."""
_AIM = 5
_SNAPSHOTS = 1000
_LARGE = 240 * MIB
_FILES = 500
_SMALL = 31 << 10


def delayed(ground: Ground, extent: Extent, far: Far) -> Iterator[Figure]:
    """All about delays."""
    yield from _round_trips(ground, extent, far)
    yield from _throughput(ground, extent, far)


def _round_trips(ground: Ground, extent: Extent, far: Far) -> Iterator[Figure]:
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
            what = f"ssh, {count} snapshots, {name}: round trips"
            file = ground.directory / "seen"
            far.buttersink("--dry-run", *ends(far), wrapper=wrapper(file))
            yield _counted(what, [seen(file).round_trips])
            yield _counted(f"{what}, by time", _by_time(extent, far, ends))


def _by_time(extent: Extent, far: Far, ends: Ends) -> list[float]:
    """Return how many round trips more than a log-in a run takes, as its time tells."""
    with LinkProxy(far.server.port) as proxy:
        behind = far.through(proxy.port)

        def at(round_trip: float, action: Callable[[], float]) -> Callable[[], float]:
            def act() -> float:
                proxy.delay = round_trip / 2
                return action()

            return act

        def look() -> float:
            return behind.buttersink("--dry-run", *ends(behind)).seconds

        turns = in_turns(
            extent.pairs,
            [
                at(round_trip, action)
                for action in (look, behind.logged_in)
                for round_trip in (_ROUND_TRIP_SECONDS, _SLOW_ROUND_TRIP_SECONDS)
            ],
        )
    longer = _SLOW_ROUND_TRIP_SECONDS - _ROUND_TRIP_SECONDS
    return [
        (slow - quick - (slow_login - quick_login)) / longer
        for quick, slow, quick_login, slow_login in turns
    ]


def _counted(what: str, counts: list[int] | list[float]) -> Figure:
    told = ", ".join(f"{count:.3g}" for count in counts)
    return Figure(
        what=what,
        ratios=tuple(count / _AIM for count in counts),
        aim=1,
        note=f"{told}; the aim is {_AIM}",
    )


def _throughput(ground: Ground, extent: Extent, far: Far) -> Iterator[Figure]:
    """Move one large file, which ssh's window limits for both."""
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

        def ours(*, there: bool) -> float:
            with ground.file_system() as fresh:
                near = f"{snapshot.parent}/", behind.url(fresh.path)
                away = behind.url(snapshot.parent), f"{fresh.path}/"
                drop_caches()
                return behind.synced(*(near if there else away)).moving

        def plain(*, there: bool) -> float:
            with ground.file_system() as fresh:
                near = f"{send(snapshot)} | {behind.ssh(receive(fresh.path))}"
                away = f"{behind.ssh(send(snapshot))} | {receive(fresh.path)}"
                drop_caches()
                return behind.run(near if there else away).seconds

        for there in (True, False):
            turns = in_turns(
                extent.pairs,
                [lambda: ours(there=there), lambda: plain(there=there), behind.logged_in],
            )
            yield figure(
                f"ssh, {_ROUND_TRIP_SECONDS * 1000:.0f} ms away, {'there' if there else 'back'}: "
                f"moving / plain, less log-in",
                [(mine, other - login) for mine, other, login in turns],
            )
