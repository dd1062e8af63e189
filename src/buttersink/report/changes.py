"""What changed between two snapshots, as lines for a person or as JSON objects.

The lines and the fields are described in docs/diff.md, and keep their meaning.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from buttersink.stream.changes import ChangeKind, FileType, totals
from buttersink.text import bytes_text, count_text, escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from buttersink.stream.changes import Change, Details

SIGNS: Final[Mapping[ChangeKind, str]] = MappingProxyType(
    {
        ChangeKind.CREATED: "+",
        ChangeKind.DELETED: "-",
        ChangeKind.RENAMED: ">",
        ChangeKind.CHANGED: "M",
    }
)
_TOP: Final = "."
"""Stands for the empty path of the top directory."""
_XATTRS_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One change, as escaped text."""

    kind: ChangeKind
    path: str
    what: str


def shown(changes: Iterable[Change], *, everything: bool) -> Iterator[Change]:
    """Return those changes that a person wants to see.

    Where only times are told, something in a directory has changed, which has its own line, or
    somebody has touched a file.
    """
    return (change for change in changes if everything or not change.only_times)


def rows(changes: Iterable[Change]) -> Iterator[Row]:
    """Return a row for each change."""
    for change in changes:
        what = ", ".join(_what(change))
        yield Row(kind=change.kind, path=_path(change.path), what=what)


def lines(changes: Iterable[Change]) -> Iterator[str]:
    """Return a line for each change: sign, path, what; two spaces between."""
    for row in rows(changes):
        what = f"  ({row.what})" if row.what else ""
        yield f"{SIGNS[row.kind]}  {row.path}{what}"


def total_line(older: str, newer: str, changes: Sequence[Change], *, everything: bool) -> str:
    """Return the line that sums changes up; counts of zero are left out.

    Args:
        older: One snapshot as the user wrote it.
        newer: The other.
        changes: All of them.
        everything: Whether those that only tell times are shown, too.
    """
    found = totals(changes)
    parts = [
        f"{number} {words}"
        for number, words in (
            (found.created, "created"),
            (found.deleted, "deleted"),
            (found.renamed, "renamed"),
            (found.changed, "changed"),
        )
        if number
    ]
    if found.data_bytes:
        parts.append(f"{bytes_text(found.data_bytes)} of data")
    if found.shared_bytes:
        parts.append(f"{bytes_text(found.shared_bytes)} shared")
    if found.only_times:
        where = "" if everything else " (--all shows them)"
        parts.append(f"{found.only_times} with new times only{where}")
    return f"{escape(older)} -> {escape(newer)}: {', '.join(parts) or 'no differences'}"


def json_lines(older: str, newer: str, changes: Sequence[Change]) -> Iterator[str]:
    """Return a JSON object for each change, and one that sums them up."""
    for change in changes:
        # ASCII, because a path may hold lone surrogates, which no encoding of Unicode carries.
        yield json.dumps({"event": "change", **_fields(change)}, ensure_ascii=True)
    found = totals(changes)
    yield json.dumps(
        {
            "event": "compared",
            "older": older,
            "newer": newer,
            "created": found.created,
            "deleted": found.deleted,
            "renamed": found.renamed,
            "changed": found.changed,
            "only_times": found.only_times,
            "data_bytes": found.data_bytes,
            "shared_bytes": found.shared_bytes,
        },
        ensure_ascii=True,
    )


def _fields(change: Change) -> dict[str, Any]:
    details = change.details
    return {
        "kind": change.kind.value,
        "path": _text(change.path),
        "old_path": _optional_text(change.old_path),
        "type": change.type.value if change.type else None,
        "link_to": _optional_text(change.link_to),
        "target": _optional_text(details.target),
        "device": list(details.device) if details.device else None,
        "data_bytes": details.data_bytes,
        "shared_bytes": details.shared_bytes,
        "size": details.size,
        "mode": None if details.mode is None else f"{details.mode:04o}",
        "uid": details.owner[0] if details.owner else None,
        "gid": details.owner[1] if details.owner else None,
        "xattrs_set": _xattrs(details, are_set=True),
        "xattrs_removed": _xattrs(details, are_set=False),
        "flags": details.flags,
        "verity": details.verity,
        "times": details.times,
    }


def _xattrs(details: Details, *, are_set: bool) -> list[str]:
    return [_text(name) for name, is_set in sorted(details.xattrs.items()) if is_set is are_set]


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _optional_text(path: bytes | None) -> str | None:
    return None if path is None else _text(path)


def _path(path: bytes) -> str:
    return escape(_text(path)) or _TOP


def _what(change: Change) -> Iterator[str]:
    """Yield all that is to be said of a change."""
    if change.kind is ChangeKind.RENAMED and change.old_path is not None:
        yield f"from {_path(change.old_path)}"
    elif change.kind is ChangeKind.CHANGED and change.old_path != change.path:
        yield f"was {_path(change.old_path or b'')}"
    elif change.kind in {ChangeKind.CREATED, ChangeKind.DELETED}:
        yield from _type(change)
    if change.link_to is not None:
        yield f"hard link to {_path(change.link_to)}"
    yield from _data(change)
    # What was created has all of them, for the first time.
    if change.kind is not ChangeKind.CREATED:
        yield from _metadata(change.details)
    if change.only_times:
        yield "times"


def _type(change: Change) -> Iterator[str]:
    """Yield what it is; nothing of a deleted file, of which the stream doesn't tell."""
    details = change.details
    if change.type is None or change.type is FileType.OTHER:
        return
    text = change.type.value
    if details.target is not None:
        text += f" to {escape(_text(details.target))}"
    elif details.device is not None:
        major, minor = details.device
        text += f" {major}:{minor}"
    yield text


def _data(change: Change) -> Iterator[str]:
    details = change.details
    if details.data_bytes:
        yield f"data {bytes_text(details.data_bytes)}"
    if details.shared_bytes:
        yield f"shared {bytes_text(details.shared_bytes)}"
    obvious = change.kind is ChangeKind.CREATED and details.size == (
        details.data_bytes + details.shared_bytes
    )
    if details.size is not None and not obvious:
        yield f"size {bytes_text(details.size)}"


def _metadata(details: Details) -> Iterator[str]:
    if details.mode is not None:
        yield f"mode {details.mode:04o}"
    if details.owner is not None:
        yield f"owner {details.owner[0]}:{details.owner[1]}"
    for name, is_set in sorted(details.xattrs.items())[:_XATTRS_SHOWN]:
        yield f"xattr {escape(_text(name))}{'' if is_set else ' removed'}"
    if len(details.xattrs) > _XATTRS_SHOWN:
        yield count_text(len(details.xattrs) - _XATTRS_SHOWN, "more xattr")
    if details.flags is not None:
        yield "flags"
    if details.verity:
        yield "verity"
