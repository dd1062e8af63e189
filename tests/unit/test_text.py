import os
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.model import Certainty, Chain, Size
from buttersink.text import (
    bytes_text,
    chain_text,
    duration_text,
    escape,
    rate_text,
    size_text,
    time_text,
    total_text,
)

KIB = 1024
any_path = st.binary(max_size=30).map(os.fsdecode)
sizes = st.builds(Size, st.integers(0, 2**60), st.sampled_from(Certainty))


@given(st.text())
def test_nothing_escaped_can_steer_a_terminal_or_break_a_line(text: str) -> None:
    assert escape(text).isprintable()


@given(any_path)
def test_any_path_can_be_shown(path: str) -> None:
    escape(path).encode()


@given(st.text().filter(str.isprintable))
def test_printable_text_stays_as_it_is(text: str) -> None:
    assert escape(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("\x1b[31m", "\\x1b[31m"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        ("\x85", "\\u0085"),
        ("abc\u202etxt", "abc\\u202etxt"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
        ("back\\slash", "back\\slash"),
    ],
)
def test_what_is_not_printable_is_written_out(text: str, shown: str) -> None:
    assert escape(text) == shown


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1023 bytes"),
        (1024, "1.000 KiB"),
        (5 * KIB, "5.000 KiB"),
        (12345, "12.06 KiB"),
        (123456, "120.6 KiB"),
        (1023 * KIB, "1023 KiB"),
        (1024 * KIB - 1, "1.000 MiB"),
        (10 * KIB**2 - 100, "10.00 MiB"),
        (KIB**3, "1.000 GiB"),
        (KIB**4, "1.000 TiB"),
        (KIB**5, "1.000 PiB"),
        (2**64, "16384 PiB"),
    ],
)
def test_sizes_have_four_digits_in_base_1024(nbytes: int, text: str) -> None:
    assert bytes_text(nbytes) == text


@given(st.integers(1024, 1023 * KIB**5))
def test_a_size_is_within_its_last_digit_of_the_truth(nbytes: int) -> None:
    number, unit = bytes_text(nbytes).split()
    power = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB").index(unit)
    assert float(number) * KIB**power == pytest.approx(nbytes, rel=0.0006)
    assert len(number.replace(".", "")) == 4


def test_the_sign_tells_how_certain_a_size_is() -> None:
    assert [size_text(Size(5 * KIB, certainty)) for certainty in Certainty] == [
        "5.000 KiB",
        "~5.000 KiB",
        ">5.000 KiB",
        "?",
    ]


@given(st.lists(sizes))
def test_a_total_is_never_more_certain_than_its_parts(parts: list[Size]) -> None:
    total = total_text(parts)
    certainties = {part.certainty for part in parts}
    assert ("?" in total) == (Certainty.UNKNOWN in certainties)
    if Certainty.ESTIMATE in certainties and Certainty.AT_LEAST not in certainties:
        assert total.startswith("~")


def test_a_total_shows_what_is_known_beside_what_is_not() -> None:
    known = [Size(KIB), Size(KIB, Certainty.ESTIMATE)]
    unknown = Size(7, Certainty.UNKNOWN)
    assert total_text([]) == "0 bytes"
    assert total_text(known) == "~2.000 KiB"
    assert total_text([*known, unknown]) == "~2.000 KiB + ?"
    assert total_text([unknown]) == "?"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "under 0.1 s"),
        (0.1, "0.1 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (100_000, "1 d 03 h"),
    ],
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_chains_tell_their_links_and_bytes() -> None:
    assert chain_text(Chain(7, 6 << 20)) == "7 links, 6.000 MiB"
    assert chain_text(Chain(1, 1)) == "1 link, 1 byte"


def test_rates_have_three_digits() -> None:
    assert rate_text(50 * KIB) == "50.0 KiB/s"
    assert rate_text(1023.7 * KIB) == "1.00 MiB/s"
    assert rate_text(0.2) == "0 bytes/s"


def test_times_are_local_and_to_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ-5:30")
    time.tzset()
    try:
        assert time_text(datetime(2024, 1, 1, 20, 0, 1, 999, tzinfo=UTC)) == "2024-01-02 01:30:01"
    finally:
        monkeypatch.undo()
        time.tzset()
