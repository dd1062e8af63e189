"""The checksum's implementation is that of the package, however it is loaded."""

from __future__ import annotations

import crc32c as package
from hypothesis import given
from hypothesis import strategies as st

from buttersink.stream.crc import crc32c


@given(st.binary(), st.integers(0, 2**32 - 1))
def test_it_computes_what_the_package_does(data: bytes, start: int) -> None:
    assert crc32c(data, start) == package.crc32c(data, start)


def test_it_takes_views() -> None:
    assert crc32c(memoryview(b"123456789"), 0) == 0xE3069283
