"""What only directories have to promise: files, links, permissions, names."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import (
    MissingError,
    NotPermittedError,
    PathTakenError,
    TransferError,
    UsageError,
)
from buttersink.stores.directory import DirectoryShelf
from shelf.sending import content, keys, listed, send, store, whole
from support.seccomp import run_without

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOBODY = 65534


@pytest.fixture
def root(scratch: Path) -> Path:
    path = scratch / "objects"
    path.mkdir()
    return path


@pytest.fixture
def shelf(root: Path) -> Iterator[DirectoryShelf]:
    shelf = DirectoryShelf(str(root))
    yield shelf
    shelf.close()


@contextmanager
def unprivileged() -> Iterator[None]:
    """Do without the rights of root in the block."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_the_directory_must_exist(scratch: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        DirectoryShelf(str(scratch / "none"))


def test_the_directory_must_be_one(scratch: Path) -> None:
    (scratch / "file").touch()
    with pytest.raises(UsageError, match="not a directory"):
        DirectoryShelf(str(scratch / "file"))


def test_the_name_is_what_a_user_would_write(shelf: DirectoryShelf, root: Path) -> None:
    assert shelf.name == f"dir://{root}/"


def test_objects_are_files_that_others_can_not_read(shelf: DirectoryShelf, root: Path) -> None:
    shelf.put("a/b", b"content")
    upload = shelf.begin("a/c")
    upload.complete(send(upload, content(shelf, 2)))
    assert (root / "a/b").read_bytes() == b"content"
    assert {(root / name).stat().st_mode & 0o777 for name in ("a/b", "a/c")} == {0o600}


def test_nothing_hidden_is_left_when_all_is_done(shelf: DirectoryShelf, root: Path) -> None:
    shelf.put("a/b", b"content")
    upload = shelf.begin("a/c")
    upload.complete(send(upload, content(shelf, 2)))
    shelf.copy(listed(shelf, "a/b"), shelf, "a/d")
    assert sorted(os.listdir(root / "a")) == ["b", "c", "d"]


def test_the_trash_is_listed_only_if_asked_for(shelf: DirectoryShelf) -> None:
    for key in ("trash/a", "trashed", "b", "a/trash/c"):
        store(shelf, key) if key != "trash/a" else shelf.put(key, b"")
    assert keys(shelf) == ["a/trash/c", "b", "trashed"]
    assert keys(shelf, "trash") == ["trashed"]
    assert keys(shelf, "trash/") == ["trash/a"]


def test_links_are_no_objects_and_not_followed(
    shelf: DirectoryShelf, root: Path, scratch: Path
) -> None:
    (scratch / "outside").mkdir()
    (scratch / "outside/secret").write_bytes(b"secret")
    (root / "directory").symlink_to(scratch / "outside")
    (root / "file").symlink_to(scratch / "outside/secret")
    (root / "up").symlink_to("..")
    store(shelf, "real")
    assert keys(shelf) == ["real"]
    assert shelf.stat("file") is None
    assert shelf.stat("directory/secret") is None
    shelf.remove("file")
    shelf.remove("directory/secret")
    assert (scratch / "outside/secret").read_bytes() == b"secret"


@pytest.mark.parametrize("prefix", ["directory/", "directory/a", "a/up/objects/"])
def test_what_lies_behind_a_link_is_not_taken_for_empty(
    shelf: DirectoryShelf, root: Path, scratch: Path, prefix: str
) -> None:
    (root / "directory").symlink_to(scratch)
    (root / "a").mkdir()
    (root / "a/up").symlink_to("../..")
    with pytest.raises(PathTakenError, match="symbolic link"):
        keys(shelf, prefix)


def test_nothing_is_stored_behind_a_link(shelf: DirectoryShelf, root: Path, scratch: Path) -> None:
    (scratch / "outside").mkdir()
    (root / "directory").symlink_to(scratch / "outside")
    thing = store(shelf, "thing")
    for store_it in (
        lambda: shelf.put("directory/a", b""),
        lambda: shelf.begin("directory/a"),
        lambda: shelf.move(thing, "directory/a"),
        lambda: shelf.copy(thing, shelf, "directory/a"),
    ):
        with pytest.raises(PathTakenError, match="directory"):
            store_it()
    assert os.listdir(scratch / "outside") == []


def test_a_link_is_not_replaced(shelf: DirectoryShelf, root: Path, scratch: Path) -> None:
    (scratch / "target").write_bytes(b"kept")
    (root / "link").symlink_to(scratch / "target")
    thing = store(shelf, "thing")
    with pytest.raises(PathTakenError, match="link"):
        shelf.put("link", b"new")
    with pytest.raises(PathTakenError, match="link"):
        shelf.move(thing, "link")
    assert (root / "link").is_symlink()
    assert (scratch / "target").read_bytes() == b"kept"
    assert keys(shelf) == ["thing"]


def test_an_object_that_became_a_link_is_not_read(
    shelf: DirectoryShelf, root: Path, scratch: Path
) -> None:
    (scratch / "secret").write_bytes(b"content")
    things = [store(shelf, "a/b"), store(shelf, "c")]
    for thing in things:
        os.unlink(root / thing.key)
    os.rmdir(root / "a")
    (root / "a").symlink_to(scratch)
    (scratch / "b").write_bytes(b"content")
    (root / "c").symlink_to(scratch / "secret")
    for thing in things:
        with pytest.raises(MissingError, match=thing.key):
            whole(shelf, thing)


def test_an_object_that_became_a_pipe_is_not_waited_for(shelf: DirectoryShelf, root: Path) -> None:
    thing = store(shelf, "a")
    os.unlink(root / "a")
    os.mkfifo(root / "a")
    with pytest.raises(MissingError, match="a"):
        whole(shelf, thing)
    assert keys(shelf) == []


@pytest.mark.parametrize(
    "key", ["../a", "a/../b", "..", ".", "a/./b", "/a", "a//b", "a/", "", "a\0b"]
)
def test_keys_that_are_no_paths_are_refused(shelf: DirectoryShelf, scratch: Path, key: str) -> None:
    thing = store(shelf, "thing")
    for use in (
        lambda: shelf.put(key, b""),
        lambda: shelf.begin(key),
        lambda: shelf.resume(key, shelf.begin("x").upload_id),
        lambda: shelf.stat(key),
        lambda: shelf.move(thing, key),
        lambda: shelf.copy(thing, shelf, key),
        lambda: shelf.remove(key),
        lambda: shelf.occupied(key),
        lambda: shelf.journal_path(key),
    ):
        with pytest.raises(UsageError):
            use()
    assert os.listdir(scratch) == ["objects"]


@pytest.mark.parametrize("prefix", ["../", "/", "a//", "a/../"])
def test_prefixes_that_are_no_paths_are_refused(shelf: DirectoryShelf, prefix: str) -> None:
    with pytest.raises(UsageError):
        keys(shelf, prefix)


@pytest.mark.parametrize("key", [".buttersink-x", "a/.buttersink-x", ".buttersink-x/a"])
def test_hidden_names_are_no_objects(shelf: DirectoryShelf, root: Path, key: str) -> None:
    (root / key).parent.mkdir(exist_ok=True)
    (root / key).touch()
    assert keys(shelf) == []
    assert shelf.stat(key) is None
    assert shelf.occupied(key)
    with pytest.raises(UsageError, match="unfinished"):
        shelf.put(key, b"")


def test_what_is_no_directory_occupies_its_path(shelf: DirectoryShelf, root: Path) -> None:
    (root / "dangling").symlink_to("nowhere")
    (root / "link").symlink_to(".")
    os.mkfifo(root / "pipe")
    store(shelf, "file")
    assert [shelf.occupied(path) for path in ("dangling", "link", "pipe", "file")] == [True] * 4
    assert [shelf.occupied(path) for path in ("link/a", "file/a", "pipe/a/b")] == [True] * 3


@pytest.mark.parametrize("key", ["file/a", "directory"])
def test_what_is_in_the_way_is_left_alone(shelf: DirectoryShelf, root: Path, key: str) -> None:
    store(shelf, "file")
    (root / "directory").mkdir()
    thing = store(shelf, "thing")
    first = key.partition("/")[0]
    with pytest.raises(PathTakenError, match=first):
        shelf.put(key, b"")
    with pytest.raises(PathTakenError, match=first):
        shelf.move(thing, key)
    assert keys(shelf) == ["file", "thing"]
    assert sorted(os.listdir(root)) == ["directory", "file", "thing"]


def test_a_directory_in_the_way_of_an_upload_is_left_alone(
    shelf: DirectoryShelf, root: Path
) -> None:
    upload = shelf.begin("a")
    sent = send(upload, content(shelf, 2))
    (root / "a").mkdir()
    with pytest.raises(PathTakenError, match="a"):
        upload.complete(sent)
    assert (root / "a").is_dir()


def test_a_directory_that_can_not_be_read_is_not_taken_for_empty(
    shelf: DirectoryShelf, root: Path
) -> None:
    store(shelf, "a/b")
    root.chmod(0o755)
    (root / "a").chmod(0)
    with unprivileged():
        for prefix in ("", "a/", "a/b"):
            with pytest.raises(NotPermittedError, match="/a"):
                keys(shelf, prefix)
        with pytest.raises(NotPermittedError, match="/a"):
            list(shelf.uploads(""))
        with pytest.raises(NotPermittedError, match="a/b"):
            shelf.stat("a/b")
    (root / "a").chmod(0o755)


def test_where_nothing_may_be_written_the_error_says_what_was_tried(
    shelf: DirectoryShelf, root: Path
) -> None:
    root.chmod(0o555)
    with unprivileged():
        with pytest.raises(NotPermittedError, match="a/b: Permission denied"):
            shelf.put("a/b", b"")
        with pytest.raises(NotPermittedError, match="a/b: Permission denied"):
            shelf.begin("a/b")
    root.chmod(0o755)


def test_too_long_names_are_refused_and_leave_nothing(shelf: DirectoryShelf, root: Path) -> None:
    key = "a/" + "n" * 256
    with pytest.raises(TransferError, match="nnn"):
        shelf.put(key, b"")
    with pytest.raises(TransferError, match="255 bytes"):
        shelf.stat("n" * 256)
    with pytest.raises(TransferError, match="255 bytes"):
        shelf.begin("n" * 256 + "/a")
    assert os.listdir(root) == []


def test_directories_that_become_empty_are_removed(shelf: DirectoryShelf, root: Path) -> None:
    shelf.put("a/b/c", b"")
    shelf.remove("a/b/c")
    assert os.listdir(root) == []
    shelf.begin("a/b/c").abort()
    assert os.listdir(root) == []
    shelf.move(store(shelf, "a/b/c"), "d")
    assert os.listdir(root) == ["d"]
    shelf.remove("d")
    assert root.is_dir()


def test_directories_that_hold_something_stay(shelf: DirectoryShelf, root: Path) -> None:
    (root / "a/b").mkdir(parents=True)
    (root / "a/note").touch()
    shelf.put("a/b/c", b"")
    shelf.remove("a/b/c")
    assert os.listdir(root / "a") == ["note"]


@pytest.mark.parametrize(
    "missing",
    [{"renameat2": errno.EINVAL}, {"renameat2": errno.ENOSYS, "linkat": errno.EPERM}],
    ids=["by link", "by looking"],
)
def test_nothing_is_replaced_where_the_file_system_can_only_replace(
    shelf: DirectoryShelf, missing: dict[str, int]
) -> None:
    def work() -> None:
        first, second = shelf.begin("a/b"), shelf.begin("a/b")
        pieces = content(shelf, 2)
        first.complete(send(first, pieces))
        sent = send(second, pieces)
        with pytest.raises(PathTakenError):
            second.complete(sent)
        second.abort()
        assert keys(shelf) == ["a/b"]
        assert list(shelf.uploads("")) == []

    run_without(missing, work)


def test_where_directories_know_no_locks_it_goes_without(shelf: DirectoryShelf) -> None:
    def work() -> None:
        with shelf.lock(""):
            assert keys(shelf) == []

    run_without({"flock": errno.EBADF}, work)


def test_what_the_kernel_can_not_copy_is_not_copied(shelf: DirectoryShelf, root: Path) -> None:
    thing = store(shelf, "a")

    def work() -> None:
        assert shelf.copy(thing, shelf, "b/c") is None
        assert os.listdir(root) == ["a"]

    run_without({"copy_file_range": errno.EXDEV}, work)
