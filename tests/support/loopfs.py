"""A btrfs file system in a file, mounted through a loop device, for one test."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

SCRATCH_VARIABLE = "BUTTERSINK_TEST_SCRATCH"
_SHARED_MEMORY = "/dev/shm"
_SHARED_MEMORY_MIN_FREE = 4 << 30
_UMOUNT_TRIES = 6


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of /proc/self/mountinfo."""

    point: str
    filesystem: str
    source: str


def mounts() -> list[Mount]:
    """Return this process's mounts, oldest first (format: proc(5))."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            mount, _, volume = line.rstrip("\n").partition(" - ")
            filesystem, source = volume.split(" ")[:2]
            found.append(Mount(_unescaped(mount.split(" ")[4]), filesystem, _unescaped(source)))
    return found


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), field)


def scratch_root() -> Path:
    """Return where images go: what the environment says, else memory with room, else disk."""
    if chosen := os.environ.get(SCRATCH_VARIABLE):
        return Path(chosen)
    in_memory = any(m.point == _SHARED_MEMORY and m.filesystem == "tmpfs" for m in mounts())
    if in_memory and shutil.disk_usage(_SHARED_MEMORY).free >= _SHARED_MEMORY_MIN_FREE:
        return Path(_SHARED_MEMORY)
    return Path(tempfile.gettempdir())


def run(*command: str | os.PathLike[str]) -> str:
    """Run a program; return what it wrote.

    Raises:
        RuntimeError: It failed; the message has its complaint.
    """
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        words = " ".join(os.fspath(word) for word in command)
        raise RuntimeError(f"{words}: exit status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def unmount(point: str) -> None:
    """Unmount what is mounted last at `point`, and if it stays busy, as soon as it is not."""
    for attempt in range(_UMOUNT_TRIES):
        try:
            run("umount", "--", point)
        except RuntimeError as error:
            if "busy" not in str(error):
                raise
            time.sleep(0.02 * 2**attempt)
        else:
            return
    run("umount", "--lazy", "--", point)


def unmount_below(directory: Path, *, device: str = "") -> None:
    """Unmount everything at or below `directory`, and `device` wherever it is mounted."""
    top = os.path.realpath(directory)

    def concerned() -> list[Mount]:
        return [
            mount
            for mount in mounts()
            if mount.point == top
            or mount.point.startswith(top + "/")
            or (device and mount.source == device)
        ]

    # Asked anew each time: unmounting one may take others with it where mounts are shared.
    while left := concerned():
        unmount(left[-1].point)


class LoopFs:
    """A mounted btrfs file system that is gone after `close`, or at the latest at exit.

    Attributes:
        path: Where its top-level subvolume is mounted.
        image: The sparse file that holds it.
        device: The loop device, such as /dev/loop0.
    """

    def __init__(self, home: Path) -> None:
        self.path = home / "mnt"
        self.image = home / "image"
        self.device = ""
        self._home = home
        self._owner = os.getpid()
        atexit.register(self.close)

    @classmethod
    def create(
        cls,
        directory: str | os.PathLike[str],
        *,
        size: str = "2G",
        mount_options: str = "",
        label: str = "fs",
    ) -> Self:
        """Make and mount a file system in a new directory below `directory`.

        Args:
            directory: Existing scratch directory.
            size: Size of the file system as truncate(1) takes it; disk space is used as needed.
            mount_options: For mount(8), separated by commas.
            label: Label of the file system, also seen in its path.

        Raises:
            RuntimeError: mkfs.btrfs or mount failed; nothing is left behind.
        """
        home = Path(os.path.realpath(tempfile.mkdtemp(prefix=f"{label}-", dir=directory)))
        fs = cls(home)
        try:
            fs.path.mkdir()
            run("truncate", "--size", size, fs.image)
            run("mkfs.btrfs", "--quiet", "--label", label, fs.image)
            options = f"loop,{mount_options}" if mount_options else "loop"
            run("mount", "-t", "btrfs", "-o", options, fs.image, fs.path)
            fs.device = fs._find_device()
        except BaseException:
            fs.close()
            raise
        return fs

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"LoopFs({str(self.path)!r})"

    def remount(self, options: str) -> None:
        """Change the mount options, for example to "ro"."""
        run("mount", "-o", f"remount,{options}", self.path)

    def mount_again(
        self,
        at: str | os.PathLike[str],
        *,
        options: str = "",
        bind: str | os.PathLike[str] | None = None,
    ) -> Path:
        """Mount the file system a second time, or a directory of it; `close` unmounts it too.

        Args:
            at: Mount point, made if it does not exist.
            options: Mount options, such as "subvol=live".
            bind: The directory to show at `at` by a bind mount, instead of the device.

        Returns:
            The mount point.
        """
        os.makedirs(at, exist_ok=True)
        chosen = ["-o", options] if options else []
        if bind is None:
            run("mount", "-t", "btrfs", *chosen, self.device, at)
        else:
            run("mount", "--bind", *chosen, bind, at)
        return Path(at)

    def close(self) -> None:
        """Unmount the file system everywhere and delete it. Repeating it does nothing.

        The loop device goes with the last unmount, because mount(8) made it with autoclear.
        """
        if os.getpid() != self._owner:
            return  # a forked child has a copy of this object, but not of the duty
        if self._home.exists():
            unmount_below(self._home, device=self.device)
            shutil.rmtree(self._home)
        atexit.unregister(self.close)

    def _find_device(self) -> str:
        return run(
            "losetup", "--noheadings", "--output", "NAME", "--associated", self.image
        ).strip()
