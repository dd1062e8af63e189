"""The subvolumes of a file system, read from its trees: no mount table, no `btrfs` command.

Everything starts from a descriptor of a directory that the user named, so that bind mounts,
several mounts of one file system and `subvol=` mounts all show the same facts.
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import btrfs

from buttersink.btrfs.ioctl import ROOT_DIRECTORY_INODE, optional_uuid, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

_SEARCH_BUFFER: Final = 1 << 16
_TOP_LEVEL: Final = btrfs.ctree.FS_TREE_OBJECTID
_MAX_U64: Final = btrfs.ioctl.ULLONG_MAX

_ROOT_ITEM, _ROOT_BACKREF = btrfs.ctree.ROOT_ITEM_KEY, btrfs.ctree.ROOT_BACKREF_KEY
_INODE_ITEM, _INODE_REF = btrfs.ctree.INODE_ITEM_KEY, btrfs.ctree.INODE_REF_KEY
_QGROUP_STATUS, _QGROUP_INFO = btrfs.ctree.QGROUP_STATUS_KEY, btrfs.ctree.QGROUP_INFO_KEY
# struct btrfs_root_item, of which 239 bytes were there before Linux 3.6.
_ROOT_ITEM_BYTES: Final = 439
# struct btrfs_inode_ref: index, name_len; the name follows.
_INODE_REF_ITEM: Final = struct.Struct("<QH")
# struct btrfs_qgroup_status_item: version, generation, flags, rescan.
_QGROUP_STATUS_ITEM: Final = struct.Struct("<QQQQ")
# struct btrfs_qgroup_info_item: generation, rfer, rfer_cmpr, excl, excl_cmpr.
_QGROUP_INFO_ITEM: Final = struct.Struct("<QQQQQ")
# Only "on" and nothing else: a rescan under way, an inconsistency or simple quotas make the
# numbers say something other than what this subvolume refers to.
_QGROUP_STATUS_ON: Final = 1

_COMPRESSION_FEATURES: Final = (
    btrfs.ioctl.FEATURE_INCOMPAT_COMPRESS_LZO | btrfs.ioctl.FEATURE_INCOMPAT_COMPRESS_ZSTD
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subvolume:
    """One subvolume; fields have the kernel's names (struct btrfs_root_item).

    Attributes:
        treeid: Its id.
        path: From the top-level subvolume, without a leading slash; "" for the top level itself.
        uuid: Its own; None on file systems older than Linux 3.6.
        parent_uuid: Of what it was snapshotted from; not the send parent.
        received_uuid: Of what it was received from; a claim, see `changed_since_received`.
        generation: Of its last change; also grows when a snapshot is taken of it.
        ctransid: Like `generation`, but not for every cause; never compare it between machines.
        otransid: When it was created.
        stransid: The sender's ctransid, as told by the stream.
        rtransid: When it was received.
        flags: 1 is read-only.
        bytes_used: Bytes of its tree's nodes, shared or not; not of its data.
    """

    treeid: int
    path: str
    uuid: UUID | None
    parent_uuid: UUID | None
    received_uuid: UUID | None
    generation: int
    ctransid: int
    otransid: int
    stransid: int
    rtransid: int
    flags: int
    bytes_used: int
    ctime: datetime
    otime: datetime
    stime: datetime
    rtime: datetime

    @property
    def readonly(self) -> bool:
        """Whether it is read-only: only then it is a snapshot to us."""
        return bool(self.flags & btrfs.ctree.ROOT_SUBVOL_RDONLY)


@dataclass(frozen=True, slots=True)
class Quota:
    """What qgroup 0/<treeid> says: bytes referenced, and bytes no other subvolume shares."""

    referenced: int
    exclusive: int


class QuotaState(Enum):
    """What a file system's quotas are good for."""

    OFF = "off"
    ON = "on"
    UNRELIABLE = "unreliable"
    """On, but being counted, known to be inconsistent, or simple quotas, which count otherwise."""


def file_system_id(fd: int) -> UUID:
    """Return the id of the btrfs file system `fd` is on; OSError ENOTTY if it is not btrfs."""
    fsid = btrfs.ioctl.fs_info(fd).fsid
    return fsid if isinstance(fsid, UUID) else UUID(bytes=bytes(fsid))


def uses_compression(fd: int) -> bool:
    """Return whether lzo or zstd compression was ever used on the file system."""
    return bool(btrfs.ioctl.get_features(fd).incompat_flags & _COMPRESSION_FEATURES)


def directory_path(fd: int, subvolumes: Mapping[int, Subvolume]) -> str:
    """Return the path of the directory `fd` from the top-level subvolume, without slashes around.

    Args:
        fd: A directory.
        subvolumes: All subvolumes by treeid.
    """
    found = btrfs.ioctl.ino_lookup(fd, treeid=0, objectid=os.fstat(fd).st_ino)
    return _join(subvolumes[found.treeid].path, os.fsdecode(found.name_bytes))


def list_subvolumes(fd: int) -> tuple[Subvolume, ...]:
    """Return all subvolumes of the file system, with the top level, sorted by path.

    Needs CAP_SYS_ADMIN. Deleted subvolumes that the kernel has not yet cleaned up are left out.
    """
    roots: dict[int, Any] = {}
    places: dict[int, Any] = {}
    # The top level has no back-reference, and lies before all others in the tree of roots.
    for first, last in ((_TOP_LEVEL, _TOP_LEVEL), (256, btrfs.ctree.LAST_FREE_OBJECTID)):
        for header, data in _search(
            fd, btrfs.ctree.ROOT_TREE_OBJECTID, (first, _ROOT_ITEM, 0), (last, 255, _MAX_U64)
        ):
            if header.type == _ROOT_ITEM:
                whole = bytes(data).ljust(_ROOT_ITEM_BYTES, b"\0")
                roots[header.objectid] = btrfs.ctree.RootItem(header, whole)
            elif header.type == _ROOT_BACKREF:
                # Same layout as a ROOT_REF; the key's offset is the containing tree.
                places[header.objectid] = btrfs.ctree.RootRef(header, data)
    paths = _paths(fd, places)
    found = [_subvolume(root, paths[treeid]) for treeid, root in roots.items() if treeid in paths]
    return tuple(sorted(found, key=lambda s: os.fsencode(s.path)))


def lineage(fd: int, treeid: int) -> str | None:
    """Return a token that all subvolumes with shared history on this file system have in common.

    It is the creation (generation and otime) of the top directory's inode, which every snapshot
    inherits, also the copy of a parent that a receive starts from, and which survives
    the deletion of whatever stood between. A hint: two subvolumes that were created in one
    transaction and one tick of the clock (up to 10 ms) have it in common, too.

    None if the subvolume has been deleted meanwhile.
    """
    key = (ROOT_DIRECTORY_INODE, _INODE_ITEM, 0)
    try:
        for header, data in _search(fd, treeid, key, key):
            inode = btrfs.ctree.InodeItem(header, data)
            return f"{inode.generation}.{inode.otime.sec}.{inode.otime.nsec}"
    except FileNotFoundError:
        pass
    return None


def changed_since_received(fd: int, subvolume: Subvolume) -> bool:
    """Return whether a received subvolume was changed after it was received.

    Then its received_uuid is a lie: somebody made it writable by the bare ioctl, or an
    old btrfs-progs did, and used it on. The kernel does not clear received_uuid, and read-only
    snapshots inherit it.

    The test is an inode whose transid is newer than rtransid. A regular file needs a newer ctime,
    too, because data that the receive wrote may reach the disk, and touch the inode, after
    rtransid was set; writing back doesn't change ctime. Likewise a file's new data is seen only
    once it has reached the disk. Only tree nodes newer than rtransid are read. What has been
    deleted meanwhile counts as not changed.
    """
    if subvolume.generation <= subvolume.rtransid:
        return False
    newer = _search(
        fd, subvolume.treeid, (0, 0, 0), (_MAX_U64, 255, _MAX_U64), newer_than=subvolume.rtransid
    )
    try:
        return any(
            header.type == _INODE_ITEM
            and _inode_changed(btrfs.ctree.InodeItem(header, data), subvolume)
            for header, data in newer
        )
    except FileNotFoundError:
        return False


def quota_state(fd: int) -> QuotaState:
    """Return whether quotas are on, and their numbers can be trusted. Only reads."""
    for _, data in _quota_items(fd, _QGROUP_STATUS):
        flags = _QGROUP_STATUS_ITEM.unpack_from(data)[2]
        return QuotaState.ON if flags == _QGROUP_STATUS_ON else QuotaState.UNRELIABLE
    return QuotaState.OFF


def read_quotas(fd: int) -> dict[int, Quota]:
    """Return quota numbers by treeid; empty if quotas are off or their numbers can't be trusted.

    Only reads: quotas are never enabled, disabled or rescanned. The numbers are those of the last
    commit, and lack what was written since.
    """
    if quota_state(fd) is not QuotaState.ON:
        return {}
    quotas: dict[int, Quota] = {}
    for header, data in _quota_items(fd, _QGROUP_INFO):
        _, referenced, _, exclusive, _ = _QGROUP_INFO_ITEM.unpack_from(data)
        quotas[header.offset] = Quota(referenced, exclusive)
    # A rescan that has begun meanwhile starts all numbers from zero.
    return quotas if quota_state(fd) is QuotaState.ON else {}


def _quota_items(fd: int, item_type: int) -> Iterator[tuple[Any, memoryview]]:
    tree = btrfs.ctree.QUOTA_TREE_OBJECTID
    try:
        yield from _search(fd, tree, (0, item_type, 0), (0, item_type, _MAX_U64))
    except FileNotFoundError:  # quotas are off
        return


def _search(
    fd: int,
    tree: int,
    first: tuple[int, int, int],
    last: tuple[int, int, int],
    *,
    newer_than: int = -1,
) -> Iterator[tuple[Any, memoryview]]:
    return btrfs.ioctl.search_v2(  # type: ignore[no-any-return] # python-btrfs is untyped
        fd,
        tree,
        btrfs.ctree.Key(*first),
        btrfs.ctree.Key(*last),
        min_transid=newer_than + 1,
        buf_size=_SEARCH_BUFFER,
    )


def _inode_changed(inode: Any, received: Subvolume) -> bool:
    if inode.transid <= received.rtransid:
        return False
    return not stat.S_ISREG(inode.mode) or (
        timestamp(inode.ctime.sec, inode.ctime.nsec) > received.rtime
    )


def _join(*parts: str) -> str:
    return "/".join(stripped for part in parts if (stripped := part.strip("/")))


def _paths(fd: int, places: Mapping[int, Any]) -> dict[int, str]:
    """Return the path of each subvolume in `places`; those whose container is gone are left out."""
    paths = {_TOP_LEVEL: ""}
    directories: dict[tuple[int, int], str | None] = {}
    for start in places:
        chain = []
        treeid = start
        while treeid not in paths and treeid in places and treeid not in chain:
            chain.append(treeid)
            treeid = places[treeid].tree
        if treeid not in paths:
            continue
        for inner in reversed(chain):
            place = places[inner]
            where = (place.tree, place.dirid)
            if where not in directories:
                directories[where] = _path_in_tree(fd, *where)
            directory = directories[where]
            if directory is None:
                break
            paths[inner] = _join(paths[place.tree], directory, os.fsdecode(place.name))
    return paths


def _path_in_tree(fd: int, tree: int, inode: int) -> str | None:
    """Return the path of a directory from the top of its subvolume; None if it is gone.

    Climbs by the directory's one name (INODE_REF). The ioctl INO_LOOKUP has room for 4,080 bytes
    only, so that one user's deep directory with a subvolume in it could end the whole listing.
    """
    names: list[bytes] = []
    try:
        while inode != ROOT_DIRECTORY_INODE:
            found = next(_search(fd, tree, (inode, _INODE_REF, 0), (inode, _INODE_REF, _MAX_U64)))
            header, data = found
            _, length = _INODE_REF_ITEM.unpack_from(data)
            start = _INODE_REF_ITEM.size
            names.append(bytes(data[start : start + length]))
            inode = header.offset  # the directory that has the name
    except (FileNotFoundError, StopIteration):  # deleted since the search
        return None
    return os.fsdecode(b"/".join(reversed(names)))


def _subvolume(root: Any, path: str) -> Subvolume:
    # Written by a kernel before 3.6, which knew none of the fields after it: they are stale.
    stale = root.generation_v2 != root.generation
    return Subvolume(
        treeid=root.objectid,
        path=path,
        uuid=None if stale else optional_uuid(root.uuid.bytes),
        parent_uuid=None if stale else optional_uuid(root.parent_uuid.bytes),
        received_uuid=None if stale else optional_uuid(root.received_uuid.bytes),
        generation=root.generation,
        ctransid=root.ctransid,
        otransid=root.otransid,
        stransid=root.stransid,
        rtransid=root.rtransid,
        flags=root.flags,
        bytes_used=root.bytes_used,
        ctime=timestamp(root.ctime.sec, root.ctime.nsec),
        otime=timestamp(root.otime.sec, root.otime.nsec),
        stime=timestamp(root.stime.sec, root.stime.nsec),
        rtime=timestamp(root.rtime.sec, root.rtime.nsec),
    )
