"""Which attributes each command of a send stream has, and how their values are got out of it.

The kernel writes the attributes of a command always in the same order. So of a frequent command
all is known but the size of its PATH, and one call of `struct` yields its values: a `Layout`.
Whatever is laid out otherwise is taken apart attribute by attribute, which also finds out what is
wrong with it: `read_attributes`. The authority is `fs/btrfs/send.c` of the kernel.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from buttersink.errors import CorruptStreamError
from buttersink.stream.format import (
    ATTRIBUTE_HEADER_SIZE,
    COMMAND_HEADER_SIZE,
    COMMANDS,
    MAX_PATH,
    Attribute,
    Command,
    decode_attributes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_BULK: Final = frozenset((Attribute.DATA, Attribute.XATTR_DATA))
"""Attributes that are not copied out of the stream."""

_MAX_LAYOUTS: Final = 8192
"""How many layouts are made, of about 1 KiB each: for a dozen commands, 600 sizes of a path."""


@dataclass(frozen=True, slots=True)
class Field:
    """An attribute of a command.

    Attributes:
        attribute: Which one.
        form: How its values lie in its data; None if it is of any size, and then one value.
        optional: Whether it may be missing; its values are then 0.
    """

    attribute: Attribute
    form: struct.Struct | None = None
    optional: bool = False

    def values(self, data: memoryview | None) -> Sequence[Any]:
        """Return the values in the data, None meaning that the attribute is missing.

        Raises:
            CorruptStreamError: It must not be missing, or is of another size.
        """
        form = self.form
        if data is None:
            if form is None or not self.optional:
                raise CorruptStreamError(f"{self.attribute.name} is missing")
            return form.unpack(bytes(form.size))
        if form is None:
            return (data if self.attribute in _BULK else data.tobytes(),)
        if len(data) != form.size:
            raise CorruptStreamError(
                f"{self.attribute.name} has {len(data)} bytes, not {form.size}"
            )
        return form.unpack(data)


def _fixed(attribute: Attribute, form: str, *, optional: bool = False) -> Field:
    """Return the field of an attribute whose values have this form, as "qI"."""
    return Field(attribute, struct.Struct("<" + form), optional)


def _ignored(attribute: Attribute, size: int) -> Field:
    """Return the field of an attribute that the kernel sends, and nobody needs."""
    return _fixed(attribute, f"{size}x", optional=True)


_PATH: Final = Field(Attribute.PATH)
_INODE: Final = _ignored(Attribute.INO, 8)
_OFFSET: Final = _fixed(Attribute.FILE_OFFSET, "Q")
_SIZE: Final = _fixed(Attribute.SIZE, "Q")
_NAME: Final = Field(Attribute.XATTR_NAME)
_DATA: Final = Field(Attribute.DATA)

FIELDS: Final[Mapping[Command, Sequence[Field]]] = {
    Command.MKFILE: (_PATH, _INODE),
    Command.MKDIR: (_PATH, _INODE),
    Command.MKNOD: (_PATH, _INODE, _fixed(Attribute.RDEV, "Q"), _fixed(Attribute.MODE, "Q")),
    Command.MKFIFO: (_PATH, _INODE, _ignored(Attribute.RDEV, 8), _ignored(Attribute.MODE, 8)),
    Command.MKSOCK: (_PATH, _INODE, _ignored(Attribute.RDEV, 8), _ignored(Attribute.MODE, 8)),
    Command.SYMLINK: (_PATH, _INODE, Field(Attribute.PATH_LINK)),
    Command.RENAME: (_PATH, Field(Attribute.PATH_TO)),
    Command.LINK: (_PATH, Field(Attribute.PATH_LINK)),
    Command.UNLINK: (_PATH,),
    Command.RMDIR: (_PATH,),
    Command.SET_XATTR: (_PATH, _NAME, Field(Attribute.XATTR_DATA)),
    Command.REMOVE_XATTR: (_PATH, _NAME),
    Command.WRITE: (_PATH, _OFFSET, _DATA),
    Command.CLONE: (
        _PATH,
        _OFFSET,
        _fixed(Attribute.CLONE_LEN, "Q"),
        _fixed(Attribute.CLONE_UUID, "16s"),
        _ignored(Attribute.CLONE_CTRANSID, 8),
        Field(Attribute.CLONE_PATH),
        _fixed(Attribute.CLONE_OFFSET, "Q"),
    ),
    Command.TRUNCATE: (_PATH, _SIZE),
    Command.CHMOD: (_PATH, _fixed(Attribute.MODE, "Q")),
    Command.CHOWN: (_PATH, _fixed(Attribute.UID, "Q"), _fixed(Attribute.GID, "Q")),
    Command.UTIMES: (
        _PATH,
        _fixed(Attribute.ATIME, "qI"),
        _fixed(Attribute.MTIME, "qI"),
        _ignored(Attribute.CTIME, 12),
        _ignored(Attribute.OTIME, 12),
    ),
    Command.FALLOCATE: (_PATH, _fixed(Attribute.FALLOCATE_MODE, "I"), _OFFSET, _SIZE),
    Command.FILEATTR: (_PATH, _fixed(Attribute.FILEATTR, "Q")),
    Command.ENCODED_WRITE: (
        _PATH,
        _OFFSET,
        _fixed(Attribute.UNENCODED_FILE_LEN, "Q"),
        _fixed(Attribute.UNENCODED_LEN, "Q"),
        _fixed(Attribute.UNENCODED_OFFSET, "Q"),
        _fixed(Attribute.COMPRESSION, "I", optional=True),
        _fixed(Attribute.ENCRYPTION, "I", optional=True),
        _DATA,
    ),
    Command.ENABLE_VERITY: (
        _PATH,
        _fixed(Attribute.VERITY_ALGORITHM, "B"),
        _fixed(Attribute.VERITY_BLOCK_SIZE, "I"),
        Field(Attribute.VERITY_SALT_DATA),
        Field(Attribute.VERITY_SIG_DATA),
    ),
}
"""The attributes of each command on a path, as the kernel orders them but for those of CLONE."""

_FREQUENT: Final = frozenset(
    (
        Command.MKFILE,
        Command.MKDIR,
        Command.SYMLINK,
        Command.RENAME,
        Command.LINK,
        Command.UNLINK,
        Command.RMDIR,
        Command.WRITE,
        Command.TRUNCATE,
        Command.CHMOD,
        Command.CHOWN,
        Command.UTIMES,
        Command.ENCODED_WRITE,
    )
)
"""Commands with a layout: between PATH and the last attribute all are of fixed size."""


def read_attributes(command: Command, body: memoryview, version: int) -> list[Any]:
    """Return the values of a command however it is laid out, in the order of its `FIELDS`.

    Raises:
        CorruptStreamError: It is malformed; it lacks an attribute, has one of the wrong size, or
            one that is not its own.
    """
    attributes = decode_attributes(body, version)
    values: list[Any] = []
    for field in FIELDS[command]:
        values += field.values(attributes.pop(field.attribute, None))
    for stray in attributes:
        raise CorruptStreamError(f"{stray.name} is no attribute of {command.name}")
    return values


@dataclass(frozen=True, slots=True)
class Layout:
    """How the kernel lays out a command, with a PATH of a certain size.

    That the body begins with the header of such a PATH must be known. All other attribute headers
    are compared, so that no attribute can hide in another.

    Attributes:
        size: Bytes of the body, less the data of its last attribute if that is of any size.
        headers: Yields the header of each attribute after PATH as one number.
        expected: What that must be, but for the header of a last attribute that tells its size.
        values: Yields the values, but for a last attribute of any size.
        rest: The number of that last attribute; None if there is none.
        sized: Whether its header tells its size.
        bulk: Whether its data is passed on as a view.
    """

    size: int
    headers: Callable[[memoryview], tuple[int, ...]]
    expected: tuple[int, ...]
    values: Callable[[memoryview], tuple[Any, ...]]
    rest: int | None
    sized: bool
    bulk: bool

    @classmethod
    def of(cls, command: Command, path_size: int, version: int) -> Layout:
        """Return the layout of a frequent command."""
        _, *fields = FIELDS[command]
        headers = f"<{ATTRIBUTE_HEADER_SIZE}x{path_size}x"
        values = f"<{ATTRIBUTE_HEADER_SIZE}x{path_size}s"
        expected: list[int] = []
        last = None
        for field in fields:
            attribute, form = field.attribute, field.form
            if form is None:
                last = attribute
            elif attribute is not Attribute.OTIME or version > 1:  # which it came with
                headers += f"I{form.size}x"
                values += f"{ATTRIBUTE_HEADER_SIZE}x{form.format[1:]}"
                expected.append(attribute | form.size << 16)
        sized = last is not None and (last is not Attribute.DATA or version == 1)
        if sized:
            headers += "I"
        elif last is not None:
            headers += "H"
            expected.append(last)
        yields = struct.Struct(headers)
        return cls(
            size=yields.size,
            headers=yields.unpack_from,
            expected=tuple(expected),
            values=struct.Struct(values).unpack_from,
            rest=last,
            sized=sized,
            bulk=last in _BULK,
        )

    def read(self, body: memoryview) -> Sequence[Any] | None:
        """Return the values in the body of a command; None if it is not laid out like this."""
        room = len(body) - self.size
        if self.rest is None:
            if room or self.headers(body) != self.expected:
                return None
            return self.values(body)
        expected = (*self.expected, self.rest + (room << 16)) if self.sized else self.expected
        if room < 0 or self.headers(body) != expected:
            return None
        rest = body[self.size :]
        return (*self.values(body), rest if self.bulk else rest.tobytes())


class SizedLayout(Layout):
    """One whose values end with the size of the whole command, in bytes."""

    __slots__ = ()

    def read(self, body: memoryview) -> Sequence[Any] | None:
        """See `Layout`."""
        values = super().read(body)
        return None if values is None else (*values, COMMAND_HEADER_SIZE + len(body))


class Layouts(dict[int, Layout | None]):
    """The layouts of one stream version, made when they are first asked for.

    The key has the command's number in its low 16 bits, and above it the first 4 bytes of the
    body as a number: the header of its PATH. None if there is no layout for that, or there are
    too many already.
    """

    def __init__(self, version: int) -> None:
        super().__init__()
        self._version = version

    def __missing__(self, key: int) -> Layout | None:
        if len(self) >= _MAX_LAYOUTS:
            return None
        number, attribute, size = key & 0xFFFF, key >> 16 & 0xFFFF, key >> 32
        layout = None
        known = number in _FREQUENT and number in COMMANDS[self._version]
        if known and attribute == Attribute.PATH and size <= MAX_PATH:
            kind = SizedLayout if number == Command.ENCODED_WRITE else Layout
            layout = kind.of(Command(number), size, self._version)
        self[key] = layout
        return layout
