"""Whatever commands come in whatever order: the same tree and the same errors as without caches."""

from __future__ import annotations

import errno
import os
import stat
from functools import partial
from itertools import product
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import pytest

from buttersink.errors import CorruptStreamError
from support.applying import OWN, applying
from support.tree import describe, differences

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from buttersink.stream.commands import Commands
    from support.loopfs import LoopFs

pytestmark = pytest.mark.kernel

BLOCK = 4096
STEPS = 1500


class Plain:
    """Does the same with whole paths and nothing kept, after looking at each component first."""

    def __init__(self, top: Path) -> None:
        self._top = os.fsencode(top)

    def _full(self, path: bytes) -> bytes:
        """Return a path that the kernel may walk: without links but for the last component."""
        full = self._top
        *directories, name = path.split(b"/")
        for directory in directories:
            full += b"/" + directory
            mode = os.lstat(full).st_mode
            if stat.S_ISLNK(mode):
                raise CorruptStreamError("a link")
            if not stat.S_ISDIR(mode):
                raise NotADirectoryError(errno.ENOTDIR, "no directory")
        return full + b"/" + name

    def _file(self, path: bytes) -> bytes:
        full = self._full(path)
        mode = os.lstat(full).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise CorruptStreamError("no file")
        return full

    def mkfile(self, path: bytes) -> None:
        os.close(os.open(self._full(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    def mkdir(self, path: bytes) -> None:
        os.mkdir(self._full(path), 0o700)

    def mkfifo(self, path: bytes) -> None:
        os.mkfifo(self._full(path), 0o600)

    def symlink(self, path: bytes, target: bytes) -> None:
        os.symlink(target, self._full(path))

    def rename(self, path: bytes, to: bytes) -> None:
        os.rename(self._full(path), self._full(to))

    def link(self, path: bytes, existing: bytes) -> None:
        os.link(self._full(existing), self._full(path), follow_symlinks=False)

    def unlink(self, path: bytes) -> None:
        os.unlink(self._full(path))

    def rmdir(self, path: bytes) -> None:
        os.rmdir(self._full(path))

    def write(self, path: bytes, offset: int, data: bytes) -> None:
        fd = os.open(self._file(path), os.O_WRONLY)
        try:
            os.pwrite(fd, data, offset)
        finally:
            os.close(fd)

    def truncate(self, path: bytes, size: int) -> None:
        full = self._file(path)
        if os.path.isdir(full):
            raise IsADirectoryError(errno.EISDIR, "a directory")
        os.truncate(full, size)

    def clone(self, path: bytes, source: bytes, blocks: int) -> None:
        with open(os.open(self._file(path), os.O_WRONLY), "wb") as file:
            source_full = self._file(source)
            if os.path.isdir(source_full):
                raise CorruptStreamError("no file")
            with open(source_full, "rb") as other:
                size = os.fstat(other.fileno()).st_size
                if blocks * BLOCK > size:
                    raise CorruptStreamError("beyond the end")
                if os.path.samestat(os.fstat(file.fileno()), os.fstat(other.fileno())):
                    raise CorruptStreamError("onto itself")
                data = other.read(blocks * BLOCK)
            os.pwrite(file.fileno(), data, 0)

    def chmod(self, path: bytes, mode: int) -> None:
        full = self._full(path)
        if os.path.islink(full):
            raise CorruptStreamError("a link")
        os.chmod(full, mode)

    def chown(self, path: bytes, uid: int, gid: int) -> None:
        full = self._full(path)
        mode = os.lstat(full).st_mode
        os.lchown(full, uid, gid)
        if not stat.S_ISLNK(mode):
            os.chmod(full, stat.S_IMODE(mode))

    def set_xattr(self, path: bytes, name: bytes, data: bytes) -> None:
        os.setxattr(self._full(path), name, data, follow_symlinks=False)

    def remove_xattr(self, path: bytes, name: bytes) -> None:
        os.removexattr(self._full(path), name, follow_symlinks=False)


class Step(NamedTuple):
    """A command, for both."""

    text: str
    apply: Callable[[Commands], None]
    model: Callable[[Plain], None]


def _same(name: str, *arguments: bytes | int) -> Step:
    shown = [each[:20] if isinstance(each, bytes) else each for each in arguments]
    return Step(
        f"{name}{shown}",
        lambda applier: getattr(applier, name)(*arguments),
        lambda plain: getattr(plain, name)(*arguments),
    )


def _clone(path: bytes, source: bytes, blocks: int) -> Step:
    return Step(
        f"clone{(path, source, blocks)}",
        lambda applier: applier.clone(
            path, 0, length=blocks * BLOCK, source=OWN, source_path=source, source_offset=0
        ),
        lambda plain: plain.clone(path, source, blocks),
    )


PATHS = [b"/".join(names) for depth in (1, 2, 3) for names in product((b"a", b"b"), repeat=depth)]
"""Few, so that they meet often."""


class Chance:
    """Draws commands; as in streams, many are of what the one before was of."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)
        self._last = PATHS[0]

    def step(self) -> Step:
        """Return a command."""
        ((_, draw),) = self._rng.choices(DRAWS, WEIGHTS)
        return draw(self)

    def path(self) -> bytes:
        """Return a path."""
        if self._rng.random() < 0.5:
            self._last = self._rng.choice(PATHS)
        return self._last

    def size(self) -> int:
        """Return a size or an offset in a file."""
        return self._rng.randrange(3 * BLOCK)

    def number(self, end: int) -> int:
        """Return a number below `end`."""
        return self._rng.randrange(end)

    def data(self) -> bytes:
        """Return what to write."""
        return self._rng.randbytes(self._rng.choice((1, 100, BLOCK, 2 * BLOCK)))

    def target(self) -> bytes:
        """Return the target of a symbolic link."""
        return self._rng.choice((b"a", b"b/a", b"../a", b"/etc"))

    def attribute(self) -> bytes:
        """Return the name of an extended attribute."""
        return self._rng.choice((b"trusted.x", b"trusted.y"))


DRAWS: list[tuple[int, Callable[[Chance], Step]]] = [
    (6, lambda chance: _same("mkfile", chance.path())),
    (12, lambda chance: _same("mkdir", chance.path())),
    (1, lambda chance: _same("mkfifo", chance.path())),
    (2, lambda chance: _same("symlink", chance.path(), chance.target())),
    (8, lambda chance: _same("rename", chance.path(), chance.path())),
    (2, lambda chance: _same("link", chance.path(), chance.path())),
    (9, lambda chance: _same("unlink", chance.path())),
    (2, lambda chance: _same("rmdir", chance.path())),
    (12, lambda chance: _same("write", chance.path(), chance.size(), chance.data())),
    (2, lambda chance: _same("truncate", chance.path(), chance.size())),
    (8, lambda chance: _clone(chance.path(), chance.path(), 1 + chance.number(2))),
    (1, lambda chance: _same("chmod", chance.path(), chance.number(0o10000))),
    (1, lambda chance: _same("chown", chance.path(), chance.number(9), chance.number(9))),
    (1, lambda chance: _same("set_xattr", chance.path(), chance.attribute(), b"x")),
    (1, lambda chance: _same("remove_xattr", chance.path(), chance.attribute())),
]
WEIGHTS = [weight for weight, _ in DRAWS]


def outcome(act: Callable[[], None]) -> int | str:
    """Return how an act ends: the number of its error, 0 if it has none."""
    try:
        act()
    except CorruptStreamError:
        return "corrupt"
    except OSError as error:
        return error.errno or -1
    return 0


@pytest.mark.parametrize("seed", range(8))
def test_commands_do_the_same_with_caches_as_without(fs_a: LoopFs, seed: int) -> None:
    one, two = fs_a.path / "one", fs_a.path / "two"
    one.mkdir()
    two.mkdir()
    chance = Chance(seed)
    plain = Plain(two)
    done: list[str] = []
    with applying(one) as applier:
        for _ in range(STEPS):
            step = chance.step()
            expected = outcome(partial(step.model, plain))
            assert outcome(partial(step.apply, applier)) == expected, (*done, step.text)
            if not expected:
                done.append(step.text)
    assert len(done) > STEPS / 20  # not all was in vain
    trees = [describe(path, times=False) for path in (one, two)]
    assert differences(*trees) == []
