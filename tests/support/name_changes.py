"""Random changes to names: made, linked, moved around each other, deleted."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING

from support.kernel_calls import disable_copy_on_write, exchange, unless_invalid
from support.live import Kind, fits

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.live import Entry, Live

_TARGETS = (
    b"a",
    b"../b",
    b"/etc/hostname",
    b"/nowhere/at/all",
    b".",
    b"caf\xe9\n",
    b"d/" * 1000 + b"e",
)
_DEVICES = (
    (stat.S_IFCHR, os.makedev(1, 3)),
    (stat.S_IFBLK, os.makedev(7, 300)),
    (stat.S_IFCHR, os.makedev(4095, (1 << 20) - 1)),
    (stat.S_IFBLK, os.makedev(0, 0)),
)
_LARGEST_DELETED = 30
"""Entries; a larger tree is left alone, or a history would keep losing all it has."""


def make_directory(live: Live) -> bool:
    """Make a directory, perhaps one whose files are not copied on write."""
    place = live.draw_place()
    if place is None:
        return False
    path = live.path_in(*place)
    os.mkdir(path)
    if live.rng.random() < 0.1:
        with unless_invalid():  # it is, if the directory inherited a compression property
            disable_copy_on_write(path)
    live.add(*place, Kind.DIRECTORY)
    return True


def make_deep_tree(live: Live) -> bool:
    """Make directories within one another."""
    directory = live.draw_directory()
    for _ in range(live.rng.randint(3, 8)):
        place = live.place_in(directory)
        if place is None:
            break
        os.mkdir(live.path_in(*place))
        directory = live.add(*place, Kind.DIRECTORY)
    return True


def make_symlink(live: Live) -> bool:
    """Make a symlink: relative, absolute, dangling or long."""
    place = live.draw_place()
    if place is None:
        return False
    os.symlink(live.rng.choice(_TARGETS), live.path_in(*place))
    live.add(*place, Kind.SYMLINK)
    return True


def make_special(live: Live) -> bool:
    """Make a fifo, a socket, or a device node."""
    place = live.draw_place()
    if place is None:
        return False
    kind, device = live.rng.choice(((stat.S_IFIFO, 0), (stat.S_IFSOCK, 0), *_DEVICES))
    os.mknod(live.path_in(*place), kind | 0o640, device)
    live.add(*place, Kind.SPECIAL)
    return True


def link(live: Live) -> bool:
    """Give a file, symlink or node a second name."""
    source = live.draw(Kind.FILE, Kind.FILE, Kind.SYMLINK, Kind.SPECIAL)
    place = live.draw_place()
    if source is None or place is None:
        return False
    os.link(live.path(source), live.path_in(*place), follow_symlinks=False)
    live.add(*place, source.kind)
    return True


def link_often(live: Live) -> bool:
    """Give a file so many long names that btrfs keeps some of them as extended references."""
    source, directory = live.draw(Kind.FILE), live.draw_directory()
    stem = b"%05d" % live.rng.randrange(100_000) + b"l" * 200
    if source is None or not fits(directory, stem, below=5):
        return False
    for number in range(live.rng.randint(10, 90)):
        name = stem + b"%d" % number
        if name not in directory.children:
            os.link(live.path(source), live.path_in(directory, name))
            live.add(directory, name, Kind.FILE)
    return True


def rename(live: Live) -> bool:
    """Move an entry to a free name, in its directory or another."""
    entry = live.draw(*Kind)
    if entry is None:
        return False
    directory = entry.directory if live.rng.random() < 0.4 else live.draw_directory()
    return _move_into(live, entry, directory)


def rename_over(live: Live) -> bool:
    """Replace a file by another."""
    entry, victim = live.draw(Kind.FILE), live.draw(Kind.FILE)
    if entry is None or victim is None or entry is victim:
        return False
    one, two = live.path(entry), live.path(victim)
    if os.path.samefile(one, two):
        return False  # rename(2) does nothing at all with two names of one file
    os.rename(one, two)
    place = victim.directory, victim.name
    live.remove(victim)
    live.move(entry, *place)
    return True


def move_into_sibling(live: Live) -> bool:
    """Move a directory into one that stood beside it."""
    entry = live.draw(Kind.DIRECTORY)
    if entry is None:
        return False
    siblings = [s for s in _siblings(entry) if s.kind is Kind.DIRECTORY]
    return bool(siblings) and _move_into(live, entry, live.rng.choice(siblings))


def turn_inside_out(live: Live) -> bool:
    """Make a directory the child of its child: a/b becomes b/a."""
    inner = live.draw(Kind.DIRECTORY)
    if inner is None or inner.directory is live.root:
        return False
    outer = inner.directory
    if not _move_into(live, inner, outer.directory):
        return False
    _move_into(live, outer, inner)
    return True


def rename_chain(live: Live) -> bool:
    """Shift names along: the last of some siblings to a free name, the others after it."""
    first = live.draw(*Kind)
    if first is None:
        return False
    siblings = _siblings(first)
    if not siblings:
        return False
    others = live.rng.sample(siblings, min(len(siblings), live.rng.randint(1, 3)))
    chain = [first, *others]
    names = [entry.name for entry in chain]
    if not all(_fits_whole(entry, entry.directory, max(names, key=len)) for entry in chain):
        return False
    if not _move_into(live, chain[-1], first.directory):
        return False
    for entry, name in zip(reversed(chain[:-1]), reversed(names[1:]), strict=True):
        _move(live, entry, first.directory, name)
    return True


def swap(live: Live) -> bool:
    """Let two entries change places, by three renames or in one step."""
    one, two = live.draw(*Kind), live.draw(*Kind)
    if live.rng.random() < 0.5:
        one, two = live.draw(Kind.DIRECTORY), live.draw(Kind.DIRECTORY)
    if one is None or two is None or one.within(two) or two.within(one):
        return False
    if not (
        _fits_whole(one, two.directory, two.name) and _fits_whole(two, one.directory, one.name)
    ):
        return False
    one_path, two_path = live.path(one), live.path(two)
    if live.rng.random() < 0.5:
        exchange(one_path, two_path)
    else:
        aside = live.path_in(live.root, b"aside for a swap")
        os.rename(one_path, aside)
        os.rename(two_path, one_path)
        os.rename(aside, two_path)
    live.exchange(one, two)
    return True


def delete(live: Live) -> bool:
    """Delete a name, or a tree if that is what it names."""
    entry = live.draw(*Kind)
    if entry is None or sum(1 for _ in entry.walk()) > _LARGEST_DELETED:
        return False
    _delete(live, entry)
    return True


def delete_many(live: Live) -> bool:
    """Delete most of what is in a directory, but not its directories."""
    entry = live.draw_directory()
    for child in list(entry.children.values()):
        if child.kind is not Kind.DIRECTORY and live.rng.random() < 0.8:
            _delete(live, child)
    return True


def replace_by_other_kind(live: Live) -> bool:
    """Delete a name and make something of another kind under it."""
    entry = live.draw(*Kind)
    if entry is None:
        return False
    if sum(1 for _ in entry.walk()) > _LARGEST_DELETED:
        return False
    path, place = live.path(entry), (entry.directory, entry.name)
    _delete(live, entry)
    kind = live.rng.choice([kind for kind in Kind if kind is not entry.kind])
    match kind:
        case Kind.DIRECTORY:
            os.mkdir(path)
        case Kind.FILE:
            with open(path, "xb") as file:
                file.write(live.data.draw(100))
        case Kind.SYMLINK:
            os.symlink(b"x", path)
        case Kind.SPECIAL:
            os.mkfifo(path)
    live.add(*place, kind)
    return True


def _delete(live: Live, entry: Entry) -> None:
    path = live.path(entry)
    if entry.kind is Kind.DIRECTORY:
        shutil.rmtree(path)
    else:
        os.unlink(path)
    live.remove(entry)


def _siblings(entry: Entry) -> list[Entry]:
    return [sibling for sibling in entry.directory.children.values() if sibling is not entry]


def _move_into(live: Live, entry: Entry, directory: Entry) -> bool:
    """Move an entry into a directory, under its name if that is free, if it fits."""
    if directory.within(entry):
        return False
    name = entry.name
    if name in directory.children:
        place = live.place_in(directory)
        if place is None:
            return False
        name = place[1]
    if not _fits_whole(entry, directory, name):
        return False
    _move(live, entry, directory, name)
    return True


def _move(live: Live, entry: Entry, directory: Entry, name: bytes) -> None:
    os.rename(live.path(entry), live.path_in(directory, name))
    live.move(entry, directory, name)


def _fits_whole(entry: Entry, directory: Entry, name: bytes) -> bool:
    return fits(directory, name, below=entry.depth_bytes())


NAME_CHANGES: tuple[tuple[float, Callable[[Live], bool]], ...] = (
    (6, make_directory),
    (0.3, make_deep_tree),
    (3, make_symlink),
    (2, make_special),
    (5, link),
    (0.1, link_often),
    (6, rename),
    (2, rename_over),
    (2, move_into_sibling),
    (2, turn_inside_out),
    (3, rename_chain),
    (3, swap),
    (7, delete),
    (0.3, delete_many),
    (3, replace_by_other_kind),
)
