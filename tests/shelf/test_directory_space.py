"""Directories on file systems that are full, read-only, or two."""

from __future__ import annotations

import os
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import NoSpaceError, TransferError
from buttersink.stores.directory import DirectoryShelf
from shelf.sending import keys, sha256, store, whole

if TYPE_CHECKING:
    from conftest import MakeFs

pytestmark = pytest.mark.kernel

MIB = 1 << 20


def test_on_a_full_disk_the_error_names_the_object_and_giving_up_frees_it(make_fs: MakeFs) -> None:
    fs = make_fs(size="128M")
    data = Random(0).randbytes(8 * MIB)
    with closing(DirectoryShelf(str(fs.path))) as shelf:
        kept = store(shelf, "a/kept")
        upload = shelf.begin("a/large")

        def fill() -> None:
            for number in range(1, 64):
                upload.put(number, (number - 1) * len(data), data, sha256(data))

        with pytest.raises(NoSpaceError, match="a/large"):
            fill()
        with pytest.raises(NoSpaceError, match="a/small"):
            shelf.put("a/small", data)
        upload.abort()
        assert sorted(os.listdir(fs.path / "a")) == ["kept"]
        os.sync()  # space is free again when the transaction is committed
        shelf.put("a/small", data)
        assert keys(shelf) == ["a/kept", "a/small"]
        assert whole(shelf, kept) == b"content"


def test_on_a_read_only_file_system_it_can_be_read(make_fs: MakeFs) -> None:
    fs = make_fs()
    with closing(DirectoryShelf(str(fs.path))) as shelf:
        thing = store(shelf, "a/b")
        fs.remount("ro")
        with shelf.lock(""):
            assert keys(shelf) == ["a/b"]
        assert whole(shelf, thing) == b"content"
        for change in (
            lambda: shelf.put("c", b""),
            lambda: shelf.begin("c/d"),
            lambda: shelf.remove("a/b"),
            lambda: shelf.move(thing, "c"),
        ):
            with pytest.raises(TransferError, match="Read-only"):
                change()


def test_copies_share_their_data_where_they_can_and_are_not_made_to_elsewhere(
    make_fs: MakeFs,
) -> None:
    fs, other = make_fs(label="a"), make_fs(label="b")
    with (
        closing(DirectoryShelf(str(fs.path))) as shelf,
        closing(DirectoryShelf(str(other.path))) as elsewhere,
    ):
        thing = store(shelf, "a", Random(0).randbytes(8 * MIB))
        copied = shelf.copy(thing, shelf, "b/c")
        assert copied is not None
        assert whole(shelf, copied) == whole(shelf, thing)
        assert elsewhere.copy(thing, shelf, "b/c") is None
        assert os.listdir(other.path) == []
