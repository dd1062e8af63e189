"""What is read from a stream, against a tree that changed in the same way."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import CorruptStreamError
from buttersink.stream.changes import ChangeKind
from buttersink.stream.format import encode_command
from support.model_tree import ModelTree
from support.outlines import (
    extent,
    link,
    mkdir,
    mkfile,
    outline,
    read,
    rename,
    rmdir,
    touch,
    unlink,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buttersink.stream.changes import Change
    from support.model_tree import Picture

    World = tuple[Picture, Picture, Sequence[Change], ModelTree]


def history(seed: int, before: int, after: int) -> World:
    """Return a tree before and after some changes, and what is read of them."""
    tree = ModelTree(Random(seed))
    for _ in range(before):
        tree.change()
    old = tree.picture()
    for _ in range(after):
        tree.change()
    for _ in range(after // 3):
        tree.write()
    return old, tree.look(), read(outline(*tree.commands)), tree


worlds = st.builds(history, st.integers(0, 1 << 32), st.integers(0, 40), st.integers(0, 40))


def of_kind(changes: Sequence[Change], kind: ChangeKind) -> list[Change]:
    return [change for change in changes if change.kind is kind]


@given(worlds)
def test_exactly_the_names_that_come_and_go_are_told(world: World) -> None:
    old, new, changes, _ = world
    lost, got, back = set(), set(), set()
    for thing in old.places.keys() | new.places.keys():
        was, now = old.places.get(thing, {}), new.places.get(thing, {})
        lost |= {was[place] for place in was.keys() - now.keys()}
        got |= {now[place] for place in now.keys() - was.keys()}
        if len(was) > 1:
            back |= {(was[place], now[place]) for place in was.keys() & now.keys()}
    renames = of_kind(changes, ChangeKind.RENAMED)
    told_lost = [c.old_path for c in (*of_kind(changes, ChangeKind.DELETED), *renames)]
    told_got = [c.path for c in (*of_kind(changes, ChangeKind.CREATED), *renames)]
    # A name that goes, and comes back as a link to another name of the same file, of which the
    # stream did not say so, is told as both. The kernel has no reason to do that.
    for before, after in back:
        if before in told_lost and after in told_got:
            told_lost.remove(before)
            told_got.remove(after)
    assert sorted(path or b"" for path in told_lost) == sorted(lost)
    assert sorted(told_got) == sorted(got)


@given(worlds)
def test_what_is_said_to_be_the_same_is_the_same(world: World) -> None:
    old, new, changes, _ = world
    for change in changes:
        if change.old_path and change.kind is not ChangeKind.DELETED:
            assert old.paths[change.old_path] is new.paths[change.path]
        if change.link_to is not None:
            paths = old.paths if change.kind is ChangeKind.DELETED else new.paths
            assert paths[change.path] is new.paths[change.link_to]
        elif change.kind is ChangeKind.CREATED:
            assert new.paths[change.path] not in old.places


@given(worlds)
def test_what_is_not_told_is_where_its_directory_is(world: World) -> None:
    old, new, changes, _ = world
    moved = {c.old_path: c.path for c in of_kind(changes, ChangeKind.RENAMED)}
    gone = {c.path for c in of_kind(changes, ChangeKind.DELETED)}

    def path_now(path: bytes) -> bytes:
        if not path:
            return b""
        parent, slash, name = path.rpartition(b"/")
        return moved[path] if path in moved else path_now(parent) + slash + name

    for path, thing in old.paths.items():
        if path not in gone:
            # A name in the top directory has no slash, wherever it goes.
            assert new.paths[path_now(path).lstrip(b"/")] is thing


@given(worlds)
def test_a_file_or_directory_with_one_name_is_never_torn_apart(world: World) -> None:
    old, new, changes, _ = world
    renames = {(c.old_path, c.path) for c in of_kind(changes, ChangeKind.RENAMED)}
    for thing, was in old.places.items():
        now = new.places.get(thing, {})
        if len(was) == len(now) == 1 and was.keys() != now.keys():
            assert (*was.values(), *now.values()) in renames


@given(worlds)
def test_all_data_is_told_once(world: World) -> None:
    _, new, changes, tree = world
    told: dict[object, int] = {}
    for change in changes:
        if change.details.data_bytes:
            thing = new.paths[change.path]
            told[thing] = told.get(thing, 0) + change.details.data_bytes
    assert told == tree.data


@given(worlds)
def test_changes_are_sorted_by_path(world: World) -> None:
    _, _, changes, _ = world
    kinds = list(ChangeKind)
    keys = [(change.path, kinds.index(change.kind)) for change in changes]
    assert keys == sorted(keys)


PATHS = st.sampled_from([b"a", b"b", b"c", b"a/a", b"a/b", b"b/a", b"a/a/a", b"a/b/a", b"b/a/b"])
COMMANDS = st.one_of(
    st.builds(mkdir, PATHS),
    st.builds(mkfile, PATHS),
    st.builds(rename, PATHS, PATHS),
    st.builds(link, PATHS, PATHS),
    st.builds(unlink, PATHS),
    st.builds(rmdir, PATHS),
    st.builds(extent, PATHS, st.just(0), st.just(1)),
    st.builds(touch, PATHS),
)
BODIES = st.tuples(
    st.integers(0, 30),
    st.lists(st.tuples(st.integers(0, 40), st.binary(max_size=20)), max_size=6),
)


@given(st.lists(COMMANDS, max_size=30))
def test_commands_in_any_order_are_obeyed_or_refused(commands: list[bytes]) -> None:
    with suppress(CorruptStreamError):
        for change in read(outline(*commands)):
            assert change.path
            assert (change.old_path is None) is (change.kind is ChangeKind.CREATED)


@given(st.lists(BODIES, max_size=5))
def test_nonsense_with_right_checksums_is_refused(
    bodies: list[tuple[int, list[tuple[int, bytes]]]],
) -> None:
    with suppress(CorruptStreamError):
        read(outline(*(encode_command(number, body, 1) for number, body in bodies)))
