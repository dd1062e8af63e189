"""Stored streams: to S3 and to directories, and back; against the plain pipes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.comparing import Figure, figure
from bench.content import Stock
from bench.ground import drop_caches, words
from bench.running import in_turns, script
from bench.services import bare, juicefs, rclone, seaweedfs
from bench.stream_costs import memory, requests
from bench.stream_runs import Turn, nbytes_of, snapshot_of, synced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.comparing import Extent
    from bench.ground import Ground
    from bench.running import Run
    from bench.services import S3Server, Serve

_SERVICES: tuple[tuple[str, Serve], ...] = (("JuiceFS", juicefs), ("SeaweedFS", seaweedfs))
_AIM = 1 / 0.95
"""Ours may be so much slower than what the server can do at most."""


def streams(ground: Ground, extent: Extent) -> Iterator[Figure]:
    """All about stored streams."""
    with ground.file_system() as source:
        snapshot = snapshot_of(source.path, Stock.noise(4), extent)
        for name, serve in _SERVICES:
            yield from upload(ground, extent, snapshot, f"upload, {name}", serve)
            yield from download(ground, extent, snapshot, f"download, {name}", serve)
        yield from directory(ground, extent, snapshot, "directory", compress=False)
    with ground.file_system() as source:
        snapshot = snapshot_of(source.path, Stock.text(4), extent)
        yield from directory(ground, extent, snapshot, "directory, zstd", compress=True)
    yield from memory(ground, extent)
    yield from requests(ground, extent)


def upload(
    ground: Ground, extent: Extent, snapshot: Path, what: str, serve: Serve
) -> Iterator[Figure]:
    """Store a stream in a bucket: each turn on a fresh server."""
    stream = words("btrfs", "send", "--quiet", snapshot)
    nbytes = str(nbytes_of(extent))

    def turn(contestant: Callable[[S3Server, str], Turn]) -> Callable[[], Turn]:
        def act() -> Turn:
            with serve(ground.directory) as server:
                bucket = server.fresh_bucket()
                drop_caches()
                return contestant(server, bucket)

        return act

    def ours(server: S3Server, bucket: str) -> Turn:
        return synced(ground, server, f"{snapshot.parent}/", f"s3://{bucket}/")

    def plain(server: S3Server, bucket: str) -> Turn:
        store = rclone(server, "rcat", f"s3:{bucket}/stream")
        return _plain(script(f"{stream} | {store}", environment=server.environment()))

    def piped(server: S3Server, bucket: str) -> Turn:
        store = bare(server, "upload", bucket, "stream")
        return _timing_itself(script(f"{stream} | {store} 2>&1", environment=server.environment()))

    def limit(server: S3Server, bucket: str) -> Turn:
        store = bare(server, "upload", bucket, "stream", "--nbytes", nbytes)
        return _timing_itself(script(f"{store} 2>&1", environment=server.environment()))

    turns = in_turns(extent.pairs, [turn(contestant) for contestant in (ours, plain, piped, limit)])
    yield _whole(f"{what}: / send | rclone rcat", [(mine, other) for mine, other, _, _ in turns])
    yield _moving(f"{what}: moving / send | bare", [(mine, other) for mine, _, other, _ in turns])
    yield _moving(
        f"{what}: moving / bare, from memory", [(mine, best) for mine, *_, best in turns], aim=_AIM
    )


def download(
    ground: Ground, extent: Extent, snapshot: Path, what: str, serve: Serve
) -> Iterator[Figure]:
    """Restore a stream from a bucket: each turn to a fresh file system."""
    with serve(ground.directory) as server:
        bucket = server.fresh_bucket()
        synced(ground, server, f"{snapshot.parent}/", f"s3://{bucket}/")
        listed = server.client().list_objects_v2(Bucket=bucket)["Contents"]
        key = max(listed, key=lambda thing: thing["Size"])["Key"]
        environment = server.environment()

        def ours() -> Turn:
            with _destination(ground) as point:
                return synced(ground, server, f"s3://{bucket}/", f"{point}/")

        def plain() -> Turn:
            with _destination(ground) as point:
                fetch = rclone(server, "cat", f"s3:{bucket}/{key}")
                return _plain(script(f"{fetch} | {_receive(point)}", environment=environment))

        def piped() -> Turn:
            with _destination(ground) as point:
                fetch = f"{bare(server, 'download', bucket, key)} 2> >(cat >&9)"
                text = f"exec 9>&1; {fetch} | {_receive(point)}"
                return _plain(script(text, environment=environment))

        def limit() -> Turn:
            drop_caches()
            fetch = bare(server, "download", bucket, key)
            return _timing_itself(script(f"{fetch} 2>&1 >/dev/null", environment=environment))

        turns = in_turns(extent.pairs, [ours, plain, piped, limit])
    yield _whole(f"{what}: / rclone cat | receive", [(mine, other) for mine, other, _, _ in turns])
    yield _whole(f"{what}: / bare | receive", [(mine, other) for mine, _, other, _ in turns])
    yield _moving(
        f"{what}: moving / bare | receive", [(mine, other) for mine, _, other, _ in turns]
    )
    yield _moving(f"{what}: moving / bare to /dev/null", [(mine, best) for mine, *_, best in turns])


def directory(
    ground: Ground, extent: Extent, snapshot: Path, what: str, *, compress: bool
) -> Iterator[Figure]:
    """Store a stream in a directory, and restore it, each turn to a fresh file system."""
    stream = words("btrfs", "send", "--quiet", snapshot)
    pack, unpack = (" | zstd -q -3 -T2", "zstd -q -d -c") if compress else ("", "cat")

    def store() -> Turn:
        with _destination(ground) as point:
            return synced(ground, None, f"{snapshot.parent}/", f"dir://{point}/", compress=compress)

    def plain_store() -> Turn:
        with _destination(ground) as point:
            file = words(point / "stream")
            return _plain(script(f"{stream}{pack} > {file}; sync {file}", environment={}))

    turns = in_turns(extent.pairs, [store, plain_store])
    yield _whole(f"{what}: / send{pack} > file; sync", turns)
    yield _moving(f"{what}: moving / send{pack} > file; sync", turns)

    with ground.file_system() as shelf:
        synced(ground, None, f"{snapshot.parent}/", f"dir://{shelf.path}/", compress=compress)
        (held,) = (path for path in shelf.path.glob("one/*") if path.suffix != ".json")

        def restore() -> Turn:
            with _destination(ground) as point:
                return synced(ground, None, f"dir://{shelf.path}/", f"{point}/")

        def plain_restore() -> Turn:
            with _destination(ground) as point:
                text = f"{unpack} {words(held)} | {_receive(point)}"
                return _plain(script(text, environment={}))

        turns = in_turns(extent.pairs, [restore, plain_restore])
        yield _whole(f"{what}: restore / {unpack} | receive; sync -f", turns)
        yield _moving(f"{what}: restore, moving / {unpack} | receive; sync -f", turns)


@contextmanager
def _destination(ground: Ground) -> Iterator[Path]:
    with ground.file_system() as fresh:
        drop_caches()
        yield fresh.path


def _receive(point: Path) -> str:
    """Return the end of a pipe that leaves the snapshot as durable as ButterSink does."""
    return f"{words('btrfs', 'receive', '--quiet', point)}; {words('sync', '-f', point)}"


def _plain(done: Run) -> Turn:
    return Turn(whole=done.seconds, moving=done.seconds, cpu=done.cpu_seconds)


def _timing_itself(done: Run) -> Turn:
    """Return the turn of the bare client, which tells what it took once it was set up."""
    return Turn(whole=done.seconds, moving=float(done.output), cpu=done.cpu_seconds)


def _whole(what: str, turns: list[tuple[Turn, ...]]) -> Figure:
    return figure(what, [(mine.whole, other.whole) for mine, other in turns], note=_cpu(turns))


def _moving(what: str, turns: list[tuple[Turn, ...]], aim: float | None = None) -> Figure:
    pairs = [(mine.moving, other.moving) for mine, other in turns]
    return figure(what, pairs, aim=aim, note=_cpu(turns))


def _cpu(turns: list[tuple[Turn, ...]]) -> str:
    mine, other = turns[len(turns) // 2]
    return f"cpu {mine.cpu:.1f} s / {other.cpu:.1f} s"
