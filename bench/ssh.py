"""To another host by ssh, and from there; against `btrfs send | ssh host btrfs receive`."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.comparing import Figure, figure, timed
from bench.content import MIB
from bench.far import Far, receive, send
from bench.ground import drop_caches, run
from bench.running import in_turns
from bench.ssh_delay import delayed
from bench.ssh_tap import seen, wrapper
from bench.transfers import history, mixed_snapshot, steps_of
from support.link_faults import Way
from support.link_proxy import LinkProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bench.comparing import Extent
    from bench.far import Synced
    from bench.ground import Ground
    from bench.running import Run

_AIM = 1.03
_WIRE_AIM = 1.001


@dataclass(frozen=True, slots=True)
class Case:
    """Snapshots to move, and where to.

    Attributes:
        name: What to call it.
        snapshots: All but a lone first one are sent as diffs, to where the one before it is.
        fresh: Makes a destination.
    """

    name: str
    snapshots: list[Path]
    fresh: Callable[[], AbstractContextManager[Path]]


def ssh(ground: Ground, extent: Extent) -> Iterator[Figure]:
    """All about ssh."""
    with Far.opened() as far:
        with ground.file_system() as source:
            full = Case("full", [mixed_snapshot(source, extent)], lambda: _empty(ground))
            yield from _both_ways(ground, far, extent, full)
        with ground.file_system() as source, ground.file_system() as filled:
            steps = history(source, "one", extent, steps=1, nbytes=100 * MIB)
            base = filled.path / "received"
            base.mkdir()
            far.run(f"{send(steps[0])} | {receive(base)}")
            template = ground.template(filled)

            @contextmanager
            def copied() -> Iterator[Path]:
                with template.copied() as point:
                    yield point / base.name

            yield from _both_ways(ground, far, extent, Case("increment of 100 MiB", steps, copied))
        yield from delayed(ground, extent, far)


def _both_ways(ground: Ground, far: Far, extent: Extent, case: Case) -> Iterator[Figure]:
    for there in (True, False):
        yield from _compare(far, extent, case, there=there)
        yield from _wire(ground, far, case, there=there)


def _compare(far: Far, extent: Extent, case: Case, *, there: bool) -> Iterator[Figure]:
    """Compare times. As for local ends, there is a figure in which `sync` follows the pipe.

    The transfers alone are compared with a pipe without what it takes to log in.
    """

    def ours() -> Synced:
        return _ours(far, case, there=there)

    def plain() -> tuple[Run, float]:
        """Return what the pipe took, and the seconds of a sync after it."""
        with case.fresh() as destination:
            text = _pipe(far, case, destination, there=there)
            drop_caches()
            done = far.run(text)
            return done, timed(lambda: run("sync", "--file-system", destination))

    turns = in_turns(extent.pairs, [ours, plain, far.logged_in])
    what = f"ssh, {case.name} {'there' if there else 'back'}:"
    pipe = "send | ssh receive" if there else "ssh send | receive"
    yield figure(f"{what} / {pipe}", [(m.whole, p.seconds) for m, (p, _), _ in turns])
    yield figure(
        f"{what} / {pipe}; sync -f", [(m.whole, p.seconds + sync) for m, (p, sync), _ in turns]
    )
    yield figure(
        f"{what} moving / {pipe}; sync -f, less log-in",
        [(m.moving, p.seconds + sync - login) for m, (p, sync), login in turns],
        aim=_AIM,
    )
    yield figure(
        f"{what} processor time, both hosts", [(m.cpu, p.cpu_seconds) for m, (p, _), _ in turns]
    )


def _wire(ground: Ground, far: Far, case: Case, *, there: bool) -> Iterator[Figure]:
    """Compare bytes: ours into ssh and out of it with the stream; and those of the network."""
    what = f"ssh, {case.name} {'there' if there else 'back'}:"
    with case.fresh() as destination:
        file = ground.directory / "seen"
        mine = _ours(far, case, there=there, to=destination, wrapper=wrapper(file))
        passed = seen(file)
    nbytes = passed.there + passed.back
    yield Figure(
        what=f"{what} bytes into and out of ssh / the stream",
        ratios=(nbytes / mine.nbytes,),
        aim=_WIRE_AIM,
        note=f"{nbytes - mine.nbytes} bytes more than {mine.nbytes}",
    )
    with LinkProxy(far.server.port) as proxy:
        behind = far.through(proxy.port)
        _ours(behind, case, there=there)
        ours = sum(map(proxy.passed, Way))
        with case.fresh() as destination:
            behind.run(_pipe(behind, case, destination, there=there))
        plain = sum(map(proxy.passed, Way)) - ours
    yield Figure(
        what=f"{what} bytes of TCP / those of the plain pipe",
        ratios=(ours / plain,),
        note=f"{ours} / {plain}",
    )


def _ours(
    far: Far, case: Case, *, there: bool, to: Path | None = None, wrapper: str = ""
) -> Synced:
    if to is None:
        with case.fresh() as destination:
            return _ours(far, case, there=there, to=destination)
    source = case.snapshots[0].parent
    ends = (f"{source}/", far.url(to)) if there else (far.url(source), f"{to}/")
    drop_caches()
    return far.synced(*ends, wrapper=wrapper)


def _pipe(far: Far, case: Case, destination: Path, *, there: bool) -> str:
    """Return what a plain user types."""
    lines = []
    for parent, snapshot in steps_of(case.snapshots):
        sender, receiver = send(snapshot, parent), receive(destination)
        if there:
            lines.append(f"{sender} | {far.ssh(receiver)}")
        else:
            lines.append(f"{far.ssh(sender)} | {receiver}")
    return "\n".join(lines)


@contextmanager
def _empty(ground: Ground) -> Iterator[Path]:
    with ground.file_system() as fresh:
        yield fresh.path
