"""A tree of files in memory, whose random changes are also the commands of a stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support import outlines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

_NAMES = [b"a", b"b", b"c", b"d", b"\xff"]


@dataclass(slots=True, eq=False)
class Thing:
    """A file or a directory."""

    is_directory: bool
    inside: dict[bytes, Thing] = field(default_factory=dict)

    def walk(self, path: bytes = b"") -> Iterator[tuple[Thing, bytes, Thing, bytes]]:
        """Yield directory, name, what is there, and its path, for all that is below."""
        for name, thing in self.inside.items():
            inner = path + b"/" + name if path else name
            yield self, name, thing, inner
            yield from thing.walk(inner)


@dataclass(frozen=True, slots=True)
class Picture:
    """A tree at one moment.

    Attributes:
        places: Of each thing, its directories and names there, each with its path.
        paths: What is at each path.
    """

    places: dict[Thing, dict[tuple[Thing, bytes], bytes]]
    paths: dict[bytes, Thing]


class ModelTree:
    """A tree that changes at random.

    Attributes:
        commands: What has been done since `picture` was called last.
        data: Bytes written to each file since.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._top = Thing(is_directory=True)
        self._spare = 0
        self.commands: list[bytes] = []
        self.data: dict[Thing, int] = {}

    def picture(self) -> Picture:
        """Return what the tree is like; begin with new commands."""
        self.commands, self.data = [], {}
        return self.look()

    def look(self) -> Picture:
        """Return what the tree is like."""
        places: dict[Thing, dict[tuple[Thing, bytes], bytes]] = {}
        paths = {}
        for directory, name, thing, path in self._top.walk():
            places.setdefault(thing, {})[directory, name] = path
            paths[path] = thing
        return Picture(places, paths)

    def change(self) -> None:
        """Change a name or two."""
        self._rng.choice(
            [self._make, self._make, self._link, self._remove, self._rename, self._rename_over,
             self._swap]
        )()  # fmt: skip

    def write(self) -> None:
        """Write to a file; once names no longer change, as the kernel does."""
        files = [(thing, path) for _, _, thing, path in self._top.walk() if not thing.is_directory]
        if files:
            thing, path = self._rng.choice(files)
            length = self._rng.randrange(1, 1000)
            self.commands.append(outlines.extent(path, 0, length))
            self.data[thing] = self.data.get(thing, 0) + length

    def _names(self) -> list[tuple[Thing, bytes, Thing, bytes]]:
        return list(self._top.walk())

    def _place(self) -> tuple[Thing, bytes, bytes]:
        """Draw a directory, and a name and path in it."""
        directories = [(self._top, b"")]
        directories += [(thing, path) for _, _, thing, path in self._names() if thing.is_directory]
        directory, path = self._rng.choice(directories)
        name = self._rng.choice(_NAMES)
        return directory, name, path + b"/" + name if path else name

    def _make(self) -> None:
        directory, name, path = self._place()
        if name in directory.inside:
            return
        is_directory = self._rng.random() < 0.5
        directory.inside[name] = Thing(is_directory)
        if self._rng.random() < 0.5:
            make = outlines.mkdir if is_directory else outlines.mkfile
            self.commands.append(make(path))
            return
        self._spare += 1
        aside = b"o%d-7-0" % self._spare
        make = outlines.mkdir if is_directory else outlines.mkfile
        self.commands += make(aside), outlines.rename(aside, path)

    def _link(self) -> None:
        files = [(thing, path) for _, _, thing, path in self._names() if not thing.is_directory]
        directory, name, path = self._place()
        if files and name not in directory.inside:
            thing, existing = self._rng.choice(files)
            directory.inside[name] = thing
            self.commands.append(outlines.link(path, existing))

    def _remove(self) -> None:
        names = [found for found in self._names() if not found[2].inside]
        if names:
            directory, name, thing, path = self._rng.choice(names)
            del directory.inside[name]
            remove = outlines.rmdir if thing.is_directory else outlines.unlink
            self.commands.append(remove(path))

    def _rename(self) -> None:
        names = self._names()
        to, new, to_path = self._place()
        if not names or new in to.inside:
            return
        directory, name, thing, path = self._rng.choice(names)
        if to is thing or any(inner is to for _, _, inner, _ in thing.walk()):
            return
        del directory.inside[name]
        to.inside[new] = thing
        if thing.is_directory or self._rng.random() < 0.3:
            self.commands.append(outlines.rename(path, to_path))
        else:
            self.commands += outlines.link(to_path, path), outlines.unlink(path)

    def _rename_over(self) -> None:
        """Let one file take the name of another, which the stream must have spoken of."""
        files = [found for found in self._names() if not found[2].is_directory]
        if len(files) > 1:
            one, other = self._rng.sample(files, 2)
            if one[2] is not other[2]:
                del one[0].inside[one[1]]
                other[0].inside[other[1]] = one[2]
                self.commands += outlines.touch(other[3]), outlines.rename(one[3], other[3])

    def _swap(self) -> None:
        """Let two things change places, as the kernel does: one goes aside."""
        names = self._names()
        if len(names) < 2:
            return
        one, other = self._rng.sample(names, 2)
        if (one[3] + b"/").startswith(other[3] + b"/") or other[3].startswith(one[3] + b"/"):
            return
        one[0].inside[one[1]], other[0].inside[other[1]] = other[2], one[2]
        self._spare += 1
        aside = b"o%d-7-0" % self._spare
        self.commands += (
            outlines.rename(one[3], aside),
            outlines.rename(other[3], one[3]),
            outlines.rename(aside, other[3]),
        )
