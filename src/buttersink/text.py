"""Numbers, times and foreign text as a person reads them. Pure functions, without layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buttersink.model import Certainty, Size

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from buttersink.model import Chain

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB")
_SHORT_ESCAPES: Final = str.maketrans({"\n": "\\n", "\r": "\\r", "\t": "\\t"})
_LONE_BYTES: Final = range(0xDC80, 0xDD00)
"""What surrogateescape (PEP 383) makes of bytes that are not UTF-8."""


def escape(text: str) -> str:
    r"""Make text from outside harmless to show on one line of a terminal.

    Whatever is not printable is written out: newline as ``\n``, ESC as ``\x1b``, a byte that is
    not UTF-8 as ``\xHH``, other invisible characters (bidirectional overrides among them) as
    ``\uHHHH``. Backslashes stay single, so that ordinary names can be copied from the output;
    the unambiguous form of a name is the one in JSON.
    """
    if text.isprintable():
        return text
    return "".join(map(_escape_one, text))


def _escape_one(char: str) -> str:
    if char.isprintable():
        return char
    code = ord(char)
    if code in _LONE_BYTES:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:  # noqa: PLR2004 - the end of ASCII
        short = char.translate(_SHORT_ESCAPES)
        return short if short != char else f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - end of BMP


def bytes_text(nbytes: float, *, digits: int = 4) -> str:
    """Return a number of bytes in base 1024 with `digits` significant digits.

    Whole parts are never cut: below 1 KiB the number is exact, and 1023 KiB has four digits
    whatever `digits` says.
    """
    whole = round(nbytes)
    if whole < 1024:  # noqa: PLR2004 - the base
        return "1 byte" if whole == 1 else f"{whole} bytes"
    for power, unit in enumerate(_UNITS, start=1):
        # Rounding decides the unit: 1023.96 KiB is 1.000 MiB, neither 1024 KiB nor 0.9999 MiB.
        scaled = max(nbytes / 1024**power, 1.0)
        if round(scaled) < 1024 or unit == _UNITS[-1]:  # noqa: PLR2004 - the base
            break
    if scaled >= 10 ** (digits - 1):
        return f"{scaled:.0f} {unit}"
    return f"{scaled:#.{digits}g} {unit}".replace(". ", " ")


def size_text(size: Size) -> str:
    """Return a size with a sign for its certainty: `~` estimated, `>` at least, `?` unknown."""
    match size.certainty:
        case Certainty.EXACT:
            return bytes_text(size.nbytes)
        case Certainty.ESTIMATE:
            return f"~{bytes_text(size.nbytes)}"
        case Certainty.AT_LEAST:
            return f">{bytes_text(size.nbytes)}"
        case Certainty.UNKNOWN:
            return "?"


def total_text(sizes: Iterable[Size]) -> str:
    """Return the sum of sizes; what is unknown among them is written as `+ ?`."""
    every = tuple(sizes)
    known = [size for size in every if size.certainty is not Certainty.UNKNOWN]
    if every and not known:
        return "?"
    worst = max(
        (size.certainty for size in known), key=list(Certainty).index, default=Certainty.EXACT
    )
    sum_text = size_text(Size(sum(size.nbytes for size in known), worst))
    return sum_text if len(known) == len(every) else f"{sum_text} + ?"


def rate_text(bytes_per_second: float) -> str:
    """Return a speed; three significant digits are more than it is worth."""
    return f"{bytes_text(bytes_per_second, digits=3)}/s"


def duration_text(seconds: float) -> str:
    """Return a span of time in its two largest units."""
    if round(seconds, 1) < 0.1:  # noqa: PLR2004 - what one decimal can show
        return "under 0.1 s"
    if round(seconds, 1) < 10:  # noqa: PLR2004 - from here on tenths are noise
        return f"{seconds:.1f} s"
    minutes, second = divmod(round(seconds), 60)
    if not minutes:
        return f"{second} s"
    hours, minute = divmod(minutes, 60)
    if not hours:
        return f"{minute} min {second:02} s"
    days, hour = divmod(hours, 24)
    return f"{days} d {hour:02} h" if days else f"{hour} h {minute:02} min"


def chain_text(chain: Chain) -> str:
    """Return what restoring a snapshot takes: "7 links, 1.200 GiB"."""
    return f"{count_text(chain.links, 'link')}, {bytes_text(chain.nbytes)}"


def time_text(moment: datetime) -> str:
    """Return an aware datetime in local time, to the second."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def count_text(number: int, noun: str) -> str:
    """Return a number and its regular noun: "1 partial", "2 partials"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
