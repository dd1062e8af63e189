"""What the commands of a send stream do, one method each: who applies a stream implements this.

All paths are relative, non-empty, without `.` and `..`, except that the empty path stands for
the top directory where that is said. Nothing is said here of links on the way: a stream can make
a symbolic link and then name a path through it. Memory views are valid during the call only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from uuid import UUID


class Commands(Protocol):
    """The commands after the head of a stream, up to END."""

    def mkfile(self, path: bytes) -> None:
        """Make an empty regular file."""

    def mkdir(self, path: bytes) -> None:
        """Make a directory."""

    def mknod(self, path: bytes, mode: int, rdev: int) -> None:
        """Make a device node; `mode` has its type, `rdev` is as the kernel's new_encode_dev."""

    def mkfifo(self, path: bytes) -> None:
        """Make a named pipe."""

    def mksock(self, path: bytes) -> None:
        """Make a socket."""

    def symlink(self, path: bytes, target: bytes) -> None:
        """Make a symbolic link; the target is free text."""

    def rename(self, path: bytes, to: bytes) -> None:
        """Rename something; what is at the new name is replaced, as by the system call."""

    def link(self, path: bytes, existing: bytes) -> None:
        """Make a further name, `path`, of the file `existing`."""

    def unlink(self, path: bytes) -> None:
        """Remove a name of what is no directory."""

    def rmdir(self, path: bytes) -> None:
        """Remove an empty directory."""

    def set_xattr(self, path: bytes, name: bytes, data: memoryview) -> None:
        """Set an extended attribute, not through a link; the path may be empty."""

    def remove_xattr(self, path: bytes, name: bytes) -> None:
        """Remove an extended attribute, not through a link; the path may be empty."""

    def write(self, path: bytes, offset: int, data: memoryview) -> None:
        """Write into a file."""

    def clone(
        self,
        path: bytes,
        offset: int,
        *,
        length: int,
        source: UUID,
        source_path: bytes,
        source_offset: int,
    ) -> None:
        """Let a range of a file share the data of a file in the snapshot `source`.

        That may be the snapshot that is being made: then the file is one of what there is by now.
        """

    def truncate(self, path: bytes, size: int) -> None:
        """Set the size of a file."""

    def chmod(self, path: bytes, mode: int) -> None:
        """Set permissions (07777); the path may be empty."""

    def chown(self, path: bytes, uid: int, gid: int) -> None:
        """Set the owner, not through a link; the path may be empty."""

    def utimes(self, path: bytes, *, atime: int, mtime: int) -> None:
        """Set times, in nanoseconds since 1970, not through a link; the path may be empty."""

    def fallocate(self, path: bytes, mode: int, *, offset: int, size: int) -> None:
        """Allocate or free space, as by the system call of that name."""

    def fileattr(self, path: bytes, flags: int) -> None:
        """Set the flags of an inode (BTRFS_INODE_*, btrfs_tree.h); the path may be empty."""

    def encoded_write(
        self,
        path: bytes,
        offset: int,
        data: memoryview,
        *,
        file_length: int,
        unencoded_length: int,
        unencoded_offset: int,
        compression: int,
        encryption: int,
    ) -> None:
        """Write an extent as it is on disk, see struct btrfs_ioctl_encoded_io_args (btrfs.h).

        Of the `unencoded_length` bytes that `data` unpacks to, `file_length` from
        `unencoded_offset` on are those of the file from `offset` on.
        """

    def enable_verity(
        self, path: bytes, *, algorithm: int, block_size: int, salt: bytes, signature: bytes
    ) -> None:
        """Enable fs-verity on a file."""
