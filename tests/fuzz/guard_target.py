"""Send streams from where nobody is trusted, on their way to a receiver that runs as root.

A hostile stream has right checksums, so the input's are made right before it is tried; or else
nearly everything would be refused for that alone. What the guard passes is checked again, by a
second guard and by other means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from buttersink.errors import CorruptStreamError
from buttersink.stream.format import (
    COMMAND_HEADER,
    COMMAND_HEADER_SIZE,
    HEADER_SIZE,
    checksum,
    decode_stream_header,
)
from buttersink.stream.guard import Expectation, Rewrite, StreamGuard
from fuzz.parts import FuzzInput
from support.stream_samples import (
    OTHER,
    PARENT,
    REAL_FULL_UUID,
    REAL_INCREMENT_UUID,
    TO,
    A,
    C,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from uuid import UUID

# What the bits of an input's options mean
INCREMENTAL: Final = 1
REWRITTEN: Final = 2
NOT_ALL_CHECKED: Final = 4
CHECKSUMS_LEFT: Final = 8
VERSION_SHIFT: Final = 4
"""The newest version that is taken, less 1, is in two bits from here on."""

_TO: Final = frozenset({TO, REAL_FULL_UUID, REAL_INCREMENT_UUID})
_PARENTS: Final = frozenset({PARENT, REAL_FULL_UUID})
_REWRITE: Final = Rewrite(name=b"new/name", uuids={TO: OTHER, PARENT: TO})
_NAMES: Final = frozenset((A.PATH, A.PATH_TO, A.PATH_LINK, A.CLONE_PATH))


def take(raw: bytes) -> None:
    """Take a stream, and look at what passes of it."""
    given = FuzzInput.decode(raw)
    if not given.options & CHECKSUMS_LEFT:
        given = given._replace(data=with_right_checksums(given.data))
    rewrite = _REWRITE if given.options & REWRITTEN else None
    expectation = Expectation(
        to=_TO,
        parents=_PARENTS if given.options & INCREMENTAL else None,
        max_version=1 + (given.options >> VERSION_SHIFT & 3),
    )
    check_all = not given.options & NOT_ALL_CHECKED
    at_once = _pass(
        [memoryview(given.data)], StreamGuard(expectation, rewrite, check_all=check_all)
    )
    in_parts = _pass(given.parts(), StreamGuard(expectation, rewrite, check_all=check_all))
    assert at_once.refusal == in_parts.refusal
    assert in_parts.data.startswith(at_once.data)
    assert in_parts.data == at_once.data or in_parts.refusal

    passed = in_parts.data
    if rewrite is None:
        again = _pass([memoryview(passed)], StreamGuard(expectation, check_all=check_all))
        assert again.plain_bytes == in_parts.plain_bytes
        _check_commands(passed, expectation, name=None)
    else:
        rewritten = _rewritten(expectation, rewrite)
        # Left as it is: CLONE_UUID in a command that it has no meaning in.
        either = _merged(expectation, rewritten)
        again = _pass([memoryview(passed)], StreamGuard(either, check_all=check_all))
        _check_commands(passed, rewritten, name=rewrite.name)
    assert again.data == passed
    assert not check_all or passed == with_right_checksums(passed)
    assert bool(again.refusal) == bool(in_parts.refusal)


def with_right_checksums(stream: bytes) -> bytes:
    """Return the stream with the crc of each whole command made right."""
    made = bytearray(stream)
    for start, end in _commands(stream):
        length, number, _ = COMMAND_HEADER.unpack_from(stream, start)
        body = stream[start + COMMAND_HEADER_SIZE : end]
        COMMAND_HEADER.pack_into(made, start, length, number, checksum(length, number, body))
    return bytes(made)


@dataclass(slots=True)
class _Passed:
    """What a guard let through."""

    data: bytes
    refusal: str
    plain_bytes: int


def _pass(parts: Iterable[memoryview], guard: StreamGuard) -> _Passed:
    passed = bytearray()
    plain_bytes, refusal = 0, ""
    try:
        for part in parts:
            for piece in guard.push(part):
                passed += piece
            assert guard.passed_bytes == len(passed)
            assert guard.plain_bytes >= plain_bytes
            plain_bytes = guard.plain_bytes
        guard.finish()
    except CorruptStreamError as error:
        refusal = str(error)
        assert refusal
    assert guard.ended or refusal
    return _Passed(bytes(passed), refusal, plain_bytes)


def _rewritten(expectation: Expectation, rewrite: Rewrite) -> Expectation:
    """Return what to expect of a stream that was rewritten."""

    def replaced(uuids: frozenset[UUID]) -> frozenset[UUID]:
        return frozenset(rewrite.uuids.get(uuid, uuid) for uuid in uuids)

    parents = expectation.parents
    return Expectation(
        to=replaced(expectation.to),
        parents=None if parents is None else replaced(parents),
        max_version=expectation.max_version,
    )


def _merged(one: Expectation, other: Expectation) -> Expectation:
    """Return the expectation of either."""
    parents = None if one.parents is None else one.parents | (other.parents or frozenset())
    return Expectation(to=one.to | other.to, parents=parents, max_version=one.max_version)


def _check_commands(stream: bytes, expectation: Expectation, *, name: bytes | None) -> None:
    """Check by other means that each command stays inside, and the first has this name."""
    if not stream:
        return
    version = decode_stream_header(stream)
    sources = {uuid.bytes for uuid in expectation.to | (expectation.parents or frozenset())}
    for index, (start, end) in enumerate(_commands(stream)):
        _, command, _ = COMMAND_HEADER.unpack_from(stream, start)
        attributes = [*_attributes(stream[start + COMMAND_HEADER_SIZE : end], version)]
        assert len(dict(attributes)) == len(attributes)
        assert (command in (C.SUBVOL, C.SNAPSHOT)) == (index == 0)
        assert command == C.END or A.PATH in dict(attributes)
        assert index or name in (None, dict(attributes)[A.PATH])
        for attribute, value in attributes:
            free_text = attribute == A.PATH_LINK and command == C.SYMLINK
            if attribute in _NAMES and not free_text:
                _check_path(value)
        if command in (C.SNAPSHOT, C.CLONE):
            assert dict(attributes)[A.CLONE_UUID] in sources


def _attributes(body: bytes, version: int) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the value of each attribute, however often it is there."""
    while body:
        number = int.from_bytes(body[:2], "little")
        if number == A.DATA and version > 1:
            return
        size = int.from_bytes(body[2:4], "little")
        assert len(body) >= size + 4
        yield number, body[4 : size + 4]
        body = body[size + 4 :]


def _check_path(path: bytes) -> None:
    assert b"\0" not in path
    assert not path.startswith(b"/")
    assert b".." not in path.split(b"/")


def _commands(stream: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each whole command begins and ends."""
    start = HEADER_SIZE
    while start + COMMAND_HEADER_SIZE <= len(stream):
        length, _, _ = COMMAND_HEADER.unpack_from(stream, start)
        end = start + COMMAND_HEADER_SIZE + length
        if end > len(stream):
            return
        yield start, end
        start = end
