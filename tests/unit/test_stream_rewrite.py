from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import CorruptStreamError
from buttersink.stream.format import HEADER_SIZE
from buttersink.stream.guard import Expectation, Rewrite, StreamGuard
from support.stream_samples import (
    FULL,
    INCREMENTAL,
    OTHER,
    PARENT,
    REAL_INCREMENT,
    REAL_INCREMENT_UUID,
    TO,
    A,
    C,
    clone,
    feed,
    full,
    head,
    parse,
    passed,
    pieces,
    sample,
    split,
    stream,
)

NEW_TO, NEW_PARENT = OTHER, REAL_INCREMENT_UUID


@pytest.mark.parametrize("version", [1, 2, 3])
@given(cuts=st.sets(st.integers(0, 2000)), check_all=st.booleans())
def test_only_the_named_fields_change_and_every_crc_is_right(
    version: int, cuts: set[int], *, check_all: bool
) -> None:
    data = sample(version)
    rewrite = Rewrite(name=b".new name", uuids={TO: NEW_TO, PARENT: NEW_PARENT})
    guard = StreamGuard(INCREMENTAL, rewrite, check_all=check_all)
    result = feed(guard, pieces(data, {min(cut, len(data)) for cut in cuts}))
    guard.finish()

    new_ids = {TO.bytes: NEW_TO.bytes, PARENT.bytes: NEW_PARENT.bytes}
    assert result[:HEADER_SIZE] == data[:HEADER_SIZE]
    for old, new in zip(split(data), split(result), strict=True):
        number, expected = parse(old, version)
        if number == C.SNAPSHOT:
            expected[A.PATH] = b".new name"
        elif number != C.CLONE:
            assert new == old
        for name in (A.UUID, A.CLONE_UUID):
            if name in expected:
                expected[name] = new_ids[expected[name]]
        assert list(parse(new, version)[1].items()) == list(expected.items())
    assert guard.plain_bytes == len(data)
    assert guard.passed_bytes == len(result) == len(data) + len(b".new name") - len(b"snap")


def test_a_rewritten_stream_is_the_stream_of_the_new_identities() -> None:
    rewrite = Rewrite(uuids={TO: NEW_TO, PARENT: NEW_PARENT})
    result = passed(sample(), INCREMENTAL, rewrite)
    expectation = Expectation(
        to=frozenset({NEW_TO}), parents=frozenset({NEW_PARENT}), max_version=1
    )
    assert passed(result, expectation) == result
    back = Rewrite(uuids={NEW_TO: TO, NEW_PARENT: PARENT})
    assert passed(result, expectation, back) == sample()


def test_identities_that_are_not_mapped_stay() -> None:
    data = stream(head(parent=PARENT), clone(PARENT), clone(TO))
    result = passed(data, INCREMENTAL, Rewrite(uuids={PARENT: NEW_PARENT}))
    assert result == stream(head(parent=NEW_PARENT), clone(NEW_PARENT), clone(TO))
    assert passed(data, INCREMENTAL, Rewrite(uuids={OTHER: NEW_TO})) == data
    assert passed(data, INCREMENTAL, Rewrite()) == data


def test_identities_can_be_exchanged() -> None:
    data = stream(head(parent=PARENT), clone(PARENT), clone(TO))
    result = passed(data, INCREMENTAL, Rewrite(uuids={PARENT: TO, TO: PARENT}))
    assert result == stream(head(PARENT, TO), clone(TO), clone(PARENT))


def test_a_kernels_stream_gets_its_new_name() -> None:
    parents = frozenset({parse_parent(REAL_INCREMENT)})
    expectation = Expectation(to=frozenset({REAL_INCREMENT_UUID}), parents=parents, max_version=2)
    result = passed(REAL_INCREMENT, expectation, Rewrite(name=b"x\xff"))
    first, *rest = split(result)
    assert parse(first, 2)[1][A.PATH] == b"x\xff"
    assert rest == split(REAL_INCREMENT)[1:]


@pytest.mark.parametrize("check_all", [True, False])
@pytest.mark.parametrize("index", [0, 1])
def test_a_wrong_crc_is_never_replaced_by_a_right_one(index: int, *, check_all: bool) -> None:
    data = bytearray(full(clone(TO)))
    data[HEADER_SIZE + index * len(head()) + 12] ^= 1
    with pytest.raises(CorruptStreamError, match="wrong checksum"):
        passed(bytes(data), FULL, Rewrite(name=b"x"), check_all=check_all)


@pytest.mark.parametrize("name", [b"", b"..", b"/x", b"a/../b", b"a\0", b"a" * 5000])
def test_an_unsafe_name_cannot_be_given(name: bytes) -> None:
    with pytest.raises(ValueError, match="must not carry"):
        Rewrite(name=name)


def parse_parent(data: bytes) -> UUID:
    return UUID(bytes=parse(split(data)[0], 2)[1][A.CLONE_UUID])
