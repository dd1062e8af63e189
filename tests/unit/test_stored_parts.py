"""The parts of an upload suffice for whatever comes, and are no larger than they have to be."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.stored.parts import PartSchedule, schedule, too_large
from buttersink.stores.shelf import PartLimits

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40

S3 = PartLimits(least=5 * MIB, most=5 * GIB, count=10_000, total=5 * TIB)
FEW = PartLimits(least=5 * MIB, most=5 * GIB, count=1_000, total=5 * TIB)


@st.composite
def any_limits(draw: st.DrawFn) -> PartLimits:
    least = draw(st.integers(1, 8 * MIB))
    most = draw(st.integers(least, 5 * GIB))
    count = draw(st.integers(1, 400))
    return PartLimits(least=least, most=most, count=count, total=draw(st.integers(1, 5 * TIB)))


limits = st.sampled_from([S3, FEW]) | any_limits()
amounts = st.none() | st.integers(0, 6 * TIB)
bases = st.integers(1, 256 * MIB)


def sizes(made: PartSchedule) -> list[int]:
    return [made.size(number) for number in range(1, made.count + 1)]


class TestAnySchedule:
    @given(bases, amounts, limits)
    def test_suffices_for_what_the_service_takes_or_half_of_what_its_parts_could_carry(
        self, base: int, expected: int | None, limits: PartLimits
    ) -> None:
        made = schedule(base, expected, limits)
        assert sum(sizes(made)) >= made.total
        assert limits.total >= made.total >= min(limits.total, limits.count * limits.most // 2)

    @given(bases, amounts, limits)
    def test_suffices_for_what_is_expected_if_anything_does(
        self, base: int, expected: int | None, limits: PartLimits
    ) -> None:
        if expected and not too_large(expected, limits):
            assert schedule(base, expected, limits).total >= expected

    @given(bases, amounts, limits)
    def test_has_parts_within_the_limits_that_never_get_smaller(
        self, base: int, expected: int | None, limits: PartLimits
    ) -> None:
        found = sizes(schedule(base, expected, limits))
        assert len(found) == limits.count
        assert found[0] >= limits.least
        assert found[-1] <= limits.most
        assert all(one <= other <= 2 * one for one, other in pairwise(found))

    @given(bases, amounts, limits, st.data())
    def test_counts_the_bytes_before_a_part(
        self, base: int, expected: int | None, limits: PartLimits, data: st.DataObject
    ) -> None:
        made = schedule(base, expected, limits)
        number = data.draw(st.integers(1, made.count))
        assert made.offset(number) == sum(sizes(made)[: number - 1])

    @given(bases, amounts, limits)
    def test_comes_back_from_json(
        self, base: int, expected: int | None, limits: PartLimits
    ) -> None:
        made = schedule(base, expected, limits)
        assert msgspec.json.decode(msgspec.json.encode(made), type=PartSchedule) == made

    @given(bases, st.integers(0, 4 * TIB))
    def test_keeps_to_one_size_for_what_is_expected(self, base: int, expected: int) -> None:
        made = schedule(base, expected, S3)
        last = max(-(-expected // made.base), 1)
        assert made.offset(last) == (last - 1) * made.base
        assert made.size(last) == made.base
        assert last <= made.count * 9 // 10

    @given(st.integers(-5, 0) | st.integers(10_001, 20_000))
    def test_has_no_part_beyond_its_numbers(self, number: int) -> None:
        made = schedule(16 * MIB, None, S3)
        with pytest.raises(ValueError, match="there is no part"):
            made.size(number)
        with pytest.raises(ValueError, match="there is no part"):
            made.offset(number)


def test_a_stream_of_common_size_has_the_parts_asked_for() -> None:
    for expected in (None, 0, 10 * MIB, 30 * GIB, 140 * GIB):
        assert schedule(16 * MIB, expected, S3).base == 16 * MIB


def test_a_stream_of_one_tebibyte_has_parts_of_117_mebibytes() -> None:
    made = schedule(16 * MIB, TIB, S3)
    assert made.base == 117 * MIB
    assert made.total == S3.total


def test_a_stream_of_unknown_size_has_small_parts_as_long_as_it_is_not_huge() -> None:
    made = schedule(16 * MIB, None, S3)
    at_100_gib = next(n for n in range(1, made.count + 1) if made.offset(n + 1) > 100 * GIB)
    assert made.offset(2_501) == 2_500 * 16 * MIB
    assert made.size(at_100_gib) <= 64 * MIB


def test_a_provider_of_1000_parts_takes_a_stream_that_was_expected_to_be_small() -> None:
    made = schedule(16 * MIB, 10 * GIB, FEW)
    assert made.base <= 32 * MIB
    assert made.total >= 2 * TIB


def test_only_what_no_parts_could_carry_is_too_large() -> None:
    assert too_large(5 * TIB, S3) == ""
    assert "5.000 TiB" in too_large(5 * TIB + 1, S3)
    assert too_large(1_000 * 5 * GIB, FEW) == ""
    assert "4.883 TiB" in too_large(1_000 * 5 * GIB + 1, FEW)
