"""The inputs that fuzzing starts from; `python -m fuzz.seeds` writes them to the corpus.

Inputs that once broke something stand in the corpus beside them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from msgspec import structs

from buttersink.stream.format import (
    COMMAND_HEADER,
    HEADER_SIZE,
    MAX_COMMAND,
    Attribute,
    Command,
    encode_command,
    encode_stream_header,
)
from buttersink.wire import messages, values
from buttersink.wire.frames import (
    HEADER,
    MAX_MESSAGE,
    PREAMBLE,
    Kind,
    encode_frame,
    encode_header,
)
from fuzz import guard_target, wire_target
from fuzz.applier_seeds import applier_seeds
from fuzz.parts import FuzzInput
from fuzz.targets import TARGETS, corpus_directory
from support.stream_samples import (
    OTHER,
    PARENT,
    REAL_FULL,
    REAL_INCREMENT,
    TO,
    A,
    C,
    clone,
    end,
    full,
    head,
    sample,
    stream,
    u64,
    utimes,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_WHOLE: Final = 256
"""A size of parts that leaves most inputs in a few."""

_OPTIONS: Final = values.Options(version=2, compressed=True)
_DIFF: Final = values.DiffAsked(to=TO, parent=PARENT, limit=1 << 30)
_FAILURE: Final = values.Failure(kind="MissingError", message=b"no \xff here", hint=b"look")

REQUESTS: Final[tuple[messages.AnyRequest, ...]] = (
    messages.ListSnapshots(),
    messages.FindParents(uuids=(TO, PARENT)),
    messages.Measure(diffs=(_DIFF, values.DiffAsked(to=TO, parent=None)), options=_OPTIONS),
    messages.RecallSizes(uuids=(TO,)),
    messages.FindTaken(paths=(b"day/1", b"\xff\n")),
    messages.AskSpace(),
    messages.Send(diff=_DIFF, options=_OPTIONS),
    messages.Lock(),
    messages.Unlock(),
    messages.Create(),
    messages.Receive(diff=_DIFF, path=b"day/2", options=_OPTIONS, link=False),
    messages.Adopt(uuid=TO, path=b"day/3"),
    messages.Release(uuid=OTHER),
    messages.Flush(),
    messages.Delete(uuid=TO, path=b"day/1"),
    messages.Clean(path=b"day/2.part", uuid=None),
)

_SNAPSHOT: Final = values.SnapshotFacts(
    uuid=TO,
    paths=(b"day/1", b"\xff\n"),
    created=datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
    received=True,
    generation=7,
    origin_generation=5,
    lineage="a",
    parent_uuid=PARENT,
    ancestor=None,
    metadata_bytes=1 << 14,
    total=None,
    exclusive=1 << 40,
)

ANSWERS: Final = (
    (
        Kind.HELLO,
        messages.ClientHello(release="1.0", oldest=1, newest=2, stall_seconds=60.0),
    ),
    (
        Kind.HELLO,
        messages.ServerHello(
            release="1.0",
            oldest=1,
            newest=1,
            mode="a",
            directory=b"/bak/a/",
            missing=False,
            realm="fs",
            place=b"bak/a",
            makes=_OPTIONS,
            accepts=None,
        ),
    ),
    (
        Kind.ITEMS,
        messages.Found(
            snapshots=(_SNAPSHOT,),
            partials=(
                values.PartialFacts(
                    path=b"day/2.part", uuid=TO, nbytes=None, guarded=b"busy", link=False
                ),
            ),
            problems=(values.ProblemFacts(path=b"odd", message=b"twice"),),
        ),
    ),
    (
        Kind.ITEMS,
        messages.Measured(
            sizes=(
                values.SizeFacts(nbytes=1 << 33, certainty="exact"),
                values.NoSize(failure=_FAILURE),
            )
        ),
    ),
    (
        Kind.ITEMS,
        messages.Recalled(sizes=(values.RecordedSize(to=TO, parent=None, nbytes=9),)),
    ),
    (Kind.REPLY, messages.Done(free_bytes=1 << 35)),
    (Kind.REPLY, messages.Listed(writable=2, outside=True)),
    (Kind.REPLY, messages.Taken(indices=(0, 3))),
    (Kind.REPLY, messages.Ready()),
    (Kind.REPLY, messages.Received(plain_bytes=123456)),
    (Kind.ERROR, _FAILURE),
    (Kind.PROGRESS, messages.Progress(plain_bytes=1 << 20)),
)


def seeds(target: str) -> Mapping[str, bytes]:
    """Return the inputs for a target, by name."""
    makers = {
        "applier": applier_seeds,
        "guard": _guard_seeds,
        "meter": _meter_seeds,
        "wire": _wire_seeds,
    }
    return {name: given.encode() for name, given in makers[target]()}


def _wire_seeds() -> Iterator[tuple[str, FuzzInput]]:
    client = b"".join(encode_frame(Kind.REQUEST, messages.encode(each)) for each in REQUESTS[:4])
    server = b"".join(encode_frame(kind, messages.encode(each)) for kind, each in ANSWERS)
    upload = (
        encode_frame(Kind.DATA, b"some") + encode_frame(Kind.DATA, b"data") + encode_frame(Kind.END)
    )
    idle = encode_frame(Kind.ALIVE) + encode_frame(Kind.CANCEL)
    yield "client", FuzzInput(0, 7, PREAMBLE + client + upload + idle)
    yield "server", FuzzInput(0, _WHOLE, PREAMBLE + server + upload + idle)
    yield "shell", FuzzInput(0, _WHOLE, b"Welcome!\n" + PREAMBLE + idle)
    yield "long", FuzzInput(0, 9, PREAMBLE + encode_header(Kind.REQUEST, MAX_MESSAGE) + b"...")
    yield "too-long", FuzzInput(0, 9, PREAMBLE + HEADER.pack(Kind.DATA, 2**32 - 1) + b"...")
    yield "old", FuzzInput(0, 3, b'{"error": "no such command", "server": true}\n')
    yield "not-empty", FuzzInput(0, 9, PREAMBLE + HEADER.pack(Kind.CANCEL, 3) + b"..." + idle)
    number = wire_target.KINDS.index(Kind.REQUEST)
    yield "request-no-utf8", FuzzInput(number, _WHOLE, b"\x81\xa4verb\xa1\xff")
    for request in REQUESTS:
        name = f"request-{type(request).__name__.lower()}"
        yield name, FuzzInput(number, _WHOLE, messages.encode(request))
    for kind, answer in ANSWERS:
        number = wire_target.KINDS.index(kind)
        name = f"{kind.name.lower()}-{type(answer).__name__.lower()}"
        yield name, FuzzInput(number, _WHOLE, messages.encode(answer))
    number = wire_target.KINDS.index(Kind.ITEMS)
    outside = messages.Found(snapshots=(structs.replace(_SNAPSHOT, paths=(b"day/../../up",)),))
    yield "items-outside", FuzzInput(number, _WHOLE, messages.encode(outside))
    unsure = messages.Measured(sizes=(values.SizeFacts(nbytes=1, certainty="who knows"),))
    yield "items-unsure", FuzzInput(number, _WHOLE, messages.encode(unsure))


def _guard_seeds() -> Iterator[tuple[str, FuzzInput]]:
    newest = 3 << guard_target.VERSION_SHIFT
    incremental = newest | guard_target.INCREMENTAL
    for version in (1, 2, 3):
        yield f"sample-{version}", FuzzInput(incremental, _WHOLE, sample(version))
        yield f"others-{version}", FuzzInput(newest, 64, full(*_others(version), version=version))
    rewritten = incremental | guard_target.REWRITTEN
    yield "rewritten", FuzzInput(rewritten, 100, sample(2))
    unchecked = incremental | guard_target.NOT_ALL_CHECKED
    yield "unchecked", FuzzInput(unchecked, 30, sample(1))
    damaged = newest | guard_target.CHECKSUMS_LEFT
    yield "damaged", FuzzInput(damaged, 9, full(write(b"file", b"x")).replace(b"x", b"y"))
    for name, command in _hostile():
        yield f"hostile-{name}", FuzzInput(newest, 50, full(command))
    cut_long = encode_stream_header(1) + head() + COMMAND_HEADER.pack(MAX_COMMAND, C.WRITE, 0)
    yield "long", FuzzInput(newest, 9, cut_long + b"...")
    after_end = full() + write(b"file", b"stale") + full()
    yield "after-end", FuzzInput(newest, len(full()) + 20, after_end)
    yield "kernel-full", FuzzInput(newest, _WHOLE, REAL_FULL)
    yield "kernel-increment", FuzzInput(incremental, _WHOLE, REAL_INCREMENT)


def _hostile() -> Iterator[tuple[str, bytes]]:
    """Yield commands that reach outside, or are not what they seem to be."""
    yield "up", write(b"../up", b"x")
    yield "inner-up", utimes(b"dir/../../up")
    yield "absolute", encode_command(C.UNLINK, [(A.PATH, b"/etc/passwd")], 1)
    yield "nul", encode_command(C.RMDIR, [(A.PATH, b"dir\0")], 1)
    yield "target", encode_command(C.RENAME, [(A.PATH, b"x"), (A.PATH_TO, b"dir/..")], 1)
    yield "link", encode_command(C.LINK, [(A.PATH, b"x"), (A.PATH_LINK, b"../up")], 1)
    yield "clone", clone(OTHER)
    yield "clone-path", clone(TO, source_path=b"../../up")
    yield "second-head", head()
    yield "two-paths", encode_command(C.UNLINK, [(A.PATH, b"../up"), (A.PATH, b"x")], 1)
    yield "no-path", encode_command(C.UNLINK, [(A.PATH_TO, b"x")], 1)
    whole = encode_command(C.UNLINK, [(A.PATH, b"dir/x")], 1)
    cut = whole[COMMAND_HEADER.size : -2]
    yield "cut-path", COMMAND_HEADER.pack(len(cut), C.UNLINK, 0) + cut


def _others(version: int) -> Iterator[bytes]:
    """Yield kinds of commands that `sample` has none of."""

    def at(command: Command, *attributes: tuple[Attribute, bytes]) -> bytes:
        return encode_command(command, [(A.PATH, b"dir/x"), *attributes], version)

    yield at(C.MKDIR, (A.INO, u64(258)))
    yield at(C.MKNOD, (A.INO, u64(259)), (A.MODE, u64(0o20600)), (A.RDEV, u64(0x103)))
    yield at(C.LINK, (A.PATH_LINK, b"dir/file"))
    yield at(C.RMDIR)
    yield at(C.REMOVE_XATTR, (A.XATTR_NAME, b"user.x"))
    yield at(C.TRUNCATE, (A.SIZE, u64(4096)))
    yield at(C.CHMOD, (A.MODE, u64(0o644)))
    yield at(C.CHOWN, (A.UID, u64(0)), (A.GID, u64(100)))
    if version >= 2:
        yield at(C.FALLOCATE, (A.FALLOCATE_MODE, bytes(4)), (A.FILE_OFFSET, u64(0)))
        yield at(C.FILEATTR, (A.FILEATTR, u64(1)))
        yield at(
            C.ENCODED_WRITE,
            (A.FILE_OFFSET, u64(0)),
            (A.UNENCODED_FILE_LEN, u64(200_000)),
            (A.UNENCODED_LEN, u64(200_000)),
            (A.UNENCODED_OFFSET, u64(0)),
            (A.COMPRESSION, bytes(4)),
            (A.DATA, b"compressed"),
        )
    if version >= 3:
        yield at(C.ENABLE_VERITY, (A.VERITY_ALGORITHM, b"\1"), (A.VERITY_BLOCK_SIZE, bytes(4)))


def _meter_seeds() -> Iterator[tuple[str, FuzzInput]]:
    for version in (1, 2, 3):
        made = encode_stream_header(version) + b"".join(_metadata(version)) + end(version)
        yield f"changes-{version}", FuzzInput(version - 1, 40, made)
    yield "kernel-full", FuzzInput(0, _WHOLE, REAL_FULL)
    yield "kernel-increment", FuzzInput(1, _WHOLE, REAL_INCREMENT)
    to_nowhere = encode_command(C.RENAME, [(A.PATH, b"file")], 1)
    yield "rename-to-nowhere", FuzzInput(0, 40, stream(head(), to_nowhere))
    top = encode_command(C.RENAME, [(A.PATH, b""), (A.PATH_TO, b"inside")], 1)
    grown = encode_command(C.TRUNCATE, [(A.PATH, b"inside/file"), (A.SIZE, u64(7000))], 1)
    yield "rename-of-top", FuzzInput(0, 40, stream(head(), top, grown))
    too_short = COMMAND_HEADER.pack(0, C.UPDATE_EXTENT, 0)
    yield "no-extent", FuzzInput(0, 40, encode_stream_header(1) + head() + too_short)
    yield "cut-off", FuzzInput(0, 1, stream(head())[: HEADER_SIZE + 30])


def _metadata(version: int) -> Iterator[bytes]:
    """Yield what the kernel says of changes if it is asked for no data."""

    def at(command: Command, path: bytes, *attributes: tuple[Attribute, bytes]) -> bytes:
        return encode_command(command, [(A.PATH, path), *attributes], version)

    yield head(parent=PARENT, version=version)
    yield at(C.MKFILE, b"o257-7-0", (A.INO, u64(257)))
    yield at(C.RENAME, b"o257-7-0", (A.PATH_TO, b"d/new"))
    yield at(C.UPDATE_EXTENT, b"d/new", (A.FILE_OFFSET, u64(0)), (A.SIZE, u64(1 << 20)))
    yield at(C.TRUNCATE, b"grown", (A.SIZE, u64(6000)))
    yield at(C.LINK, b"other", (A.PATH_LINK, b"grown"))
    yield at(C.RENAME, b"directory", (A.PATH_TO, b"moved"))
    yield at(C.UPDATE_EXTENT, b"moved/f", (A.FILE_OFFSET, u64(1 << 14)), (A.SIZE, u64(4096)))
    yield at(C.CHOWN, b"program", (A.UID, u64(1)), (A.GID, u64(1)))
    yield at(C.CHOWN, b"again", (A.UID, u64(1)), (A.GID, u64(1)))
    yield at(C.CHMOD, b"again", (A.MODE, u64(0o4755)))
    yield at(C.UNLINK, b"other")
    yield at(C.RMDIR, b"old")
    yield utimes(b"", version=version)


def write_corpus() -> None:
    """Write the seeds of all targets to the corpus; what else is there stays."""
    for target in TARGETS:
        directory = corpus_directory(target)
        directory.mkdir(parents=True, exist_ok=True)
        for name, data in seeds(target).items():
            (directory / name).write_bytes(data)


if __name__ == "__main__":
    write_corpus()
