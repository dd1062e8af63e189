"""Frequent commands, as the kernel lays them out, are read in one go."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.stream.command_layouts import Layouts, read_attributes
from buttersink.stream.format import COMMAND_HEADER_SIZE
from support.command_samples import Sample, examples, samples
from support.stream_samples import A, C

SELDOM = {
    C.MKNOD,
    C.MKFIFO,
    C.MKSOCK,
    C.SET_XATTR,
    C.REMOVE_XATTR,
    C.CLONE,
    C.FALLOCATE,
    C.FILEATTR,
    C.ENABLE_VERITY,
}
"""Commands without a layout."""


def body_of(sample: Sample, version: int) -> memoryview:
    return memoryview(sample.encoded(version))[COMMAND_HEADER_SIZE:]


def read_at_once(layouts: Layouts, sample: Sample, body: memoryview) -> list[Any] | None:
    """Return the values by the layout that belongs to the body; None if none fits."""
    layout = layouts[int.from_bytes(body[:4], "little") << 16 | sample.command]
    values = None if layout is None else layout.read(body)
    return None if values is None else list(values)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_the_kernels_layout_of_each_frequent_command_is_known(version: int) -> None:
    layouts = Layouts(version)
    for sample in examples(version):
        values = read_at_once(layouts, sample, body_of(sample, version))
        assert (values is None) == (sample.command in SELDOM)


@given(st.data())
def test_both_ways_to_read_a_command_agree(data: st.DataObject) -> None:
    version = data.draw(st.sampled_from([1, 2, 3]))
    sample = data.draw(samples(version))
    body = body_of(sample, version)
    values = read_at_once(Layouts(version), sample, body)
    expected = read_attributes(sample.command, body, version)
    if sample.command is C.ENCODED_WRITE:
        expected.append(COMMAND_HEADER_SIZE + len(body))
    assert values in (None, expected)


@given(st.data())
def test_what_has_an_attribute_more_is_not_read_at_once(data: st.DataObject) -> None:
    version = data.draw(st.sampled_from([1, 2, 3]))
    sample = data.draw(samples(version))
    if A.DATA in dict(sample.attributes) and version > 1:
        return  # it would be part of the data
    more = body_of(examples(version)[data.draw(st.integers(0, 10))], version)
    assert read_at_once(Layouts(version), sample, body_and(sample, version, more)) is None


def body_and(sample: Sample, version: int, more: memoryview) -> memoryview:
    """Return the body of a command with that of another at its end."""
    return memoryview(bytes(body_of(sample, version)) + bytes(more))


def test_layouts_are_kept_up_to_a_bound() -> None:
    layouts = Layouts(1)
    keys = [(size << 16 | A.PATH) << 16 | C.UNLINK for size in range(4096)]
    first = layouts[keys[0]]
    assert first is not None
    assert layouts[keys[0]] is first
    for command in (C.UNLINK, C.RMDIR, C.CHMOD, C.CHOWN):
        for key in keys:
            assert len(layouts) <= 8192
            layouts[key >> 16 << 16 | command]
    assert layouts[keys[0]] is first
    assert layouts[keys[0] >> 16 << 16 | C.CHOWN] is None
