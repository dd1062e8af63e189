"""Send streams of snapshots that are nothing but files and their contents: made, and applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from buttersink.errors import CorruptStreamError
from buttersink.stream.format import (
    COMMAND_HEADER,
    COMMAND_HEADER_SIZE,
    HEADER_SIZE,
    Attribute,
    Command,
    decode_attributes,
    decode_stream_header,
    encode_command,
    encode_stream_header,
)
from buttersink.stream.size import largest_write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from uuid import UUID

    Content = Mapping[bytes, bytes]
    """The files of a snapshot by name; there are no directories in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A snapshot as far as streams are concerned."""

    uuid: UUID
    generation: int
    content: Content


def make_stream(name: bytes, to: Image, parent: Image | None, *, version: int) -> bytes:
    """Return the stream that turns `parent` (or nothing) into `to`, called `name` in its head."""
    commands = [encode_stream_header(version), _head(name, to, parent, version=version)]
    before = parent.content if parent else {}
    commands += (
        encode_command(Command.UNLINK, [(Attribute.PATH, path)], version)
        for path in sorted(before.keys() - to.content.keys())
    )
    for inode, (path, data) in enumerate(sorted(to.content.items()), start=257):
        if data == before.get(path):
            continue
        command, number = Command.MKFILE, (Attribute.INO, _u64(inode))
        if path in before:
            command, number = Command.TRUNCATE, (Attribute.SIZE, _u64(0))
        commands.append(encode_command(command, [(Attribute.PATH, path), number], version))
        commands += _writes(path, data, version=version)
    commands.append(encode_command(Command.END, [], version))
    return b"".join(commands)


def apply_stream(stream: bytes, base: Content) -> dict[bytes, bytes]:
    """Return what a whole stream makes of the content of its parent.

    Raises:
        CorruptStreamError: It does what can't be done to such a content.
    """
    files = {path: bytearray(data) for path, data in base.items()}
    for command, attributes in _commands(stream):
        path = attributes.get(Attribute.PATH, b"")
        match command:
            case Command.SUBVOL | Command.SNAPSHOT | Command.END:
                continue
            case Command.MKFILE if path not in files:
                files[path] = bytearray()
            case Command.UNLINK if path in files:
                del files[path]
            case Command.TRUNCATE if path in files:
                del files[path][_number(attributes[Attribute.SIZE]) :]
            case Command.WRITE if path in files:
                start, data = _number(attributes[Attribute.FILE_OFFSET]), attributes[Attribute.DATA]
                files[path][start : start + len(data)] = data
            case _:
                raise CorruptStreamError(f"{command.name} {path!r} can't be done")
    return {path: bytes(data) for path, data in files.items()}


def sent_generation(stream: bytes) -> int:
    """Return what the generation of the snapshot was where the stream was made."""
    _, attributes = next(_commands(stream))
    return _number(attributes[Attribute.CTRANSID])


def _head(name: bytes, to: Image, parent: Image | None, *, version: int) -> bytes:
    attributes = [
        (Attribute.PATH, name),
        (Attribute.UUID, to.uuid.bytes),
        (Attribute.CTRANSID, _u64(to.generation)),
    ]
    if parent is None:
        return encode_command(Command.SUBVOL, attributes, version)
    attributes += [
        (Attribute.CLONE_UUID, parent.uuid.bytes),
        (Attribute.CLONE_CTRANSID, _u64(parent.generation)),
    ]
    return encode_command(Command.SNAPSHOT, attributes, version)


def _writes(path: bytes, data: bytes, *, version: int) -> Iterator[bytes]:
    step = largest_write(version)
    for start in range(0, len(data), step):
        offset, part = _u64(start), data[start : start + step]
        attributes = [
            (Attribute.PATH, path),
            (Attribute.FILE_OFFSET, offset),
            (Attribute.DATA, part),
        ]
        yield encode_command(Command.WRITE, attributes, version)


def _commands(stream: bytes) -> Iterator[tuple[Command, dict[Attribute, bytes]]]:
    version = decode_stream_header(stream)
    position = HEADER_SIZE
    while position < len(stream):
        length, number, _ = COMMAND_HEADER.unpack_from(stream, position)
        start = position + COMMAND_HEADER_SIZE
        position = start + length
        attributes = decode_attributes(memoryview(stream)[start:position], version)
        yield Command(number), {name: bytes(data) for name, data in attributes.items()}


def _u64(number: int) -> bytes:
    return number.to_bytes(8, "little")


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")
