"""What is guessed of the sizes of diffs, and that guesses never pass for more than that."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.model import Certainty, Snapshot
from buttersink.stores.estimates import estimate_size

GIB = 1 << 30
COUNTS = st.integers(0, 1 << 50)


def snapshot(
    generation: int,
    *,
    total: int | None = None,
    exclusive: int | None = None,
    metadata_bytes: int = 16384,
) -> Snapshot:
    return Snapshot(
        uuid=UUID(int=generation),
        paths=(f"snaps/{generation}",),
        created=datetime(2024, 1, 1, tzinfo=UTC),
        generation=generation,
        metadata_bytes=metadata_bytes,
        total=total,
        exclusive=exclusive,
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Return a snapshot with or without quota numbers, which may be stale and contradictory."""
    known = draw(st.booleans())
    return snapshot(
        draw(COUNTS),
        total=draw(COUNTS) if known else None,
        exclusive=draw(COUNTS) if known else None,
        metadata_bytes=draw(COUNTS),
    )


class TestWithQuotas:
    def test_a_full_stream_is_as_large_as_what_is_referenced(self) -> None:
        size = estimate_size(snapshot(1000, total=GIB), None)
        assert (size.nbytes, size.certainty) == (GIB, Certainty.ESTIMATE)

    def test_half_is_taken_to_change_in_a_thousand_generations(self) -> None:
        to, parent = snapshot(2000, total=GIB), snapshot(1000, total=GIB)
        assert estimate_size(to, parent).nbytes == GIB // 2

    @pytest.mark.parametrize("before", [0, GIB // 4])
    def test_what_was_added_has_to_be_sent(self, before: int) -> None:
        to, parent = snapshot(1000, total=GIB), snapshot(1000, total=before)
        assert estimate_size(to, parent).nbytes == GIB - before

    def test_what_is_in_no_other_has_to_be_sent(self) -> None:
        to = snapshot(1000, total=GIB, exclusive=GIB // 4)
        assert estimate_size(to, snapshot(1000, total=GIB)).nbytes == GIB // 4

    def test_a_parent_of_unknown_size_is_judged_by_its_generation(self) -> None:
        to, parent = snapshot(2000, total=GIB), snapshot(1000)
        size = estimate_size(to, parent)
        assert (size.nbytes, size.certainty) == (GIB // 2, Certainty.ESTIMATE)


class TestWithoutQuotas:
    def test_the_number_is_marked_as_unknown(self) -> None:
        to, parent = snapshot(2000), snapshot(1000, total=GIB)
        assert estimate_size(to, None).certainty is Certainty.UNKNOWN
        assert estimate_size(to, parent).certainty is Certainty.UNKNOWN

    def test_a_larger_tree_ranks_as_a_larger_stream(self) -> None:
        small, large = (snapshot(1000, metadata_bytes=n << 14) for n in (1, 2))
        assert estimate_size(small, None).nbytes < estimate_size(large, None).nbytes

    @given(snapshots(), snapshots())
    def test_any_parent_ranks_before_a_full_stream(self, to: Snapshot, parent: Snapshot) -> None:
        to = replace(to, total=None, exclusive=None)
        assert estimate_size(to, parent).nbytes < estimate_size(to, None).nbytes


class TestAlways:
    @given(snapshots(), snapshots())
    def test_no_diff_is_larger_than_the_full_stream_or_less_than_nothing(
        self, to: Snapshot, parent: Snapshot
    ) -> None:
        assert 0 <= estimate_size(to, parent).nbytes <= estimate_size(to, None).nbytes

    @given(snapshots(), st.none() | snapshots())
    def test_no_guess_passes_for_exact_or_for_known(
        self, to: Snapshot, parent: Snapshot | None
    ) -> None:
        expected = Certainty.UNKNOWN if to.total is None else Certainty.ESTIMATE
        assert estimate_size(to, parent).certainty is expected

    @given(snapshots(), snapshots(), COUNTS, COUNTS)
    def test_the_nearer_of_two_like_parents_is_never_worse(
        self, to: Snapshot, parent: Snapshot, one: int, other: int
    ) -> None:
        near, far = sorted((one, other))
        sizes = [
            estimate_size(to, replace(parent, generation=to.generation + sign * distance)).nbytes
            for distance in (near, far)
            for sign in (1, -1)
        ]
        assert sizes[0] == sizes[1] <= sizes[2] == sizes[3]
