"""Compressed extents arrive as they were, or unpacked where the kernel won't have them."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from buttersink.btrfs import privileges
from buttersink.btrfs.applying.encoded import write_encoded
from buttersink.errors import CorruptStreamError
from buttersink.stream.unpacking import Compression, unpack
from support.encoded_extents import Extent, extents, snapshot
from support.kernel_calls import clone_range, create_subvolume, disable_copy_on_write
from support.lzo_blocks import extent, stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import MakeFs
    from support.loopfs import LoopFs

ALGORITHMS = ["zlib", "zstd", "lzo"]
SECTOR = 4096


def contents() -> dict[str, bytes]:
    """Return what files may hold, by name: regular, random, mixed, sparse, of all sizes."""
    chance = random.Random(20_240_501)
    words = [chance.randbytes(chance.randrange(1, 12)) for _ in range(300)]
    prose = b" ".join(chance.choice(words) for _ in range(100_000))
    mixed = b"".join(prose[n * 3000 : n * 3000 + 3000] + chance.randbytes(900) for n in range(90))
    files = {
        "zeros": bytes(300_000),
        "prose": prose,
        "mixed": mixed,
        "runs": b"".join(bytes([n % 256]) * chance.randrange(1, 900) for n in range(900)),
        "random": chance.randbytes(200_000),
        "inline": b"inline " * 280,
        "far": (chance.randbytes(30_000) + bytes(2000)) * 4,
    }
    for size in (5, 100, 2047, 4095, 4096, 4097, 8193, 131_071, 131_072, 131_073):
        files[f"size-{size}"] = (prose + prose)[7 * size % 1000 :][:size]
    return files


@pytest.fixture(params=ALGORITHMS)
def source(request: pytest.FixtureRequest, make_fs: MakeFs) -> Path:
    """Return a subvolume whose files are compressed."""
    fs = make_fs(label="source", mount_options=f"compress-force={request.param}")
    live = fs.path / "live"
    create_subvolume(live)
    for name, data in contents().items():
        (live / name).write_bytes(data)
    return live


def write(fd: int, extent: Extent, *, offset: int | None = None) -> None:
    write_encoded(
        fd,
        extent.offset if offset is None else offset,
        memoryview(extent.data),
        file_length=extent.file_length,
        unencoded_length=extent.unencoded_length,
        unencoded_offset=extent.unencoded_offset,
        compression=extent.compression,
        encryption=0,
    )


def assert_holds_the_extents(path: Path, original: Path, of_file: list[Extent]) -> None:
    """Assert that a file has all bytes of the original that the extents stand for."""
    received, sent = path.read_bytes(), original.read_bytes()
    assert of_file
    for one in of_file:
        end = min(one.offset + one.file_length, len(sent))
        assert received[one.offset : end] == sent[one.offset : end]


def by_file(found: list[Extent]) -> dict[str, list[Extent]]:
    files: dict[str, list[Extent]] = {}
    for one in found:
        files.setdefault(os.fsdecode(one.path), []).append(one)
    return files


def test_what_the_kernel_packs_unpacks_to_what_it_reads(source: Path) -> None:
    found = extents(snapshot(source, "snapshot"))

    assert {"zeros", "prose", "runs", "inline", "size-8193"} <= by_file(found).keys()
    for one in found:
        plain = unpack(one.data, one.compression, one.unencoded_length)
        data = (source / os.fsdecode(one.path)).read_bytes()
        part = data[one.offset : one.offset + one.file_length]
        assert plain[one.unencoded_offset :][: len(part)] == part


def test_extents_arrive_as_they_are(source: Path, fs_b: LoopFs) -> None:
    live = fs_b.path / "live"
    create_subvolume(live)
    sent = by_file(extents(snapshot(source, "snapshot")))
    for name, of_file in sent.items():
        with open(live / name, "xb", buffering=0) as file:
            for one in of_file:
                write(file.fileno(), one)

    for name, of_file in sent.items():
        assert_holds_the_extents(live / name, source / name, of_file)
    arrived = by_file(extents(snapshot(live, "snapshot")))
    whole = [name for name in sent if all(len(one.data) % SECTOR == 0 for one in sent[name])]
    assert {"zeros", "prose", "runs"} <= set(whole)
    for name in whole:
        assert arrived[name] == sent[name]


def no_copy_on_write(fs: LoopFs, _scratch: Path) -> Path:
    directory = fs.path / "nocow"
    directory.mkdir()
    disable_copy_on_write(os.fsencode(directory))
    return directory


def other_file_system(_fs: LoopFs, scratch: Path) -> Path:
    directory = scratch / "elsewhere"
    directory.mkdir()
    return directory


@pytest.mark.parametrize("place", [no_copy_on_write, other_file_system])
def test_extents_are_unpacked_where_the_kernel_refuses_them(
    source: Path, fs_b: LoopFs, scratch: Path, place: Callable[[LoopFs, Path], Path]
) -> None:
    directory = place(fs_b, scratch)
    sent = by_file(extents(snapshot(source, "snapshot")))
    for name, of_file in sent.items():
        with open(directory / name, "xb", buffering=0) as file:
            for one in of_file:
                write(file.fileno(), one)

    for name, of_file in sent.items():
        assert_holds_the_extents(directory / name, source / name, of_file)


def test_extents_are_unpacked_without_the_privilege_to_write_them(
    source: Path, fs_b: LoopFs
) -> None:
    of_file = by_file(extents(snapshot(source, "snapshot")))["prose"]
    path = fs_b.path / "file"
    path.touch()

    with path.open("r+b", buffering=0) as file:
        child = os.fork()
        if not child:
            try:
                privileges.keep_only(())
                for one in of_file:
                    write(file.fileno(), one)
            except BaseException:  # noqa: BLE001 - nothing of the child may go on in the parent's code
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)

    assert status == 0
    assert_holds_the_extents(path, source / "prose", of_file)


def test_an_extent_may_go_where_no_sector_begins(source: Path, fs_b: LoopFs) -> None:
    one = by_file(extents(snapshot(source, "snapshot")))["prose"][0]
    path = fs_b.path / "file"

    with path.open("xb", buffering=0) as file:
        write(file.fileno(), one, offset=1001)

    assert path.read_bytes()[1001:] == (source / "prose").read_bytes()[: one.file_length]


def test_a_part_of_an_extent_arrives(source: Path, fs_b: LoopFs) -> None:
    with open(source / "runs", "rb") as runs, open(source / "part", "xb") as part:
        clone_range(
            runs.fileno(), part.fileno(), source_offset=4 * SECTOR, length=20 * SECTOR, offset=0
        )
    (source / "runs").unlink()
    (one,) = by_file(extents(snapshot(source, "snapshot")))["part"]
    assert one.unencoded_offset == 4 * SECTOR
    path = fs_b.path / "file"

    with path.open("xb", buffering=0) as file:
        write(file.fileno(), one)

    assert path.read_bytes() == (source / "part").read_bytes()


def test_the_last_bytes_of_an_extent_may_be_in_the_middle_of_a_file(
    source: Path, fs_b: LoopFs
) -> None:
    """The kernel takes such only at the end of a file."""
    (one,) = by_file(extents(snapshot(source, "snapshot")))["size-8193"]
    path = fs_b.path / "file"
    path.write_bytes(b"z" * 20_000)

    with path.open("r+b", buffering=0) as file:
        write(file.fileno(), one)

    expected = (source / "size-8193").read_bytes()
    assert path.read_bytes() == expected + b"z" * (20_000 - len(expected))


@pytest.mark.parametrize("compression", [c for c in Compression if c >= Compression.LZO_8K])
def test_lzo_data_of_another_sector_size_is_unpacked(
    fs_a: LoopFs, compression: Compression
) -> None:
    data = b"sectors of another size\n" * 2000
    sector = 4096 << compression - Compression.LZO_4K
    blocks = [stored(data[start : start + sector]) for start in range(0, len(data), sector)]
    packed = extent(blocks, sector)
    path = fs_a.path / "file"

    with path.open("xb", buffering=0) as file:
        write_encoded(
            file.fileno(),
            0,
            memoryview(packed),
            file_length=len(data),
            unencoded_length=len(data),
            unencoded_offset=0,
            compression=compression,
            encryption=0,
        )

    assert path.read_bytes() == data


def test_damaged_data_that_must_be_unpacked_is_refused(source: Path, scratch: Path) -> None:
    one = by_file(extents(snapshot(source, "snapshot")))["prose"][0]
    damaged = one.data[:100] + bytes(len(one.data) - 100)
    path = scratch / "file"

    with path.open("xb", buffering=0) as file, pytest.raises(CorruptStreamError):
        write_encoded(
            file.fileno(),
            0,
            memoryview(damaged),
            file_length=one.file_length,
            unencoded_length=one.unencoded_length,
            unencoded_offset=one.unencoded_offset,
            compression=one.compression,
            encryption=0,
        )

    assert path.stat().st_size == 0
