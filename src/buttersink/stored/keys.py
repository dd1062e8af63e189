"""Keys of stored streams and of what belongs to them ⇄ what they mean. See docs/stored-streams.md.

A prefix is empty or ends in a slash. Uuids are read in any case and written in lower case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final
from uuid import UUID

from buttersink.errors import UsageError
from buttersink.model import Diff
from buttersink.stored.quoting import is_plain_text, quote, unquote

MAX_KEY: Final = 1024
"""Bytes of UTF-8 that a text key may have (Amazon S3, "Naming objects")."""

TRASH: Final = "trash/"
"""Before the whole key of what was removed."""

HIDDEN_NAME: Final = ".buttersink-"
"""A part of a key that begins so is a working file's, and nothing below it is an object."""

_RECEIPT: Final = ".json"
_MARKER: Final = ".hidden"
_SIZES: Final = ".bs"
_NO_PARENT: Final = "None"

_ROOM: Final = len(TRASH) + max(len(_RECEIPT), len(_MARKER))
"""How much longer than the key of a stream the keys that belong to it can be."""

_UUID: Final = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_UUID_ONLY: Final = re.compile(_UUID)
_TAIL: Final = re.compile(
    rf"(?P<to>{_UUID})_(?:None|(?P<parent>{_UUID}))(?P<quoted>\.pct)?(?P<compressed>\.zst)?"
)
_UNSAFE_PARTS: Final = frozenset(("", ".", ".."))


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEntry:
    """The key of a stored stream.

    Attributes:
        key: The whole key, as it is written.
        path: That of the snapshot below the prefix.
        diff: What the stream makes from what.
        compressed: Whether the object is zstd frames; else it is the plain stream.
        quoted: Whether the path stands percent-encoded in the key.
    """

    key: str
    path: str
    diff: Diff
    compressed: bool
    quoted: bool


@dataclass(frozen=True, slots=True)
class ReceiptEntry:
    """A receipt, with the key of its stream, which need not exist."""

    stream: StreamEntry


@dataclass(frozen=True, slots=True)
class MarkerEntry:
    """A marker that hides a snapshot, with the key of its stream, which need not exist."""

    stream: StreamEntry


@dataclass(frozen=True, slots=True)
class SizesEntry:
    """Known sizes of diffs that lead to the snapshot at `path`, as ButterSink 0.6.9 stored them."""

    path: str


class Other(Enum):
    """What a key is that belongs to no snapshot."""

    FOREIGN = auto()
    """Not ours, and left alone."""
    NOTHING = auto()
    """What stands for a directory, or a working file: not worth a word."""
    TRASH = auto()
    """Something that was removed."""
    OUTSIDE = auto()
    """Of others: not below the prefix."""


Entry = StreamEntry | ReceiptEntry | MarkerEntry | SizesEntry | Other


def parse_uuid(text: str) -> UUID | None:
    """Return a uuid in its usual form of 36 characters; None if it is not."""
    return UUID(text) if _UUID_ONLY.fullmatch(text) else None


def stream_key(prefix: str, path: str, diff: Diff, *, compressed: bool, text_only: bool) -> str:
    """Return the key under which a stream is to be stored.

    Args:
        prefix: Empty, or ending in a slash.
        path: That of the snapshot below the prefix.
        diff: What the stream makes from what.
        compressed: Whether the object will be zstd frames.
        text_only: Whether keys are text, so that a path that is not has to be quoted.

    Raises:
        UsageError: No key can say that, or it could be taken for something else.
    """
    quoted = text_only and not is_plain_text(path)
    if not _is_path_below(path):
        raise UsageError(f"{path!r} is no path below the directory")
    if _is_working_file(path):
        raise UsageError(
            f"{path!r}: names that begin with {HIDDEN_NAME} are of unfinished work",
            "give the snapshot another name",
        )
    tail = f"{diff.to}_{diff.parent or _NO_PARENT}"
    suffixes = (".pct" if quoted else "") + (".zst" if compressed else "")
    key = f"{prefix}{quote(path) if quoted else path}/{tail}{suffixes}"
    if is_trash(key):
        raise UsageError(
            f"{path!r} can't be stored in {TRASH}, where removed streams go",
            "give the snapshot another name, or choose another prefix",
        )
    if text_only:
        _check_text(key, path)
    return key


def _check_text(key: str, path: str) -> None:
    if not is_plain_text(key):
        raise UsageError(f"{path!r} can't be stored: the prefix is not plain text")
    nbytes = len(key.encode()) + _ROOM
    if nbytes > MAX_KEY:
        raise UsageError(
            f"the path {path!r} is too long: its keys would have {nbytes} bytes, {MAX_KEY} may be",
            "give the snapshot a shorter path, or choose a shorter prefix",
        )


def receipt_key(stream: str) -> str:
    """Return the key of the receipt that belongs to the key of a stream."""
    return stream + _RECEIPT


def marker_key(stream: str) -> str:
    """Return the key whose existence says that a stream stays only as a link of chains."""
    return stream + _MARKER


def trash_key(key: str) -> str:
    """Return where an object goes when it is removed."""
    return TRASH + key


def is_trash(key: str) -> bool:
    """Whether a key, or a prefix, is that of something that was removed."""
    return key.startswith(TRASH)


def parse_key(key: str, prefix: str) -> Entry:
    """Return what a key means to whoever named `prefix`. Any text is taken, nothing is raised.

    Below a prefix that itself lies in the trash, keys mean what they meant before removal.
    """
    if is_trash(key) and not is_trash(prefix):
        return Other.TRASH
    if not key.startswith(prefix):
        return Other.OUTSIDE
    relative = key[len(prefix) :]
    if key.endswith("/") or _is_working_file(relative):
        return Other.NOTHING
    directory, _, name = relative.rpartition("/")
    if name.endswith(_SIZES):
        return _parse_sizes(relative)
    for suffix, kind in ((_RECEIPT, ReceiptEntry), (_MARKER, MarkerEntry)):
        if name.endswith(suffix):
            stream = _parse_stream(key.removesuffix(suffix), directory, name.removesuffix(suffix))
            return Other.FOREIGN if stream is None else kind(stream)
    return _parse_stream(key, directory, name) or Other.FOREIGN


def _parse_stream(key: str, directory: str, name: str) -> StreamEntry | None:
    tail = _TAIL.fullmatch(name)
    if tail is None:
        return None
    path = unquote(directory) if tail["quoted"] else directory
    if path is None or not _is_path_below(path) or _is_working_file(path):
        return None
    diff = Diff(UUID(tail["to"]), UUID(tail["parent"]) if tail["parent"] else None)
    return StreamEntry(
        key=key,
        path=path,
        diff=diff,
        compressed=tail["compressed"] is not None,
        quoted=tail["quoted"] is not None,
    )


def _parse_sizes(relative: str) -> SizesEntry | Other:
    path = relative.removesuffix(_SIZES)
    return SizesEntry(path) if _is_path_below(path) else Other.FOREIGN


def _is_path_below(path: str) -> bool:
    """Whether a path is safe to write to below a directory, and is one that a file can have."""
    if "\0" in path or not _UNSAFE_PARTS.isdisjoint(path.split("/")):
        return False
    try:
        data = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return data.decode("utf-8", "surrogateescape") == path


def _is_working_file(path: str) -> bool:
    return f"/{HIDDEN_NAME}" in f"/{path}"
