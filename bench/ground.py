"""Where the benchmarks take place: file systems on loop devices, programs, and cold caches."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

# The tests have what makes and surely removes loop-mounted file systems; one such is enough.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.loopfs import LoopFs, run, scratch_root, unmount_below

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Ground", "LoopFs", "Template", "drop_caches", "program", "run", "shell", "words"]

_PAGES_AND_INODES = "3"


class Ground:
    """A scratch directory, and the file systems in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator[Self]:
        """Make a scratch directory for a block; nothing is left of it, or mounted, afterwards."""
        directory = Path(tempfile.mkdtemp(prefix="buttersink-bench-", dir=scratch_root()))
        try:
            yield cls(directory)
        finally:
            unmount_below(directory)
            shutil.rmtree(directory)

    def file_system(self, *, size: str = "8G", mount_options: str = "") -> LoopFs:
        """Make an empty file system, to be closed by the caller."""
        return LoopFs.create(self.directory, size=size, mount_options=mount_options, label="bench")

    def template(self, file_system: LoopFs, *, mount_options: str = "") -> Template:
        """Unmount a file system and keep it, to start from it again and again."""
        unmount_below(file_system.path)
        return Template(self.directory, file_system.image, mount_options)


class Template:
    """A file system that isn't mounted, of which each contestant gets a copy.

    Copies have the same id, so that only one may be mounted at a time.
    """

    def __init__(self, directory: Path, image: Path, mount_options: str) -> None:
        self._directory = directory
        self._image = image
        self._options = mount_options

    @contextmanager
    def copied(self) -> Iterator[Path]:
        """Mount a fresh copy for a block."""
        home = Path(tempfile.mkdtemp(prefix="copy-", dir=self._directory))
        image, point = home / "image", home / "mnt"
        point.mkdir()
        try:
            run("cp", "--sparse=always", self._image, image)
            options = f"loop,{self._options}" if self._options else "loop"
            run("mount", "-t", "btrfs", "-o", options, image, point)
            yield point
        finally:
            unmount_below(home)
            shutil.rmtree(home)


def drop_caches() -> None:
    """Write out everything, then forget all file data and metadata that is cached."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write(_PAGES_AND_INODES)


def program(name: str) -> str:
    """Return the path of one of our programs: beside this interpreter, else on the PATH.

    Raises:
        SystemExit: It is not installed.
    """
    beside = os.path.join(os.path.dirname(sys.executable), name)
    found = beside if os.access(beside, os.X_OK) else shutil.which(name)
    if found is None:
        raise SystemExit(f"bench: {name} is not installed: run `make bench`")
    return found


def shell(script: str) -> None:
    """Run a shell script, as a user would type it; its output is dropped.

    Raises:
        RuntimeError: It failed; the message has its complaint.
    """
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{script}: exit status {done.returncode}: {done.stderr.strip()}")


def words(*parts: str | os.PathLike[str]) -> str:
    """Return words as a shell must see them."""
    return shlex.join(os.fspath(part) for part in parts)
