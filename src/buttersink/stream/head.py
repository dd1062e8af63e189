"""The first command of a stream: which snapshot it makes, from what, and under which name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from buttersink.errors import CorruptStreamError
from buttersink.stream.format import Attribute, Command, decode_attributes, encode_command
from buttersink.stream.vetting import decode_uuid, is_safe_path, vet_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

_SUBVOL = frozenset((Attribute.PATH, Attribute.UUID, Attribute.CTRANSID))

HEADS: Final[Mapping[int, frozenset[Attribute]]] = {
    Command.SUBVOL: _SUBVOL,
    Command.SNAPSHOT: _SUBVOL | {Attribute.CLONE_UUID, Attribute.CLONE_CTRANSID},
}
"""The commands that begin a stream, full or incremental, each with the attributes it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a stream must be, to be let through.

    Attributes:
        to: Identities of the snapshot to make (one that was received has two); the stream
            must make one of them.
        parents: Likewise those of the send parent; None for a full stream.
        max_version: The newest stream version that whoever gets the stream can read.
    """

    to: frozenset[UUID]
    parents: frozenset[UUID] | None
    max_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """What to change in a stream on its way.

    Attributes:
        name: The name under which to make the snapshot, as bytes; None to leave it.
        uuids: Replacements for identities, in the head and in CLONE commands.
    """

    name: bytes | None = None
    uuids: Mapping[UUID, UUID] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a name that no stream may carry.

        Raises:
            ValueError: It is not a safe relative path.
        """
        if self.name is not None and not is_safe_path(self.name):
            raise ValueError(f"a stream must not carry the name {self.name!r}")

    def apply(self, command: int, body: memoryview, version: int) -> bytes | None:
        """Return the whole command as it is to be passed on, or None if it stays as it is.

        The crc is made anew: the caller must have found the old one right.
        """
        attributes = decode_attributes(body, version)
        changed = dict[Attribute, bytes]()
        if self.name is not None and command in HEADS:
            changed[Attribute.PATH] = self.name
        for attribute in (Attribute.UUID, Attribute.CLONE_UUID):
            if attribute in attributes:
                replacement = self.uuids.get(decode_uuid(attributes, attribute))
                if replacement is not None:
                    changed[attribute] = replacement.bytes
        if not changed:
            return None
        result: dict[Attribute, bytes | memoryview] = {**attributes, **changed}
        return encode_command(command, [*result.items()], version)


def vet_head(command: int, body: memoryview, version: int, expectation: Expectation) -> None:
    """Check the first command of a stream.

    Raises:
        CorruptStreamError: It makes another snapshot, or makes it from another parent.
    """
    expected = HEADS.get(command)
    if expected is None:
        raise CorruptStreamError("the stream does not begin with a snapshot")
    attributes = decode_attributes(body, version)
    if attributes.keys() != expected:
        found = ", ".join(attribute.name for attribute in attributes)
        raise CorruptStreamError(f"not the attributes of a snapshot: {found or 'none'}")
    to = decode_uuid(attributes, Attribute.UUID)
    parent = None
    if command == Command.SNAPSHOT:
        parent = decode_uuid(attributes, Attribute.CLONE_UUID)
    parents = expectation.parents
    if to not in expectation.to or (
        parent is not None if parents is None else parent not in parents
    ):
        raise CorruptStreamError(
            f"the stream makes {to} from {parent or 'nothing'}; expected"
            f" {_any_of(expectation.to)} from {'nothing' if parents is None else _any_of(parents)}"
        )
    vet_path(bytes(attributes[Attribute.PATH]))


def _any_of(uuids: Iterable[UUID]) -> str:
    return " or ".join(sorted(map(str, uuids)))
