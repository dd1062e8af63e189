"""Does what the commands of a send stream say, inside one subvolume."""

from __future__ import annotations

import errno
import functools
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from buttersink.btrfs.applying.cloning import Cloner
from buttersink.btrfs.applying.encoded import write_encoded
from buttersink.btrfs.applying.fallocating import fallocate
from buttersink.btrfs.applying.flags import FileFlags
from buttersink.btrfs.applying.openfiles import WrittenFile
from buttersink.btrfs.applying.ownership import chown_entry, chown_file
from buttersink.btrfs.applying.paths import Directories, open_file, open_inode
from buttersink.btrfs.applying.pending import Pending
from buttersink.btrfs.applying.topdir import TopDirectory
from buttersink.btrfs.applying.verity import enable_verity
from buttersink.btrfs.applying.xattrs import Xattrs
from buttersink.errors import CorruptStreamError

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

__all__ = ["Applier", "Pending"]

_DIRECTORY_MODE: Final = 0o700
_SPECIAL_MODE: Final = 0o600
_ODD: Final = "a btrfs file system does not make such a stream"

Method = TypeVar("Method", bound="Callable[..., None]")


def _command(second: str = "") -> Callable[[Method], Method]:
    """Let a method, whose first argument is a path, be tried again where flags are in its way.

    The snapshot may be a copy of one that has immutable and append-only files. Numbers and
    names that no system call takes become errors of the stream.

    Args:
        second: Name of the argument that is a path too, and comes second; empty if there is none.
    """

    def decorate(method: Method) -> Method:
        @functools.wraps(method)
        def careful(self: Applier, path: bytes, *args: Any, **kwargs: Any) -> None:
            try:
                method(self, path, *args, **kwargs)
            except PermissionError as error:
                paths = [path]
                if second:
                    paths.append(args[0] if args else kwargs[second])
                if error.errno != errno.EPERM or not self._soften(paths):
                    raise
                method(self, path, *args, **kwargs)
            except (OverflowError, ValueError) as error:
                raise CorruptStreamError(
                    f"an impossible value for {os.fsdecode(path)!r}: {error}", _ODD
                ) from error

        return cast("Method", careful)

    return decorate


class Applier:
    """Applies commands, as `stream.commands.Commands`; what must wait is done by `finish`.

    No path is walked through a symbolic link, out of the subvolume or into another mount: such a
    command raises CorruptStreamError, and so does what is never in a stream of the kernel's,
    where it would do harm. Other errors of the kernel are raised as they are (OSError): what
    they tell depends on the command. After an error nothing more should be applied.

    The umask of the process has to be 0, and it must have a single thread: its working directory
    changes for moments. It needs the capabilities CHOWN, DAC_OVERRIDE, FOWNER, FSETID, MKNOD,
    SETFCAP, SYS_ADMIN and LINUX_IMMUTABLE.
    """

    def __init__(
        self,
        root_fd: int,
        *,
        own: frozenset[UUID],
        sources: Callable[[UUID], int],
        pending: Pending | None = None,
        incremental: bool,
    ) -> None:
        """Be ready for the first command, or for the next one.

        Args:
            root_fd: Top directory of the subvolume, opened to read; it stays the caller's.
            own: The identities that the stream has for the snapshot being made.
            sources: Returns the top directory of another snapshot to clone from; it stays the
                caller's.
            pending: What an earlier applier of the same stream had left to do; None if this is
                the first.
            incremental: Whether the subvolume began as a copy of the parent.

        Raises:
            TransferError: The kernel can't keep paths below a directory.
            OSError: The top directory could not be prepared.
        """
        self._root_fd = root_fd
        self._directories = Directories(root_fd)
        self._file = WrittenFile(self._directories)
        self._cloner = Cloner(self._directories, own, sources)
        self._flags = FileFlags(root_fd, pending.inodes if pending else {})
        if incremental and pending is None:
            self._flags.soften(root_fd)
        self._top = TopDirectory(root_fd, pending, incremental=incremental)
        self._xattrs = Xattrs()

    @_command()
    def mkfile(self, path: bytes) -> None:
        """Make an empty regular file."""
        self._file.make(path)

    @_command()
    def mkdir(self, path: bytes) -> None:
        """Make a directory."""
        dir_fd, name = self._directories.parent(path)
        os.mkdir(name, _DIRECTORY_MODE, dir_fd=dir_fd)

    @_command()
    def mknod(self, path: bytes, mode: int, rdev: int) -> None:
        """Make a device node; its permissions come with CHMOD."""
        kind = stat.S_IFMT(mode)
        if kind not in {stat.S_IFCHR, stat.S_IFBLK}:
            raise CorruptStreamError(f"{os.fsdecode(path)!r} is to be a device of type {kind:o}")
        dir_fd, name = self._directories.parent(path)
        os.mknod(name, kind | _SPECIAL_MODE, _device(rdev), dir_fd=dir_fd)

    @_command()
    def mkfifo(self, path: bytes) -> None:
        """Make a named pipe."""
        dir_fd, name = self._directories.parent(path)
        os.mkfifo(name, _SPECIAL_MODE, dir_fd=dir_fd)

    @_command()
    def mksock(self, path: bytes) -> None:
        """Make a socket."""
        dir_fd, name = self._directories.parent(path)
        os.mknod(name, stat.S_IFSOCK | _SPECIAL_MODE, dir_fd=dir_fd)

    @_command()
    def symlink(self, path: bytes, target: bytes) -> None:
        """Make a symbolic link."""
        dir_fd, name = self._directories.parent(path)
        os.symlink(target, name, dir_fd=dir_fd)

    @_command("to")
    def rename(self, path: bytes, to: bytes) -> None:
        """Rename something."""
        dir_fd, name = self._directories.parent(path)
        to_fd, to_name = self._directories.parent(to)
        os.rename(name, to_name, src_dir_fd=dir_fd, dst_dir_fd=to_fd)
        self._cloner.forget(path, to)
        if path != self._file.path:  # which is no directory, and so can't replace one either
            self._directories.forget(path, to)
        self._file.renamed(path, to)

    @_command("existing")
    def link(self, path: bytes, existing: bytes) -> None:
        """Make a further name of a file."""
        from_fd, from_name = self._directories.parent(existing)
        dir_fd, name = self._directories.parent(path)
        os.link(from_name, name, src_dir_fd=from_fd, dst_dir_fd=dir_fd, follow_symlinks=False)

    @_command()
    def unlink(self, path: bytes) -> None:
        """Remove a name of what is no directory."""
        dir_fd, name = self._directories.parent(path)
        os.unlink(name, dir_fd=dir_fd)
        self._cloner.forget(path)
        if path == self._file.path:
            self._file.close()

    @_command()
    def rmdir(self, path: bytes) -> None:
        """Remove an empty directory."""
        dir_fd, name = self._directories.parent(path)
        os.rmdir(name, dir_fd=dir_fd)
        self._directories.forget(path)

    @_command()
    def set_xattr(self, path: bytes, name: bytes, data: memoryview) -> None:
        """Set an extended attribute."""
        if path == self._file.path:
            self._file.fresh = False
            os.setxattr(self._file.fd, name, data)
        elif path:
            self._xattrs.set(*self._directories.parent(path), name, data)
        else:
            self._top.set_xattr(name, data)

    @_command()
    def remove_xattr(self, path: bytes, name: bytes) -> None:
        """Remove an extended attribute."""
        if path == self._file.path:
            os.removexattr(self._file.fd, name)
        elif path:
            self._xattrs.remove(*self._directories.parent(path), name)
        else:
            self._top.remove_xattr(name)

    @_command()
    def write(self, path: bytes, offset: int, data: memoryview) -> None:
        """Write into a file."""
        fd = self._file.open(path)
        while (count := os.pwrite(fd, data, offset)) < len(data):
            data = data[count:]
            offset += count

    @_command()
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
        """Let a range of a file share the data of another; where it can't be shared, copy it."""
        self._cloner.clone(
            self._file.open(path),
            offset,
            length=length,
            source=source,
            source_path=source_path,
            source_offset=source_offset,
        )

    @_command()
    def truncate(self, path: bytes, size: int) -> None:
        """Set the size of a file."""
        os.ftruncate(self._file.open(path), size)

    @_command()
    def chmod(self, path: bytes, mode: int) -> None:
        """Set permissions."""
        if path == self._file.path:
            self._file.fresh = False
            os.fchmod(self._file.fd, mode)
        elif path:
            dir_fd, name = self._directories.parent(path)
            # No call of old sets the mode of anything but what a link leads to. Nobody but this
            # thread makes links here.
            if stat.S_ISLNK(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode):
                raise CorruptStreamError(
                    f"a mode for the symbolic link {os.fsdecode(path)!r}", _ODD
                )
            os.chmod(name, mode, dir_fd=dir_fd)
        else:
            os.fchmod(self._root_fd, mode)

    @_command()
    def chown(self, path: bytes, uid: int, gid: int) -> None:
        """Set the owner; all else stays."""
        if path == self._file.path:
            if self._file.fresh:
                os.fchown(self._file.fd, uid, gid)
            else:
                chown_file(self._file.fd, uid, gid)
        elif path:
            chown_entry(*self._directories.parent(path), uid, gid)
        else:
            os.fchown(self._root_fd, uid, gid)

    @_command()
    def utimes(self, path: bytes, *, atime: int, mtime: int) -> None:
        """Set times."""
        if path == self._file.path:
            os.utime(self._file.fd, ns=(atime, mtime))
        elif path:
            dir_fd, name = self._directories.parent(path)
            os.utime(name, ns=(atime, mtime), dir_fd=dir_fd, follow_symlinks=False)
        else:
            self._top.set_times(atime=atime, mtime=mtime)

    @_command()
    def fallocate(self, path: bytes, mode: int, *, offset: int, size: int) -> None:
        """Change how a range of a file is allocated, as the system call of this name does."""
        fallocate(self._file.open(path), mode, offset=offset, size=size)

    @_command()
    def fileattr(self, path: bytes, flags: int) -> None:
        """Set the flags of an inode; those of links and special files mean nothing, and stay."""
        if path == self._file.path:
            self._flags.set(self._file.fd, flags)
        elif path:
            fd = open_inode(self._directories, path)
            if fd is not None:
                try:
                    self._flags.set(fd, flags)
                finally:
                    os.close(fd)
        else:
            self._top.set_flags(flags)

    @_command()
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
        """Write an extent as it is on disk."""
        write_encoded(
            self._file.open(path),
            offset,
            data,
            file_length=file_length,
            unencoded_length=unencoded_length,
            unencoded_offset=unencoded_offset,
            compression=compression,
            encryption=encryption,
        )

    @_command()
    def enable_verity(
        self, path: bytes, *, algorithm: int, block_size: int, salt: bytes, signature: bytes
    ) -> None:
        """Enable fs-verity on a file."""
        self._file.close()  # the kernel wants nobody to be able to write to it
        fd = open_file(self._directories, path, os.O_RDONLY)
        try:
            enable_verity(
                fd, algorithm=algorithm, block_size=block_size, salt=salt, signature=signature
            )
        finally:
            os.close(fd)

    def pending(self) -> Pending:
        """Return what there is still to do: what another applier needs, to go on from here."""
        return self._top.pending(dict(self._flags.pending))

    def finish(self) -> None:
        """Do what had to wait for the end of the stream, and let go of everything.

        Raises:
            OSError: It could not be done.
        """
        self.flush()
        self._top.finish(self._flags)
        self._flags.finish()  # last: nothing can be changed of what is immutable

    def flush(self) -> None:
        """Let go of the descriptors that are kept open."""
        self._file.close()
        self._cloner.close()
        self._directories.close()

    def close(self) -> None:
        """Let go of everything; to be called once, and nothing after it."""
        self.flush()
        self._xattrs.close()

    def _soften(self, paths: list[bytes]) -> bool:
        """Make what is at these paths, and the directories they are in, changeable.

        Returns:
            Whether any of it was not.
        """
        softened = False
        for path in paths:
            directory = path.rpartition(b"/")[0]
            for each in (directory, path) if path else (path,):
                softened |= self._soften_inode(each)
        return softened

    def _soften_inode(self, path: bytes) -> bool:
        """Make what is at a path changeable, if it is there; return whether it was not."""
        if not path:
            return self._flags.soften(self._root_fd)
        with suppress(FileNotFoundError):
            fd = open_inode(self._directories, path)
            if fd is not None:
                try:
                    return self._flags.soften(fd)
                finally:
                    os.close(fd)
        return False


def _device(rdev: int) -> int:
    """Return the device that the kernel's new_encode_dev (linux/kdev_t.h) has made `rdev` of."""
    return os.makedev((rdev & 0xFFF00) >> 8, (rdev & 0xFF) | ((rdev >> 12) & 0xFFF00))
