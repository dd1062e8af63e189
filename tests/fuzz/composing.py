"""Streams made of few bytes, so that fuzzing gets beyond the form of commands to what they do."""

from __future__ import annotations

import stat
import zlib
from typing import TYPE_CHECKING, Final, TypeVar

from buttersink.stream.command_layouts import FIELDS
from buttersink.stream.format import COMMANDS, encode_command, encode_stream_header
from support.stream_samples import PARENT, TO, A, end, head

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from buttersink.stream.command_layouts import Field

Value = TypeVar("Value")

PATHS: Final = (
    *(b"file", b"dir/file", b"dir/other", b"old", b"copy", b"dir", b"empty", b"empty/x"),
    *(b"a", b"b", b"a/b", b"a/b/c", b"b/a", b"fifo", b"dir/up", b"out", b"out/file", b"up"),
    *(b"n" * 255, b"n" * 256, b"/".join([b"a"] * 100)),
)
NAMES: Final = (
    *(b"user.x", b"trusted.x", b"security.capability", b"btrfs.compression", b"x"),
    *(b"system.posix_acl_default", b"system.posix_acl_access"),
)
NUMBERS: Final = (
    *(0, 1, 2, 3, 5, 7, 10, 255, 256, 4095, 4096, 4097, 8192, 1 << 16, 1 << 17, 1 << 20),
    *(1 << 31, (1 << 32) - 2, 1 << 40, (1 << 62) - 1, 1 << 6, 1 << 7, 1 << 8),
)
MODES: Final = (stat.S_IFBLK | 0o600, stat.S_IFCHR | 0o7777)
DATA: Final = (b"", b"x", bytes(4096), b"y" * 5000, zlib.compress(bytes(8192)), b"\0" * 12)
UUIDS: Final = (TO.bytes, PARENT.bytes)


def composed(data: bytes, version: int, *, incremental: bool) -> bytes:
    """Return the stream that any bytes mean: one for each command, and one for each attribute.

    What is refused as soon as it is seen is left to fuzzing of the form.
    """
    version = min(version, max(COMMANDS))
    kinds = [fields for fields in FIELDS.items() if fields[0] in COMMANDS[version]]
    source = iter(data)
    parent = PARENT if incremental else None
    made = [encode_stream_header(version), head(parent=parent, version=version)]
    for chosen in source:
        command, fields = kinds[chosen % len(kinds)]
        attributes = [(field.attribute, _value(field, source)) for field in fields]
        made.append(encode_command(command, attributes, version))
    return b"".join((*made, end(version)))


def _value(field: Field, source: Iterator[int]) -> bytes:
    chosen = next(source, 0)
    if field.form is not None and field.attribute != A.CLONE_UUID:
        numbers = MODES if field.attribute == A.MODE else NUMBERS
        return _any_of(numbers, chosen).to_bytes(16, "little")[: field.form.size]
    pools: dict[int, Sequence[bytes]] = {
        A.CLONE_UUID: UUIDS,
        A.XATTR_NAME: NAMES,
        A.XATTR_DATA: DATA,
        A.DATA: DATA,
        A.VERITY_SALT_DATA: DATA,
        A.VERITY_SIG_DATA: DATA,
    }
    return _any_of(pools.get(field.attribute, PATHS), chosen)


def _any_of(pool: Sequence[Value], chosen: int) -> Value:
    return pool[chosen % len(pool)]
