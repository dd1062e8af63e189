"""The record of an upload is believed as a whole or not at all."""

from __future__ import annotations

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.stored.journal import (
    Journal,
    JournalHeader,
    JournalPart,
    encode_header,
    encode_part,
    parse_journal,
)
from buttersink.stored.parts import PartSchedule

SCHEDULE = PartSchedule(base=100, plain=3, step=2, most=300, count=9, total=1_500)
HEADER = JournalHeader(
    format=1,
    key="laptop/home/x.zst",
    upload_id="2~abc/+=%",
    to=UUID(int=5),
    parent=None,
    version=1,
    compressed=False,
    level=3,
    frame_bytes=4 << 20,
    library="zstandard 0.25.0, zstd 1.5.7",
    schedule=SCHEDULE,
)


def part(number: int, nbytes: int | None = None, *, digit: str = "a") -> JournalPart:
    nbytes = SCHEDULE.size(number) if nbytes is None else nbytes
    return JournalPart(number=number, nbytes=nbytes, sha256=digit * 64, tag=f'"{number}"')


def journal(*parts: JournalPart, header: JournalHeader = HEADER) -> bytes:
    return encode_header(header) + b"".join(map(encode_part, parts))


headers = st.builds(
    JournalHeader,
    format=st.just(1),
    key=st.binary(max_size=20).map(lambda data: data.decode("utf-8", "surrogateescape")),
    upload_id=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    to=st.uuids(),
    parent=st.none() | st.uuids(),
    version=st.integers(1, 3),
    compressed=st.booleans(),
    level=st.none() | st.integers(-5, 22),
    frame_bytes=st.none() | st.integers(1, 1 << 40),
    library=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    schedule=st.just(SCHEDULE),
)
part_lists = st.permutations(range(1, 10)).flatmap(
    lambda numbers: st.integers(0, 9).map(lambda count: [part(n) for n in numbers[:count]])
)


@given(headers, part_lists)
def test_a_journal_comes_back(header: JournalHeader, parts: list[JournalPart]) -> None:
    data = journal(*parts, header=header)
    assert parse_journal(data) == Journal(header, {p.number: p for p in parts}, len(data))


@given(headers, part_lists, st.data())
def test_of_a_journal_that_was_cut_anywhere_the_whole_lines_count(
    header: JournalHeader, parts: list[JournalPart], data: st.DataObject
) -> None:
    text = journal(*parts, header=header)
    cut = text[: data.draw(st.integers(0, len(text)))]
    found = parse_journal(cut)
    whole = cut.count(b"\n")
    if whole == 0:
        assert found is None
    else:
        assert found is not None
        assert list(found.parts.values()) == parts[: whole - 1]
        assert cut[found.nbytes :].count(b"\n") == 0
        assert parse_journal(cut[: found.nbytes]) == found


def test_it_is_ascii_lines_of_json() -> None:
    for line in journal(part(1), part(2)).decode("ascii").splitlines():
        assert isinstance(json.loads(line), dict)


def test_a_later_line_of_a_part_counts() -> None:
    found = parse_journal(journal(part(1), part(2), part(1, digit="b")))
    assert found is not None
    assert found.parts == {1: part(1, digit="b"), 2: part(2)}


def test_the_last_part_may_be_shorter_in_whatever_order_parts_were_taken() -> None:
    found = parse_journal(journal(part(4, 7), part(2), part(1)))
    assert found is not None
    assert found.parts[4].nbytes == 7


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"{}\n",
        encode_part(part(1)),
        journal(part(1)) + b"\n",
        journal(part(1)) + b"\0\0\n",
        journal() + b'{"number":1}\n' + encode_part(part(2)),
        journal(part(1)).replace(b'"format":1', b'"format":2'),
        journal(part(1)).replace(b'"format":1', b'"format":1,"new":1'),
        journal(part(1)).replace(b"a" * 64, b"A" * 64),
        journal(part(1)).replace(b'"number":1', b'"number":0'),
        journal(part(1, 99), part(2)),
        journal(part(1, 101)),
        journal(part(9, 301)),
        journal(part(1)).replace(b'"number":1', b'"number":10'),
        journal(part(1)).replace(b"laptop/", b"%2Flaptop"),
        journal() + b"[" * 100_000 + b"\n",
        journal() + encode_header(HEADER),
    ],
)
def test_anything_else_odd_makes_all_of_it_worthless(data: bytes) -> None:
    assert parse_journal(data) is None


@given(st.binary(max_size=80))
def test_random_bytes_are_no_journal(data: bytes) -> None:
    assert parse_journal(data) is None
    assert parse_journal(data + b"\n") is None
