"""The ioctls and system calls that python-btrfs lacks, as thin typed functions.

Layouts are those of the kernel's include/uapi/linux/btrfs.h; their sizes are part of the
request numbers, and asserted here. Every function raises `OSError` as the kernel gave it.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from buttersink.btrfs.libc import checked, libc

_MAGIC: Final = 0x94
_WRITE, _READ = 1, 2


def _request(direction: int, number: int, size: int) -> int:
    """Compose an ioctl request as asm-generic/ioctl.h does (x86, arm, s390, riscv)."""
    return direction << 30 | size << 16 | _MAGIC << 8 | number


# struct btrfs_ioctl_send_args: send_fd, clone_sources_count, clone_sources, parent_root, flags,
# version, reserved.
_SEND_ARGS: Final = struct.Struct("=qQQQQI28x")
# struct btrfs_ioctl_vol_args_v2: fd, transid, flags, unused[4], name.
_VOL_ARGS_V2: Final = struct.Struct("=qQQ32x4040s")
# struct btrfs_ioctl_vol_args: fd, name.
_VOL_ARGS: Final = struct.Struct("=q4088s")
_FLAGS: Final = struct.Struct("=Q")
# struct btrfs_ioctl_get_subvol_info_args; a timespec is padded to 16 bytes.
_SUBVOL_INFO: Final = struct.Struct("=Q256sQQQQ16s16s16sQQQQ QI4x QI4x QI4x QI4x 64x")
# struct btrfs_ioctl_received_subvol_args: uuid, stransid, rtransid, stime, rtime, flags, reserved.
_RECEIVED_ARGS: Final = struct.Struct("=16sQQ QI4x QI4x Q128x")
# struct file_handle with btrfs's FILEID_BTRFS_WITHOUT_PARENT (fs/btrfs/export.h): handle_bytes,
# handle_type, objectid, root_objectid, generation.
_FILE_HANDLE: Final = struct.Struct("=IiQQI")

assert _SEND_ARGS.size == 72  # noqa: S101 - a wrong layout must not survive the import
assert _VOL_ARGS.size == _VOL_ARGS_V2.size == 4096  # noqa: S101 - likewise
assert _SUBVOL_INFO.size == 504  # noqa: S101 - likewise
assert _RECEIVED_ARGS.size == 200  # noqa: S101 - likewise

_IOC_SYNC: Final = _request(0, 8, 0)
_IOC_SNAP_DESTROY: Final = _request(_WRITE, 15, _VOL_ARGS.size)
_IOC_SNAP_CREATE_V2: Final = _request(_WRITE, 23, _VOL_ARGS_V2.size)
_IOC_SUBVOL_CREATE_V2: Final = _request(_WRITE, 24, _VOL_ARGS_V2.size)
_IOC_SUBVOL_SETFLAGS: Final = _request(_WRITE, 26, _FLAGS.size)
_IOC_SET_RECEIVED_SUBVOL: Final = _request(_READ | _WRITE, 37, _RECEIVED_ARGS.size)
_IOC_SEND: Final = _request(_WRITE, 38, _SEND_ARGS.size)
_IOC_GET_SUBVOL_INFO: Final = _request(_READ, 60, _SUBVOL_INFO.size)

# The same property has one bit in the arguments of ioctls, another in root items.
_SUBVOL_RDONLY: Final = 1 << 1
_ROOT_SUBVOL_RDONLY: Final = 1 << 0

SEND_NO_FILE_DATA: Final = 1
SEND_VERSION: Final = 8
SEND_COMPRESSED: Final = 16

ROOT_DIRECTORY_INODE: Final = 256
"""Inode number of the top directory of every subvolume (BTRFS_FIRST_FREE_OBJECTID)."""

_FILEID_BTRFS_WITHOUT_PARENT: Final = 0x4D
_RENAME_NOREPLACE: Final = 1


@dataclass(frozen=True, slots=True)
class SubvolumeInfo:
    """What GET_SUBVOL_INFO says of one subvolume; fields have the kernel's names."""

    treeid: int
    uuid: UUID
    parent_uuid: UUID | None
    received_uuid: UUID | None
    readonly: bool
    generation: int
    ctransid: int
    otransid: int
    stransid: int
    rtransid: int
    otime: datetime


def _ioctl(fd: int, request: int, args: bytes) -> None:
    # Not fcntl.ioctl: with more than 1024 bytes it keeps all other threads waiting as long as the
    # kernel takes (Modules/fcntlmodule.c), and one of them has to tell the far side that we live.
    buffer = ctypes.create_string_buffer(args, len(args))
    checked(libc.ioctl(fd, ctypes.c_ulong(request), buffer))


def optional_uuid(raw: bytes) -> UUID | None:
    """Return the UUID of 16 bytes, None if all are zero: the kernel's way to say "none"."""
    return UUID(bytes=bytes(raw)) if any(raw) else None


def subvolume_info(fd: int) -> SubvolumeInfo:
    """Return the facts of the subvolume that contains `fd`. Needs no privilege."""
    raw = bytearray(_SUBVOL_INFO.size)
    fcntl.ioctl(fd, _IOC_GET_SUBVOL_INFO, raw)
    (treeid, _name, _parent_id, _dirid, generation, flags, uuid, parent_uuid, received_uuid,
     ctransid, otransid, stransid, rtransid, _csec, _cnsec, osec, onsec,
     *_rest) = _SUBVOL_INFO.unpack(raw)  # fmt: skip
    return SubvolumeInfo(
        treeid=treeid,
        uuid=UUID(bytes=uuid),
        parent_uuid=optional_uuid(parent_uuid),
        received_uuid=optional_uuid(received_uuid),
        readonly=bool(flags & _ROOT_SUBVOL_RDONLY),
        generation=generation,
        ctransid=ctransid,
        otransid=otransid,
        stransid=stransid,
        rtransid=rtransid,
        otime=timestamp(osec, onsec),
    )


def timestamp(seconds: int, nanoseconds: int) -> datetime:
    """Return a kernel time as an aware datetime, to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanoseconds // 1000)


class SendRequest:
    """What to ask the SEND ioctl for: a stream of a read-only subvolume.

    If its process is stopped and continued, or the machine sleeps, while the kernel waits in the
    middle of a stream, then it begins the ioctl anew, and the stream with it, in the same pipe.
    `seal` makes that fail, as the kernel reads the arguments again.
    """

    def __init__(self, *, write_fd: int, parent_id: int | None, flags: int, version: int) -> None:
        """Ask for a stream.

        Args:
            write_fd: A pipe or file to write it to.
            parent_id: Tree id of the parent for an incremental stream; None for a full one.
            flags: SEND_* flags besides SEND_VERSION, which is added where it is needed.
            version: The stream version to make.
        """
        # The kernel insists that the parent stands among the clone sources, too.
        self._clones = array.array("Q", [] if parent_id is None else [parent_id])
        if version > 1:
            flags |= SEND_VERSION
        self.sealed = False
        """Whether the stream has begun, and can't begin again."""
        self._args = ctypes.create_string_buffer(
            _SEND_ARGS.pack(
                write_fd,
                len(self._clones),
                self._clones.buffer_info()[0] if self._clones else 0,
                parent_id or 0,
                flags,
                version if version > 1 else 0,
            ),
            _SEND_ARGS.size,
        )

    def seal(self) -> None:
        """Let no stream begin any more; to be called when the first bytes of one have come."""
        if not self.sealed:
            self.sealed = True
            struct.pack_into("=q", self._args, 0, -1)

    def run(self, subvolume_fd: int) -> None:
        """Write the stream of the subvolume whose top directory this is; return when it is whole.

        Raises:
            OSError: As the kernel gives it; EBADF also if it had to begin anew.
        """
        checked(libc.ioctl(subvolume_fd, ctypes.c_ulong(_IOC_SEND), self._args))


def create_subvolume(directory_fd: int, name: bytes) -> None:
    """Create an empty, writable subvolume `name` in a directory."""
    _ioctl(directory_fd, _IOC_SUBVOL_CREATE_V2, _VOL_ARGS_V2.pack(0, 0, 0, name))


def create_snapshot(directory_fd: int, name: bytes, *, source_fd: int, readonly: bool) -> None:
    """Create `name` in a directory as a snapshot of the subvolume `source_fd`.

    The kernel writes out the source's dirty data and commits the transaction first, so that the
    snapshot is whole and durable when this returns (fs/btrfs/ioctl.c, btrfs_mksnapshot).
    """
    flags = _SUBVOL_RDONLY if readonly else 0
    _ioctl(directory_fd, _IOC_SNAP_CREATE_V2, _VOL_ARGS_V2.pack(source_fd, 0, flags, name))


def destroy_subvolume(directory_fd: int, name: bytes) -> None:
    """Delete the subvolume `name` of a directory; ENOTEMPTY if another one is nested in it."""
    _ioctl(directory_fd, _IOC_SNAP_DESTROY, _VOL_ARGS.pack(0, name))


def set_readonly(subvolume_fd: int) -> None:
    """Make a subvolume read-only."""
    fcntl.ioctl(subvolume_fd, _IOC_SUBVOL_SETFLAGS, _FLAGS.pack(_SUBVOL_RDONLY))


def set_writable(subvolume_fd: int) -> None:
    """Make a subvolume writable; its received_uuid stays, and is a lie as soon as it is used."""
    fcntl.ioctl(subvolume_fd, _IOC_SUBVOL_SETFLAGS, _FLAGS.pack(0))


def set_received(subvolume_fd: int, *, received_uuid: UUID, stransid: int) -> None:
    """Record on a writable subvolume what it was received from; sets rtransid and rtime to now."""
    args = _RECEIVED_ARGS.pack(received_uuid.bytes, stransid, 0, 0, 0, 0, 0, 0)
    _ioctl(subvolume_fd, _IOC_SET_RECEIVED_SUBVOL, args)


def sync(fd: int) -> None:
    """Write out all dirty data of the file system and commit its transaction.

    That data could not be written is not told, see `sync_surely`.
    """
    fcntl.ioctl(fd, _IOC_SYNC)


def sync_surely(fd: int) -> None:
    """As `sync`, and OSError if any data could not be written since `fd` was opened.

    Told once for each descriptor (syncfs(2); since Linux 5.8). No ioctl of btrfs, nor making a
    snapshot, tells of data that writing back has lost.
    """
    checked(libc.syncfs(fd))


def open_subvolume(any_fd: int, treeid: int) -> int:
    """Open the top directory of a subvolume by its tree id, wherever it is on the file system.

    No path is walked, so that neither mounts nor links can lead astray. Needs
    CAP_DAC_READ_SEARCH. ENOENT or ESTALE if there is no such subvolume.
    """
    handle = ctypes.create_string_buffer(
        _FILE_HANDLE.pack(20, _FILEID_BTRFS_WITHOUT_PARENT, ROOT_DIRECTORY_INODE, treeid, 0),
        _FILE_HANDLE.size,
    )
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    return checked(libc.open_by_handle_at(any_fd, handle, flags))


def rename_new(directory_fd: int, old: bytes, new: bytes) -> None:
    """Rename within one directory; EEXIST if `new` is there (a plain rename would replace it)."""
    checked(libc.renameat2(directory_fd, old, directory_fd, new, _RENAME_NOREPLACE))
