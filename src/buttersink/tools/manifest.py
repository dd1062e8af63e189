"""Manifests: what a tree of files holds, as text that is equal wherever the tree is equal.

A manifest leaves out what a send stream does not carry, so that a snapshot and its received copy
have the same one. docs/checksumdir.md defines the format and gives the reason of each omission.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buttersink.errors import ButterSinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

HEADER = "buttersink-manifest 1"
TOP = b"."

TYPES = frozenset(("dir", "file", "symlink", "char", "block", "fifo", "socket"))

_LONGEST_LINE_BYTES = 1 << 26
"""No line is longer, so that a damaged file without newlines does not fill the memory."""
_UNSAFE = re.compile(rb"[^\x21-\x5b\x5d-\x7e]")
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


class DamagedManifestError(ButterSinkError):
    """A stored manifest is not one, is cut short, or is not what was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a manifest. A field that the type has not, or that is not kept, is None.

    Attributes:
        path: Relative to the tree, components separated by `/`; `TOP` for the directory itself.
        type: dir, file, symlink, char, block, fifo or socket.
        mode: Permission bits with set-user-ID, set-group-ID and sticky.
        size: Bytes of a file.
        mtime: Nanoseconds since the epoch; of all but the top.
        target: Of a symbolic link.
        device: Major and minor number of a char or block device.
        link: The first path of the same inode, for all its other paths.
        sha256: Of a file's data, in hex; not where there is a `link`.
        xattrs: Names and values, sorted by name.
    """

    path: bytes
    type: str
    mode: int
    uid: int
    gid: int
    size: int | None = None
    mtime: int | None = None
    target: bytes | None = None
    device: tuple[int, int] | None = None
    link: bytes | None = None
    sha256: str | None = None
    xattrs: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def order(self) -> bytes:
        """What manifests are sorted by: the path, the top before all others."""
        return b"" if self.path == TOP else self.path

    def fields(self) -> dict[str, str]:
        """Return the fields as they are written, in order, without type and path."""
        fields = {"mode": f"{self.mode:04o}", "uid": str(self.uid), "gid": str(self.gid)}
        if self.size is not None:
            fields["size"] = str(self.size)
        if self.mtime is not None:
            fields["mtime"] = str(self.mtime)
        if self.target is not None:
            fields["target"] = escape(self.target)
        if self.device is not None:
            fields["device"] = "{}:{}".format(*self.device)
        if self.link is not None:
            fields["link"] = escape(self.link)
        if self.sha256 is not None:
            fields["sha256"] = self.sha256
        for name, value in self.xattrs:
            fields["xattr:" + escape(name).replace("=", r"\x3d")] = escape(value)
        return fields

    def line(self) -> str:
        """Return the entry as it stands in a manifest, without the newline."""
        pairs = (f"{key}={value}" for key, value in self.fields().items())
        return " ".join((self.type, escape(self.path), *pairs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One way in which a tree is not what was expected.

    Attributes:
        field: The field that differs; None if the whole entry is missing or added.
        expected: The field's text, or the entry's type; None if it was not expected.
        found: Likewise; None if it was not found.
    """

    path: bytes
    field: str | None
    expected: str | None
    found: str | None

    def __str__(self) -> str:
        where = escape(self.path)
        if self.field is None:
            gone = self.found is None
            return (
                f"{where}: missing ({self.expected})" if gone else f"{where}: added ({self.found})"
            )
        expected, found = ("(none)" if v is None else v for v in (self.expected, self.found))
        return f"{where}: {self.field}: {expected} -> {found}"


def escape(raw: bytes) -> str:
    r"""Return `raw` as printable ASCII without spaces: any other byte, and a backslash, as \xHH."""
    return _UNSAFE.sub(lambda match: b"\\x%02x" % match[0][0], raw).decode("ascii")


def unescape(text: str) -> bytes:
    """Undo `escape`. Text that `escape` does not make is let through."""
    return _ESCAPED.sub(lambda match: bytes((int(match[1], 16),)), text.encode("ascii"))


def parse(line: str) -> Entry:
    """Return the entry that `line` stands for.

    Raises:
        ValueError: `line` is not exactly what `Entry.line` makes.
    """
    try:
        entry = _parse(line)
    except ValueError as error:
        raise ValueError(f"not an entry: {line}") from error
    if entry.type not in TYPES or entry.line() != line:
        raise ValueError(f"not an entry: {line}")
    return entry


def _parse(line: str) -> Entry:
    """Return the entry that `line` stands for; lenient, so that `parse` has to check it."""
    kind, path, *pairs = line.split(" ")
    values = dict(pair.split("=", 1) for pair in pairs)

    def number(key: str) -> int | None:
        return int(values[key]) if key in values else None

    def raw(key: str) -> bytes | None:
        return unescape(values[key]) if key in values else None

    device = tuple(int(part) for part in values["device"].split(":")) if "device" in values else ()
    return Entry(
        path=unescape(path),
        type=kind,
        mode=int(values.get("mode", ""), 8),
        uid=int(values.get("uid", "")),
        gid=int(values.get("gid", "")),
        size=number("size"),
        mtime=number("mtime"),
        target=raw("target"),
        device=(device[0], device[-1]) if device else None,
        link=raw("link"),
        sha256=values.get("sha256"),
        xattrs=tuple(
            sorted(
                (unescape(key.removeprefix("xattr:")), unescape(value))
                for key, value in values.items()
                if key.startswith("xattr:")
            )
        ),
    )


def write(entries: Iterable[Entry], put: Callable[[bytes], object]) -> str:
    """Give the lines of a manifest of `entries`, which are sorted, to `put`.

    Returns:
        The digest in hex: SHA-256 of all lines but the last, which itself holds the digest.
    """
    text = f"{HEADER}\n".encode("ascii")
    digest = hashlib.sha256(text)
    put(text)
    count = 0
    for count, entry in enumerate(entries, start=1):  # noqa: B007 - the last number is the count
        text = f"{entry.line()}\n".encode("ascii")
        digest.update(text)
        put(text)
    put(f"end {count} {digest.hexdigest()}\n".encode("ascii"))
    return digest.hexdigest()


def read(file: BinaryIO, name: str) -> Iterator[Entry]:
    """Yield the entries of the manifest in `file`, called `name` in errors.

    Only after the last entry is it certain that none was damaged.

    Raises:
        DamagedManifestError: This is no manifest, or not the whole one, or it was changed.
    """
    line = file.readline(_LONGEST_LINE_BYTES)
    if line != f"{HEADER}\n".encode("ascii"):
        hint = f"its first line must be '{HEADER}'; make one with checksumdir --manifest"
        raise DamagedManifestError(f"{name} is not a manifest that this version can read", hint)
    digest = hashlib.sha256(line)
    count, last = 0, None
    while line := file.readline(_LONGEST_LINE_BYTES):
        where = f"{name} is damaged in line {count + 2}"
        if line.startswith(b"end "):
            if line != f"end {count} {digest.hexdigest()}\n".encode("ascii"):
                raise DamagedManifestError(f"{name} is damaged: its digest does not fit its lines")
            if file.readline(1):
                raise DamagedManifestError(f"{name} is damaged: something follows its last line")
            return
        try:
            entry = parse(line.decode("ascii").removesuffix("\n"))
        except ValueError as error:
            raise DamagedManifestError(f"{where}: not an entry") from error
        if last is not None and entry.order <= last:
            raise DamagedManifestError(f"{where}: out of order")
        yield entry
        digest.update(line)
        count, last = count + 1, entry.order
    raise DamagedManifestError(f"{name} is damaged: it is cut short after line {count + 1}")


def compare(expected: Iterable[Entry], found: Iterable[Entry]) -> Iterator[Difference]:
    """Yield the differences between two manifests, which are sorted, in the order of paths."""
    olds, news = iter(expected), iter(found)
    old, new = next(olds, None), next(news, None)
    while old or new:
        here = min(entry.order for entry in (old, new) if entry)
        before = old if old and old.order == here else None
        after = new if new and new.order == here else None
        if before != after:
            yield from _differences(before, after)
        old = next(olds, None) if before else old
        new = next(news, None) if after else new


def _differences(old: Entry | None, new: Entry | None) -> Iterator[Difference]:
    """Yield the differences between what two manifests have at the same path."""
    if old and new:
        befores, afters = ({"type": entry.type, **entry.fields()} for entry in (old, new))
        for key in dict.fromkeys((*befores, *afters)):
            before, after = befores.get(key), afters.get(key)
            if before != after:
                yield Difference(path=old.path, field=key, expected=before, found=after)
    elif old:
        yield Difference(path=old.path, field=None, expected=old.type, found=None)
    elif new:
        yield Difference(path=new.path, field=None, expected=None, found=new.type)
