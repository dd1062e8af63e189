"""What is believed of `.bs` objects."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from buttersink.model import Diff
from buttersink.stored.sizes import parse_sizes

A, B, C = (UUID(int=n + 0xA0) for n in range(3))


def test_each_line_is_a_diff_and_its_size() -> None:
    known = parse_sizes(f"{A}\t{B}\t123\n{A}\t{C}\t0\n".encode())
    assert known.sizes == {Diff(A, B): 123, Diff(A, C): 0}
    assert not known.problem


def test_nothing_is_known_from_nothing() -> None:
    known = parse_sizes(b"")
    assert not known.sizes
    assert not known.problem


def test_any_white_space_separates_and_the_last_line_needs_no_end() -> None:
    known = parse_sizes(f"  {A} {B}\t\t5\r\n{str(B).upper()}\v{A}  6".encode())
    assert known.sizes == {Diff(A, B): 5, Diff(B, A): 6}


def test_the_last_of_several_sizes_of_a_diff_counts() -> None:
    assert parse_sizes(f"{A}\t{B}\t1\n{A}\t{B}\t2\n".encode()).sizes == {Diff(A, B): 2}


def test_a_full_size_is_understood_though_0_6_9_wrote_none() -> None:
    assert parse_sizes(f"{A}\tNone\t9\n".encode()).sizes == {Diff(A, None): 9}


def test_a_line_with_a_bad_size_is_passed_over() -> None:
    for bad in ("None", "-1", "1.5", "1_000", "٣", "9" * 20):
        known = parse_sizes(f"{A}\t{B}\t{bad}\n{A}\t{C}\t7\n".encode())
        assert known.sizes == {Diff(A, C): 7}
        assert not known.problem


def test_any_other_malformed_line_ends_the_reading_and_is_named() -> None:
    for bad in ("", "one", f"{A}\t5", f"{A}\t{B}\t5\t6", f"{A}\tnone\t5", f"x{A}\t{B}\t5"):
        known = parse_sizes(f"{A}\t{B}\t5\n{bad}\n{A}\t{C}\t7\n".encode())
        assert known.sizes == {Diff(A, B): 5}
        assert "line 2" in known.problem


@given(st.binary(max_size=200))
def test_random_bytes_are_read_without_an_error(data: bytes) -> None:
    assert not parse_sizes(data).sizes
