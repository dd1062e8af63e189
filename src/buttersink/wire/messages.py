"""What the two sides of a link say to each other.

A client asks, one request at a time; the server answers. Bulk requests take any number of
things and are answered in one go, so that the number of round trips does not grow with them.
Messages are msgpack of typed structs. Paths are bytes, as on the file system; times are aware.

The first message of each side, the hello, and the failure that a server may say in its place are
read whatever the other side's version is: fields may be added to them and never removed. All
other messages may change with the version, which is the newest that both sides know.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta

from buttersink.errors import ProtocolError
from buttersink.model import Receiver
from buttersink.receiving import CHECKPOINT_BYTES
from buttersink.wire.values import (
    MAX_ASKED,
    Count,
    DiffAsked,
    NoSize,
    Options,
    PartialFacts,
    Path,
    Place,
    ProblemFacts,
    RecordedSize,
    SizeFacts,
    SnapshotFacts,
    Word,
)

OLDEST_VERSION: Final = 2
NEWEST_VERSION: Final = 2
"""Version 1 was that of the third alpha release, which could not go on with a stream."""


_Uuids = Annotated[tuple[UUID, ...], Meta(max_length=MAX_ASKED)]


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The first message of either side.

    Attributes:
        release: Of the program, for people.
        oldest: The oldest version of these messages that it speaks.
        newest: The newest.
    """

    release: Word
    oldest: Count
    newest: Count


class ClientHello(Hello, frozen=True, kw_only=True):
    """What a client says first.

    Attributes:
        stall_seconds: A link on which nothing comes for so long is given up, on both sides. The
            server takes what is nearest to it, from a tenth of a second to a day.
        receiver: What is to receive streams there, see `model.Receiver`.
        checkpoint_bytes: After so many bytes of a stream what has come is to be kept.
    """

    stall_seconds: float
    receiver: Word = Receiver.OWN.value
    checkpoint_bytes: Count = CHECKPOINT_BYTES


class ServerHello(Hello, frozen=True, kw_only=True):
    """What a server says first.

    Attributes:
        mode: Letter of the mode that it serves in.
        directory: The directory that it serves, absolute, with a slash at the end.
        missing: Whether it does not exist (yet).
        realm: Names the file system, on the running kernel that has it mounted.
        place: Path of the directory from the top-level subvolume.
        makes: What streams it can make.
        accepts: What streams it can receive; None if it can't receive any.
    """

    mode: Annotated[str, Meta(pattern="^[raw]\\Z")]
    directory: Path
    missing: bool
    realm: Word
    place: Path
    makes: Options
    accepts: Options | None


# What a client asks for


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="verb"):
    """Something that a client asks for."""


class ListSnapshots(Request, frozen=True, tag="inventory"):
    """`Source.inventory`: some `Found`, then `Listed`.

    A snapshot with very many paths comes several times, with some of them each.
    """


class FindParents(Request, frozen=True, tag="parents"):
    """`Source.parents`: some `Found`, then `Done`."""

    uuids: _Uuids


class Measure(Request, frozen=True, tag="measure"):
    """`Source.measure_each`: some `Measured`, then `Done`."""

    diffs: Annotated[tuple[DiffAsked, ...], Meta(max_length=MAX_ASKED)]
    options: Options


class RecallSizes(Request, frozen=True, tag="recorded_sizes"):
    """`Source.recorded_sizes` of the snapshots with these identities: some `Recalled`, `Done`."""

    uuids: _Uuids


class FindTaken(Request, frozen=True, tag="taken"):
    """`Sink.taken`: `Taken`."""

    paths: Annotated[tuple[Path, ...], Meta(max_length=MAX_ASKED)]


class AskSpace(Request, frozen=True, tag="free_bytes"):
    """`Sink.free_bytes`: `Done`."""


class Send(Request, frozen=True, tag="send"):
    """`Source.send`: DATA, then END; or an error at any point."""

    diff: DiffAsked
    options: Options
    resume: Place | None = None


class Outline(Request, frozen=True, tag="outline"):
    """`Source.outline`: DATA, then END; or an error at any point."""

    diff: DiffAsked
    version: Annotated[int, Meta(ge=1, le=2**32 - 1)]


class Lock(Request, frozen=True, tag="lock"):
    """`Sink.lock`, until `Unlock` or the end of the link: `Done`."""


class Unlock(Request, frozen=True, tag="unlock"):
    """The end of `Lock`: `Done`."""


class Create(Request, frozen=True, tag="create"):
    """Make the directory that is served, if it is missing: `Done`."""


class Receive(Request, frozen=True, tag="receive"):
    """`Sink.receive`: `Ready`, then the client sends DATA and END; then `Received`."""

    diff: DiffAsked
    path: Path
    options: Options
    link: bool
    expected: Count | None = None
    fresh: bool = False


class Adopt(Request, frozen=True, tag="adopt"):
    """`Sink.adopt` of the snapshot with this identity: `Done`."""

    uuid: UUID
    path: Path


class Release(Request, frozen=True, tag="release"):
    """`Sink.release`: `Done`. In mode a only of links that came over this very link."""

    uuid: UUID


class Flush(Request, frozen=True, tag="flush"):
    """`Sink.flush`: `Done`."""


class Delete(Request, frozen=True, tag="delete"):
    """`Sink.delete`: `Done`."""

    uuid: UUID
    path: Path


class Clean(Request, frozen=True, tag="clean"):
    """`Sink.clean` of the partial that is listed so: `Done`."""

    path: Path
    uuid: UUID | None


AnyRequest = (
    ListSnapshots
    | FindParents
    | Measure
    | RecallSizes
    | FindTaken
    | AskSpace
    | Send
    | Outline
    | Lock
    | Unlock
    | Create
    | Receive
    | Adopt
    | Release
    | Flush
    | Delete
    | Clean
)


# What a server answers


class Found(msgspec.Struct, frozen=True):
    """Some of the snapshots that were asked for, or what else a listing has."""

    snapshots: tuple[SnapshotFacts, ...] = ()
    partials: tuple[PartialFacts, ...] = ()
    problems: tuple[ProblemFacts, ...] = ()


class Measured(msgspec.Struct, frozen=True):
    """Some of the sizes that were asked for, in the order of the request."""

    sizes: tuple[SizeFacts | NoSize, ...]


class Recalled(msgspec.Struct, frozen=True):
    """Some of the sizes that were asked for."""

    sizes: tuple[RecordedSize, ...]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for is done, and the end of an answer.

    Attributes:
        free_bytes: `Sink.free_bytes` at this moment.
    """

    free_bytes: Count | None = None


class Listed(Done, frozen=True, kw_only=True):
    """The rest of `model.Inventory`, after all that is `Found`.

    Attributes:
        outside: Whether there are snapshots outside the directory, for `FindParents`.
    """

    writable: Count
    outside: bool


class Taken(Done, frozen=True, kw_only=True):
    """Which of the paths are taken, by their place in the request."""

    indices: tuple[Count, ...]


class Ready(msgspec.Struct, frozen=True):
    """The stream may come; from there on, if some of it is there already."""

    resume: Place | None = None


class Progress(msgspec.Struct, frozen=True):
    """How much of the stream was taken, as `Writer.plain_bytes` counts."""

    plain_bytes: Count


class Received(Done, frozen=True, kw_only=True):
    """The snapshot is in place."""

    plain_bytes: Count


_T = TypeVar("_T")
_ENCODER: Final = msgspec.msgpack.Encoder(uuid_format="bytes")
_REQUESTS: Final = msgspec.msgpack.Decoder(AnyRequest)
_SENSELESS: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What decoding raises; the last one if a string is not UTF-8."""


def encode(message: msgspec.Struct) -> bytes:
    """Return a message as it travels."""
    return _ENCODER.encode(message)


def decode_request(data: bytes | memoryview) -> AnyRequest:
    """Return what a client asks for.

    Raises:
        ProtocolError: It is no request.
    """
    try:
        request: AnyRequest = _REQUESTS.decode(data)
    except _SENSELESS as error:
        raise ProtocolError(f"a request makes no sense: {error}") from error
    return request


def decode(data: bytes | memoryview, kind: type[_T]) -> _T:
    """Return the message of a kind that is expected.

    Raises:
        ProtocolError: It is not of that kind.
    """
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except _SENSELESS as error:
        raise ProtocolError(f"an answer makes no sense: {error}") from error


def common_version(mine: Hello, other: Hello) -> int | None:
    """Return the newest version that both sides speak; None if there is none."""
    version = min(mine.newest, other.newest)
    return version if version >= max(mine.oldest, other.oldest) else None
