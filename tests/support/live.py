"""A live subvolume as its history knows it: its names, kept in memory, and chance to draw from."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from support.awkward import Data, awkward_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

LONGEST_PATH = 1800
"""Bytes of a path below the subvolume, so that with what stands before it, it fits PATH_MAX."""


class Kind(Enum):
    """What a name stands for, as far as the changes must know."""

    DIRECTORY = "directory"
    FILE = "file"
    SYMLINK = "symlink"
    SPECIAL = "special"


@dataclass(slots=True, eq=False)
class Entry:
    """A name in the subvolume. Hard links are entries of their own."""

    name: bytes
    kind: Kind
    parent: Entry | None = field(default=None, repr=False)
    children: dict[bytes, Entry] = field(default_factory=dict, repr=False)

    @property
    def directory(self) -> Entry:
        """The directory the name is in."""
        if self.parent is None:
            raise ValueError("the top directory is in no other")
        return self.parent

    @property
    def path(self) -> bytes:
        """The path from the subvolume; empty for its top directory."""
        names = []
        entry = self
        while entry.parent is not None:
            names.append(entry.name)
            entry = entry.parent
        return b"/".join(reversed(names))

    def within(self, other: Entry) -> bool:
        """Whether this is `other`, or below it."""
        entry: Entry | None = self
        while entry is not None and entry is not other:
            entry = entry.parent
        return entry is other

    def walk(self) -> Iterator[Entry]:
        """Yield this entry and all below it."""
        pending = [self]
        while pending:
            entry = pending.pop()
            yield entry
            pending += entry.children.values()

    def depth_bytes(self) -> int:
        """Return the length of the longest path of an entry below this one, from this one."""
        here = len(self.path)
        return max(len(entry.path) for entry in self.walk()) - here


class Bag:
    """Entries that can be added, removed and drawn in constant time, in an order of its own."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._places: dict[Entry, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Entry:
        return self._entries[index]

    def add(self, entry: Entry) -> None:
        """Add an entry that is not here."""
        self._places[entry] = len(self._entries)
        self._entries.append(entry)

    def remove(self, entry: Entry) -> None:
        """Remove an entry that is here."""
        place = self._places.pop(entry)
        last = self._entries.pop()
        if last is not entry:
            self._entries[place] = last
            self._places[last] = place


class Live:
    """The subvolume at `top`, which nobody else changes.

    Attributes:
        rng: Where all chance comes from.
        data: Where the contents of files come from.
        root: The top directory.
    """

    def __init__(self, top: bytes, rng: Random) -> None:
        self.rng = rng
        self.data = Data(rng)
        self.root = Entry(b"", Kind.DIRECTORY)
        self._top = top
        self._bags = {kind: Bag() for kind in Kind}

    def __len__(self) -> int:
        return sum(map(len, self._bags.values()))

    def path(self, entry: Entry) -> bytes:
        """Return where the entry is for the system."""
        return os.path.join(self._top, entry.path)

    def path_in(self, directory: Entry, name: bytes) -> bytes:
        """Return where a name in a directory is for the system."""
        return os.path.join(self.path(directory), name)

    def draw(self, *kinds: Kind) -> Entry | None:
        """Return any entry but the top directory, of any of the kinds; None if there is none."""
        count = sum(len(self._bags[kind]) for kind in kinds)
        if not count:
            return None
        index = self.rng.randrange(count)
        for kind in kinds:
            bag = self._bags[kind]
            if index < len(bag):
                return bag[index]
            index -= len(bag)
        raise AssertionError("the index is below the count")

    def draw_directory(self) -> Entry:
        """Return any directory, also the top one."""
        if self.rng.random() < 0.1:
            return self.root
        return self.draw(Kind.DIRECTORY) or self.root

    def draw_place(self, *, below: int = 0) -> tuple[Entry, bytes] | None:
        """Return a directory and a name that is free in it.

        None if its path, or a path `below` bytes longer, would be too long.
        """
        directory = self.draw_directory()
        return self.place_in(directory, below=below)

    def place_in(self, directory: Entry, *, below: int = 0) -> tuple[Entry, bytes] | None:
        """Return `directory` and a name that is free in it, None if that gets too long."""
        name = awkward_name(self.rng)
        while name in directory.children:
            name = awkward_name(self.rng)
        if not fits(directory, name, below=below):
            return None
        return directory, name

    def add(self, directory: Entry, name: bytes, kind: Kind) -> Entry:
        """Note a new entry."""
        entry = Entry(name, kind, directory)
        directory.children[name] = entry
        self._bags[kind].add(entry)
        return entry

    def remove(self, entry: Entry) -> None:
        """Note that an entry is gone, with all below it."""
        for gone in entry.walk():
            self._bags[gone.kind].remove(gone)
        _detach(entry)

    def move(self, entry: Entry, directory: Entry, name: bytes) -> None:
        """Note that an entry has moved to a free name."""
        _detach(entry)
        entry.parent, entry.name = directory, name
        directory.children[name] = entry

    def exchange(self, one: Entry, two: Entry) -> None:
        """Note that two entries, neither within the other, have changed places."""
        one_parent, two_parent = _detach(one), _detach(two)
        one.parent, two.parent = two_parent, one_parent
        one.name, two.name = two.name, one.name
        two_parent.children[one.name] = one
        one_parent.children[two.name] = two


def fits(directory: Entry, name: bytes, *, below: int = 0) -> bool:
    """Tell whether a path `below` bytes longer than that of the name is short enough."""
    return len(directory.path) + 1 + len(name) + below <= LONGEST_PATH


def _detach(entry: Entry) -> Entry:
    directory = entry.directory
    del directory.children[entry.name]
    return directory
