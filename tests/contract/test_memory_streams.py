"""The memory store's streams: that what passes between memory stores is worth testing with."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import CorruptStreamError
from buttersink.model import Diff
from contract.carrying import carry, read_stream, store_stream
from contract.memory_disk import MemoryDisk
from contract.memory_store import MemoryStore
from contract.memory_streams import Image, apply_stream, make_stream, sent_generation

CONTENTS = st.dictionaries(
    st.sampled_from([b"a", b"b", b"\xff", b"new\nline"]),
    st.binary(max_size=20) | st.integers(0, 300_000).map(lambda size: b"x" * size),
)


def image(number: int, content: dict[bytes, bytes]) -> Image:
    return Image(uuid=UUID(int=number), generation=number, content=content)


@given(before=CONTENTS, after=CONTENTS, version=st.integers(1, 2))
def test_a_stream_turns_any_content_into_any_other(
    before: dict[bytes, bytes], after: dict[bytes, bytes], version: int
) -> None:
    parent, to = image(1, before), image(2, after)
    full = make_stream(b"name", to, None, version=version)
    incremental = make_stream(b"name", to, parent, version=version)
    assert apply_stream(full, {}) == apply_stream(incremental, before) == after
    assert sent_generation(full) == sent_generation(incremental) == 2


@given(before=CONTENTS, after=CONTENTS, chunk=st.integers(1, 1000))
def test_any_content_arrives_however_it_is_cut(
    before: dict[bytes, bytes], after: dict[bytes, bytes], chunk: int
) -> None:
    disk, other = MemoryDisk("source"), MemoryDisk("destination")
    one = disk.take_snapshot("snaps/1", before)
    two = disk.take_snapshot("snaps/2", after)
    source, sink = MemoryStore(disk, "snaps"), MemoryStore(other, "backup")
    carry(source, sink, Diff(one), "1")
    diff = Diff(two, one)
    store_stream(sink, diff, "2", read_stream(source, diff), chunk=chunk)
    assert other.snapshots["backup/1"].image.content == before
    assert other.snapshots["backup/2"].image.content == after


@given(data=st.data())
def test_no_stream_with_a_wrong_bit_or_a_missing_end_arrives(data: st.DataObject) -> None:
    disk, other = MemoryDisk("source"), MemoryDisk("destination")
    diff = Diff(disk.take_snapshot("snaps/1", {b"file": b"content", b"empty": b""}))
    stream = bytearray(read_stream(MemoryStore(disk, "snaps"), diff))
    position = data.draw(st.integers(0, len(stream) - 1))
    if data.draw(st.booleans()):
        stream[position] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del stream[position:]
    with pytest.raises(CorruptStreamError):
        store_stream(MemoryStore(other, "backup"), diff, "1", bytes(stream))
    assert other.snapshots == {}
