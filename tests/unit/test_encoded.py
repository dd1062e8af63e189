"""An extent whose lengths can't be is refused before anything is written."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from buttersink.btrfs.applying.encoded import write_encoded
from buttersink.errors import CorruptStreamError, TransferError

NO_FILE = -1
MAX = 128 << 10

numbers = st.integers(0, 2 * MAX) | st.sampled_from([MAX, MAX + 1, 2**63 - 1, 2**63, 2**64 - 1])


def write(
    *,
    offset: int = 0,
    data: bytes = b"data",
    file_length: int = 4096,
    unencoded_length: int = 4096,
    unencoded_offset: int = 0,
    encryption: int = 0,
) -> None:
    write_encoded(
        NO_FILE,
        offset,
        memoryview(data),
        file_length=file_length,
        unencoded_length=unencoded_length,
        unencoded_offset=unencoded_offset,
        compression=1,
        encryption=encryption,
    )


@given(numbers, numbers, numbers)
def test_no_more_is_taken_of_an_extent_than_it_has(
    file_length: int, unencoded_length: int, unencoded_offset: int
) -> None:
    assume(file_length == 0 or file_length > unencoded_length - unencoded_offset)

    with pytest.raises(CorruptStreamError, match="can't be as it says"):
        write(
            file_length=file_length,
            unencoded_length=unencoded_length,
            unencoded_offset=unencoded_offset,
        )


@given(st.integers(MAX + 1, 2**64 - 1))
def test_no_extent_is_longer_than_those_of_btrfs(length: int) -> None:
    with pytest.raises(CorruptStreamError, match="can't be as it says"):
        write(unencoded_length=length)


@given(st.integers(2**63 - 4096, 2**64 - 1))
def test_nothing_is_written_where_no_file_can_be(offset: int) -> None:
    with pytest.raises(CorruptStreamError, match="can't be as it says"):
        write(offset=offset)


def test_an_extent_has_data() -> None:
    with pytest.raises(CorruptStreamError, match="can't be as it says"):
        write(data=b"")


def test_encrypted_extents_are_refused() -> None:
    with pytest.raises(TransferError, match="encrypted"):
        write(encryption=1)


def test_other_errors_are_those_of_the_kernel() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        write()
