"""What stored streams take besides time: memory, and requests, which services charge for."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench.comparing import Figure
from bench.content import MIB, Stock
from bench.ground import run
from bench.services import JOBS, PART_MIB, S3Server, juicefs
from bench.stream_runs import synced
from buttersink.btrfs import ioctl
from buttersink.model import Diff
from buttersink.stored.keys import receipt_key, stream_key
from buttersink.stored.parts import schedule
from buttersink.stores.btrfs import BtrfsStore
from buttersink.stores.s3 import S3Settings, open_shelf
from support.proxy import S3Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.comparing import Extent
    from bench.ground import Ground

_GIB = 1 << 30
_TIB = 1 << 40
_BESIDES = 64 * MIB
"""What the interpreter and the client of S3 need in any case, and a few frames."""
_SAME = 1.05
_COUNTED = 64 * MIB
_COUNTED_PART_MIB = 5
_PAGE = 1000
"""Objects in an answer to a listing."""


def memory(ground: Ground, extent: Extent) -> Iterator[Figure]:
    """The most memory that a run takes: it depends on the parts, not on the stream."""
    with ground.file_system(size="12G") as source:
        one = _snapshot(source.path, "one", _GIB // extent.divisor)
        three = _snapshot(source.path, "three", 3 * _GIB // extent.divisor)
        up, down = _peaks(ground, one, PART_MIB)
        up_large, _ = _peaks(ground, one, 4 * PART_MIB)
        up_long, down_long = _peaks(ground, three, PART_MIB)
    yield _bounded(f"memory: upload, parts of {PART_MIB} MiB / bound", up, PART_MIB)
    yield _bounded(f"memory: upload, parts of {4 * PART_MIB} MiB / bound", up_large, 4 * PART_MIB)
    yield _bounded("memory: download / bound of the upload", down, PART_MIB)
    yield _same("memory: upload of 3 GiB / of 1 GiB", up_long, up)
    yield _same("memory: download of 3 GiB / of 1 GiB", down_long, down)


def requests(ground: Ground, extent: Extent) -> Iterator[Figure]:
    """How many requests there are."""
    with ground.file_system() as source, juicefs(ground.directory) as server:
        snapshot = _snapshot(source.path, "counted", _COUNTED)
        bucket = server.fresh_bucket()
        ends = (f"{snapshot.parent}/", f"s3://{bucket}/")
        with _counted(server) as (proxied, counts):
            synced(ground, proxied, *ends, part_mib=_COUNTED_PART_MIB)
        others = counts.total() - counts["UploadPart"]
        with closing(
            open_shelf(
                S3Settings(
                    bucket=bucket,
                    endpoint_url=server.endpoint_url,
                    state_directory=str(ground.directory),
                )
            )
        ) as shelf:
            part_bytes = schedule(PART_MIB * MIB, _TIB, shelf.part_limits).base
        parts = -(-_TIB // part_bytes)
        yield Figure(
            what="requests: upload of 1 TiB / its parts",
            ratios=((parts + others) / parts,),
            note=f"{parts + others}, parts of {part_bytes // MIB} MiB; besides: {_told(counts)}",
        )
        with ground.file_system() as fresh, _counted(server) as (proxied, counts):
            synced(ground, proxied, ends[1], f"{fresh.path}/")
        whole = counts["GetObject"] - 2  # without the receipt, and the last range, which is short
        others = counts.total() - whole
        ranges = whole * _TIB // _COUNTED
        yield Figure(
            what="requests: download of 1 TiB / GiB",
            ratios=((ranges + others) * _GIB / _TIB,),
            note=f"{ranges + others}; in 64 MiB: {_told(counts, with_parts=True)}",
        )
        for objects in (1000, 5000):
            yield _no_op(ground, server, objects // extent.divisor)


def _snapshot(top: Path, name: str, nbytes: int) -> Path:
    """Make a snapshot of one file that can't be compressed, alone in its directory."""
    live, snapshot = top / f"live-{name}", top / name / "one"
    run("btrfs", "subvolume", "create", live)
    Stock.noise(5).write(live / "large", nbytes)
    snapshot.parent.mkdir()
    run("btrfs", "subvolume", "snapshot", "-r", live, snapshot)
    return snapshot


def _peaks(ground: Ground, snapshot: Path, part_mib: int) -> tuple[int, int]:
    """Return the most bytes of memory that storing and restoring a snapshot take."""
    with juicefs(ground.directory) as server, ground.file_system(size="12G") as fresh:
        bucket = f"s3://{server.fresh_bucket()}/"
        up = synced(ground, server, f"{snapshot.parent}/", bucket, part_mib=part_mib)
        down = synced(ground, server, bucket, f"{fresh.path}/", part_mib=part_mib)
        return up.peak, down.peak


def _bounded(what: str, peak: int, part_mib: int) -> Figure:
    bound = part_mib * MIB * (JOBS + 2) + _BESIDES
    note = f"{peak // MIB} MiB / {bound // MIB} MiB"
    return Figure(what=what, ratios=(peak / bound,), aim=1, note=note)


def _same(what: str, peak: int, other: int) -> Figure:
    note = f"{peak // MIB} MiB / {other // MIB} MiB"
    return Figure(what=what, ratios=(peak / other,), aim=_SAME, note=note)


@contextmanager
def _counted(server: S3Server) -> Iterator[tuple[S3Server, Counter[str]]]:
    """Yield the server behind a proxy, and what has passed that once the block has ended."""
    port = urlsplit(server.endpoint_url).port
    assert port is not None
    counts: Counter[str] = Counter()
    with S3Proxy(port) as proxy:
        yield S3Server(server.name, proxy.url), counts
        counts.update(proxy.counts())


def _told(counts: Counter[str], *, with_parts: bool = False) -> str:
    return ", ".join(
        f"{count} {name}"
        for name, count in sorted(counts.items())
        if with_parts or name != "UploadPart"
    )


def _no_op(ground: Ground, server: S3Server, objects: int) -> Figure:
    """Sync snapshots that are all stored: each has two objects, the stream and its receipt."""
    bucket = server.fresh_bucket()
    with ground.file_system() as source:
        _populate(source.path, objects // 2)
        with closing(BtrfsStore(str(source.path / "snapshots"))) as store:
            snapshots = store.inventory().snapshots
        keys = [
            stream_key("", s.path, Diff(s.uuid, None), compressed=True, text_only=True)
            for s in snapshots
        ]
        keys += [receipt_key(key) for key in keys]
        client = server.client()
        with ThreadPoolExecutor(JOBS) as threads:
            for stored in [
                threads.submit(client.put_object, Bucket=bucket, Key=key, Body=b"{}")
                for key in keys
            ]:
                stored.result()
        with _counted(server) as (proxied, counts):
            turn = synced(ground, proxied, f"{source.path}/snapshots/", f"s3://{bucket}/")
    return Figure(
        what=f"requests: no-op, {objects} objects / pages of {_PAGE}",
        ratios=(counts.total() / -(-objects // _PAGE),),
        note=f"{turn.whole:.1f} s; {_told(counts)}",
    )


def _populate(top: Path, count: int) -> None:
    live, directory = top / "live", top / "snapshots"
    run("btrfs", "subvolume", "create", live)
    directory.mkdir()
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    live_fd, directory_fd = os.open(live, flags), os.open(directory, flags)
    try:
        for number in range(count):
            (live / "number").write_text(f"{number}", encoding="ascii")
            ioctl.create_snapshot(
                directory_fd, f"{number:04}".encode(), source_fd=live_fd, readonly=True
            )
    finally:
        os.close(live_fd)
        os.close(directory_fd)
