"""To another host by ssh, and from there; against `btrfs send | ssh host btrfs receive`."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from bench.comparing import Figure, alternate, figure
from bench.content import MIB
from bench.far import Far
from bench.ground import shell
from bench.ssh_cases import Case
from bench.ssh_delay import round_trips, throughput
from bench.ssh_tap import seen, wrapper
from bench.transfers import history, mixed_snapshot, send_receive
from support.link_faults import Way
from support.link_proxy import LinkProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bench.comparing import Extent
    from bench.ground import Ground

_AIM = 1.03
_WIRE_AIM = 1.001


def ssh(ground: Ground, extent: Extent) -> Iterator[Figure]:
    """All about ssh."""
    with Far.opened() as far:
        with ground.file_system() as source:
            snapshots = [mixed_snapshot(source, extent)]
            yield from _both_ways(
                ground, extent, far, name="full", snapshots=snapshots, fresh=partial(_empty, ground)
            )
        with ground.file_system() as source, ground.file_system() as filled:
            snapshots = history(source, "one", extent, steps=1, nbytes=100 * MIB)
            base = filled.path / "received"
            base.mkdir()
            shell(send_receive(snapshots[0], base))
            template = ground.template(filled)

            @contextmanager
            def copied() -> Iterator[Path]:
                with template.copied() as point:
                    yield point / base.name

            yield from _both_ways(
                ground, extent, far, name="increment", snapshots=snapshots, fresh=copied
            )
        yield from round_trips(ground, extent, far)
        yield from throughput(ground, extent, far)


def _both_ways(
    ground: Ground,
    extent: Extent,
    far: Far,
    *,
    name: str,
    snapshots: list[Path],
    fresh: Callable[[], AbstractContextManager[Path]],
) -> Iterator[Figure]:
    for there, way in ((True, "there"), (False, "back")):
        case = Case(name=f"ssh, {name} {way}:", snapshots=snapshots, fresh=fresh, there=there)
        yield from _times(extent, far, case)
        yield _wire(ground, far, case)
        yield _network(far, case)


def _times(extent: Extent, far: Far, case: Case) -> Iterator[Figure]:
    """Compare times. As for local ends, there is a figure in which `sync` follows the pipe."""
    pairs = alternate(extent.pairs, partial(case.synced, far), partial(case.piped, far))
    pipe = "send | ssh receive" if case.there else "ssh send | receive"
    name = case.name
    yield figure(f"{name} / {pipe}", [(mine.whole, plain.whole) for mine, plain in pairs])
    yield figure(
        f"{name} / pipe; sync -f", [(mine.whole, plain.whole + plain.sync) for mine, plain in pairs]
    )
    yield figure(
        f"{name} moving / pipe; sync -f, less log-in",
        [(mine.moving, plain.moving) for mine, plain in pairs],
        aim=_AIM,
    )
    yield figure(f"{name} processor time", [(mine.cpu, plain.cpu) for mine, plain in pairs])


def _wire(ground: Ground, far: Far, case: Case) -> Figure:
    """Compare the bytes into ssh and out of it with the stream."""
    file = ground.directory / "seen"
    nbytes = case.synced(far, wrapper=wrapper(file)).nbytes
    passed = seen(file)
    wire = passed.there + passed.back
    return Figure(
        what=f"{case.name} bytes / the stream",
        ratios=(wire / nbytes,),
        aim=_WIRE_AIM,
        note=f"{wire - nbytes} more than {nbytes}",
    )


def _network(far: Far, case: Case) -> Figure:
    """Compare the bytes of TCP."""
    with LinkProxy(far.server.port) as proxy:
        behind = far.through(proxy.port)

        def passed(action: Callable[[], object]) -> int:
            before = sum(map(proxy.passed, Way))
            action()
            return sum(map(proxy.passed, Way)) - before

        ours = passed(partial(case.synced, behind))
        plain = passed(partial(case.piped, behind)) - passed(behind.logged_in)
    return Figure(
        what=f"{case.name} bytes of TCP / pipe",
        ratios=(ours / plain,),
        note=f"{ours} / {plain}",
    )


@contextmanager
def _empty(ground: Ground) -> Iterator[Path]:
    with ground.file_system() as fresh:
        yield fresh.path
