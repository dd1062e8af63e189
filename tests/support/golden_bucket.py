"""A bucket as ButterSink 0.6.9 leaves it: written out by hand, without the code under test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from buttersink.model import Diff
from contract.memory_streams import Image, make_stream

if TYPE_CHECKING:
    from collections.abc import Mapping

STALE: Final = b"of an earlier upload with more parts " * 40
"""What a resumed upload left behind the end of a stream."""

REMOVED: Final = "0badcafe-0000-4000-8000-000000000001"
"""The uuid of a snapshot that was deleted: it is only in the trash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenBucket:
    """The bucket, and what is in it.

    Attributes:
        prefix: What was given to ButterSink, without the bucket.
        objects: All of them, by key.
        streams: The keys of streams below the prefix, and what these are.
        paths: Where each snapshot is below the prefix; two of them are at one path.
        sizes: What the `.bs` objects tell to whoever reads them as 0.6.9 does.
        overlong: The key of a stream with stale bytes behind its END.
        foreign: Keys below the prefix that are none of ButterSink's.
        silent: Keys that stand for directories.
        trash: Keys of removed objects.
        outside: Keys of streams below another prefix that begins like this one.
    """

    prefix: str
    objects: Mapping[str, bytes]
    streams: Mapping[str, Diff]
    paths: Mapping[UUID, str]
    sizes: Mapping[Diff, int]
    overlong: str
    foreign: frozenset[str]
    silent: frozenset[str]
    trash: frozenset[str]
    outside: frozenset[str]


def example_streams() -> dict[Diff, bytes]:
    """Return the streams of four snapshots in a row, and another increment to the last one."""
    images = [
        Image(uuid=UUID(int=0xABC0 + n), generation=10 + n, content={b"file": b"content %d" % n})
        for n in range(4)
    ]
    first, second, third, fourth = images
    return {
        Diff(to.uuid, parent.uuid if parent else None): make_stream(
            b"snapshot", to, parent, version=1
        )
        for to, parent in (
            (first, None),
            (second, first),
            (third, second),
            (fourth, third),
            (fourth, first),
        )
    }


def golden_bucket(streams: Mapping[Diff, bytes], *, prefix: str = "laptop/") -> GoldenBucket:
    """Return a bucket that holds these streams.

    Args:
        streams: At least one full stream and one increment.
        prefix: Empty, or ending in a slash.
    """
    paths = _paths(list(dict.fromkeys(diff.to for diff in streams)))
    keys = {f"{prefix}{paths[diff.to]}/{diff.to}_{diff.parent}": diff for diff in streams}
    objects = {key: streams[diff] for key, diff in keys.items()}
    overlong = next(key for key, diff in keys.items() if diff.parent)
    objects[overlong] += STALE
    sizes = {diff: len(stream) for diff, stream in streams.items() if diff.parent}
    objects |= {
        f"{prefix}{path}.bs": _sizes_text(path, paths, sizes)
        for path in {paths[diff.to] for diff in sizes}
    }
    whole = next(stream for diff, stream in streams.items() if diff.parent is None)
    foreign = _foreign(prefix, next(iter(paths)))
    silent = frozenset({f"{prefix}empty/", prefix} - {""})
    removed = f"trash/{prefix}home.2015-12-31"
    trash = frozenset({f"{removed}/{REMOVED}_None", f"{removed}.bs"})
    outside = frozenset({f"{prefix[:-1]}2/other/{REMOVED}_None"} if prefix else ())
    objects |= dict.fromkeys(foreign, b"something else") | dict.fromkeys(silent, b"")
    objects |= dict.fromkeys(trash | outside, whole)
    return GoldenBucket(
        prefix=prefix,
        objects=objects,
        streams=keys,
        paths=paths,
        sizes=sizes,
        overlong=overlong,
        foreign=foreign,
        silent=silent,
        trash=trash,
        outside=outside,
    )


def _paths(uuids: list[UUID]) -> dict[UUID, str]:
    """Return a path of its own for each, as snapper names them, but for the last: it shares."""
    names = ["home.2016-05-01", *(f"{number}/snapshot" for number in range(12, 11 + len(uuids)))]
    names[-1] = names[-2]
    return dict(zip(uuids, names, strict=True))


def _sizes_text(path: str, paths: Mapping[UUID, str], sizes: Mapping[Diff, int]) -> bytes:
    """Return a `.bs` object with all that can be wrong with one."""
    mine = {diff: nbytes for diff, nbytes in sizes.items() if paths[diff.to] == path}
    lines = [f"{diff.to}\t{diff.parent}\t1" for diff in mine]
    lines += [f"{diff.to}\t{diff.parent}\t{nbytes}" for diff, nbytes in mine.items()]
    lines += [f"{diff.to}\t{diff.parent}\tunknown" for diff in mine]
    lines += ["a line that ends the reading"]
    lines += [f"{diff.to}\t{diff.parent}\t2" for diff in mine]
    return "".join(f"{line}\n" for line in lines).encode()


def _foreign(prefix: str, uuid: UUID) -> frozenset[str]:
    return frozenset(
        prefix + key
        for key in (
            "README.txt",
            "photos/2016_None",
            "photos/some_thing",
            f"photos/{uuid}",
            f"photos/{uuid}_none",
            f"photos/{uuid}_None.gz",
            f"photos/{uuid}_{str(uuid)[:-1]}",
            f"{uuid}_None",
        )
    )
