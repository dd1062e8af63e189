"""What an interrupted receive can go on from: a snapshot of what is there, and a record of it.

Both lie in the hidden subvolume in which the snapshot is received (see `landing`):

    mark-<offset>        a read-only snapshot of the subvolume that was being received, when it
                         had so many bytes of the stream, and no others
    mark-<offset>.json   which stream that is, and what else is to be known to go on

The record is on the disk before the snapshot is made, and that is made and committed at once by
the kernel. So a checkpoint is there if its snapshot is, whatever dies at any moment.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID  # noqa: TC003 - msgspec reads the types of records

import msgspec

from buttersink.btrfs import ioctl
from buttersink.btrfs.receive import Mark
from buttersink.model import Checkpoint, Diff, Position, Span, StreamOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME: Final = re.compile(rb"mark-(0|[1-9][0-9]{0,18})")
_FORMAT: Final = 1
_OTHERS_MAY_WRITE: Final = 0o022
_LONGEST_RECORD: Final = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A checkpoint that is there.

    Attributes:
        name: Of its snapshot.
        checkpoint: What other ends may know of it.
        after: Where the receiver that goes on begins.
    """

    name: bytes
    checkpoint: Checkpoint
    after: Mark


class _Record(msgspec.Struct, kw_only=True):
    """The record beside a snapshot."""

    format: int = _FORMAT
    to: UUID
    parent: UUID | None
    options: tuple[int, bool]
    expected: int | None
    plain_bytes: int
    spans: list[tuple[int, bytes]]
    version: int
    ctransid: int
    pending: dict[str, Any]


def position_of(mark: Mark, before: Position | None) -> Position:
    """Return where a receiver stands that has begun at an earlier position."""
    earlier = before.spans if before else ()
    if earlier and mark.nbytes == earlier[-1].end:
        return Position(plain_bytes=mark.plain_bytes, spans=earlier)
    return Position(plain_bytes=mark.plain_bytes, spans=(*earlier, Span(mark.nbytes, mark.digest)))


def save(work_fd: int, received_fd: int, checkpoint: Checkpoint, mark: Mark) -> None:
    """Keep what has been received so far; older checkpoints go.

    Args:
        work_fd: The hidden subvolume.
        received_fd: The subvolume in it that is being received; nobody is writing to it now.
        checkpoint: What it is; farther than those that are there.
        mark: Where its receiver stopped.

    Raises:
        OSError: There is no room, say; older checkpoints are there still.
    """
    name = b"mark-%d" % mark.nbytes
    for saved in _saved(work_fd):
        if (saved.name, saved.checkpoint) == (name, checkpoint):
            return  # made a moment ago, before an interrupt
    _remove(work_fd, name)  # what is left of one
    _write_record(work_fd, name, Saved(name=name, checkpoint=checkpoint, after=mark))
    ioctl.create_snapshot(work_fd, name, source_fd=received_fd, readonly=True)
    for older in mark_names(work_fd):
        if older != name:
            _remove(work_fd, older)


def load(work_fd: int) -> Saved | None:
    """Return the latest usable checkpoint in a hidden subvolume; None if there is none.

    What others could have written counts for nothing: its digest says which stream was received,
    and not that it was applied.
    """
    status = os.fstat(work_fd)
    if status.st_uid != os.geteuid() or status.st_mode & _OTHERS_MAY_WRITE:
        return None
    return max(_saved(work_fd), key=lambda saved: saved.after.nbytes, default=None)


def mark_names(work_fd: int) -> list[bytes]:
    """Return the names of all snapshots of checkpoints, also of what is left of some."""
    fd = _open_to_look(b".", work_fd, os.O_DIRECTORY)
    try:
        found = os.listdir(fd)
    finally:
        os.close(fd)
    names = (os.fsencode(name).removesuffix(b".json") for name in found)
    return sorted({name for name in names if _NAME.fullmatch(name)})


def _saved(work_fd: int) -> Iterator[Saved]:
    for name in mark_names(work_fd):
        if (record := _read_record(work_fd, name)) and _is_snapshot(work_fd, name):
            saved = _as_saved(name, record)
            if name == b"mark-%d" % saved.after.nbytes:
                yield saved


def _is_snapshot(work_fd: int, name: bytes) -> bool:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=work_fd)
    except OSError:
        return False
    try:
        top = os.fstat(fd).st_ino == ioctl.ROOT_DIRECTORY_INODE
        return top and ioctl.subvolume_info(fd).readonly
    except OSError:  # it is no subvolume of this file system
        return False
    finally:
        os.close(fd)


def _remove(work_fd: int, name: bytes) -> None:
    """Remove a checkpoint: the snapshot first, without which its record means nothing."""
    with suppress(FileNotFoundError):
        ioctl.destroy_subvolume(work_fd, name)
    with suppress(FileNotFoundError):
        os.unlink(name + b".json", dir_fd=work_fd)


def _write_record(work_fd: int, name: bytes, saved: Saved) -> None:
    checkpoint, mark = saved.checkpoint, saved.after
    record = _Record(
        to=checkpoint.diff.to,
        parent=checkpoint.diff.parent,
        options=(checkpoint.options.version, checkpoint.options.compressed),
        expected=checkpoint.expected,
        plain_bytes=mark.plain_bytes,
        spans=[(span.end, span.digest) for span in checkpoint.position.spans],
        version=mark.version,
        ctransid=mark.ctransid,
        pending=mark.pending,
    )
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name + b".json", flags, 0o600, dir_fd=work_fd)
    with open(fd, "wb") as file:
        file.write(msgspec.json.encode(record))
        file.flush()
        os.fsync(fd)


def _read_record(work_fd: int, name: bytes) -> _Record | None:
    try:
        fd = _open_to_look(name + b".json", work_fd)
        with open(fd, "rb") as file:
            record = msgspec.json.decode(file.read(_LONGEST_RECORD), type=_Record)
        usable = record.format == _FORMAT and record.spans
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return record if usable else None


def _open_to_look(name: bytes, work_fd: int, flags: int = 0) -> int:
    """Open something so that not even the time of the access is noted, if that is possible."""
    flags |= os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=work_fd)
    except PermissionError:  # it is for the owner, or takes CAP_FOWNER
        return os.open(name, flags, dir_fd=work_fd)


def _as_saved(name: bytes, record: _Record) -> Saved:
    spans = tuple(Span(end, digest) for end, digest in record.spans)
    version, compressed = record.options
    return Saved(
        name=name,
        checkpoint=Checkpoint(
            diff=Diff(record.to, record.parent),
            options=StreamOptions(version=version, compressed=compressed),
            position=Position(plain_bytes=record.plain_bytes, spans=spans),
            expected=record.expected,
        ),
        after=Mark(
            nbytes=spans[-1].end,
            plain_bytes=record.plain_bytes,
            digest=spans[-1].digest,
            version=record.version,
            ctransid=record.ctransid,
            pending=record.pending,
        ),
    )
