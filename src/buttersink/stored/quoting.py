"""Paths of any bytes as plain ASCII: percent-encoding, as used in keys and in JSON.

Each byte outside of 0x20 to 0x7E, `%` itself and the backslash are `%` and two upper-case hex
digits. Slashes stay, so that the parts of a path stay parts.
"""

from __future__ import annotations

import re
from typing import Final

_QUOTED: Final = re.compile(r"[^ -$&-\[\]-~]")
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})?")

_NOT_TEXT: Final = re.compile("[\x00-\x1f\\\\\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Control characters, the backslash (which some services take for a slash), bytes that are not
UTF-8 (as surrogateescape), and two characters that XML 1.0 can't express, in which S3 lists keys
(https://www.w3.org/TR/xml/#charsets)."""


def is_plain_text(path: str) -> bool:
    """Whether a path can stand in a text key as it is."""
    return _NOT_TEXT.search(path) is None


def quote(path: str) -> str:
    """Return a path (bytes that are not UTF-8 as surrogateescape) as printable ASCII.

    Raises:
        ValueError: It has surrogates that stand for no byte.
    """
    latin = path.encode("utf-8", "surrogateescape").decode("latin-1")
    return _QUOTED.sub(lambda match: f"%{ord(match[0]):02X}", latin)


def unquote(text: str) -> str | None:
    """Return the path that was quoted; None if that can't be told for sure.

    Hex digits may be lower case, and more may be quoted than has to be. But a quoted slash is
    refused: it would make two paths of different parts of one text.
    """
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None
    if any(match[1] is None or match[1].upper() == b"2F" for match in _ESCAPE.finditer(data)):
        return None
    plain = _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), data)
    return plain.decode("utf-8", "surrogateescape")
