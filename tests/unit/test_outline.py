"""What is read from a metadata-only stream, command by command."""

from __future__ import annotations

import stat

import pytest

from buttersink.errors import CorruptStreamError
from buttersink.stream import namespace, outcome
from buttersink.stream.changes import Change, ChangeKind, Details, FileType, Totals, totals
from buttersink.stream.format import Attribute, Command
from support.outlines import (
    VERSION,
    changes,
    chmod,
    chown,
    command,
    extent,
    fileattr,
    link,
    made,
    mkdir,
    mkfile,
    mknod,
    outline,
    read,
    remove_xattr,
    rename,
    rmdir,
    set_xattr,
    symlink,
    touch,
    truncate,
    unlink,
)
from support.stream_samples import (
    OTHER,
    PARENT,
    clone,
    u64,
)

A, C = Attribute, Command


class TestNames:
    def test_nothing_is_nothing(self) -> None:
        assert changes() == []

    def test_what_is_made_aside_and_moved_into_place_is_created(self) -> None:
        commands = mkdir(b"o257-7-0"), rename(b"o257-7-0", b"d"), mkfile(b"o258-7-0")
        assert changes(*commands, rename(b"o258-7-0", b"d/f")) == ["created d", "created d/f"]

    def test_what_is_made_and_removed_was_never_there(self) -> None:
        assert changes(mkfile(b"f"), link(b"g", b"f"), unlink(b"f"), unlink(b"g")) == []

    def test_removed_files_and_directories_are_deleted(self) -> None:
        commands = unlink(b"d/f"), rename(b"d", b"o257-7-0"), rmdir(b"o257-7-0/e")
        assert changes(*commands, rmdir(b"o257-7-0")) == ["deleted d", "deleted d/e", "deleted d/f"]

    def test_a_renamed_directory_is_one_rename(self) -> None:
        assert changes(rename(b"d", b"e"), touch(b"")) == ["changed ", "renamed e from d"]

    def test_what_changes_in_a_renamed_directory_has_both_paths(self) -> None:
        commands = rename(b"d", b"e"), truncate(b"e/f", 1), unlink(b"e/g"), mkfile(b"e/h")
        assert changes(*commands) == [
            "deleted d/g",
            "renamed e from d",
            "changed e/f from d/f",
            "created e/h",
        ]

    def test_a_file_that_the_kernel_links_and_unlinks_is_renamed(self) -> None:
        assert changes(link(b"d/new", b"old"), unlink(b"old")) == ["renamed d/new from old"]
        assert changes(link(b"d/new", b"old"), unlink(b"d/new")) == []

    def test_what_moves_out_of_the_way_and_back_has_not_changed(self) -> None:
        assert changes(rename(b"f", b"o257-7-0"), rename(b"o257-7-0", b"f")) == []
        assert changes(link(b"g", b"f"), unlink(b"f"), link(b"f", b"g"), unlink(b"g")) == []

    def test_directories_that_change_places_are_two_renames(self) -> None:
        commands = rename(b"a", b"o257-7-0"), rename(b"b", b"a"), rename(b"o257-7-0", b"b")
        assert changes(*commands) == ["renamed a from b", "renamed b from a"]

    def test_a_chain_of_renames_is_told_by_its_ends(self) -> None:
        commands = rename(b"c", b"d"), rename(b"b", b"c"), rename(b"a", b"b")
        assert changes(*commands) == [
            "renamed b from a",
            "renamed c from b",
            "renamed d from c",
        ]

    def test_a_directory_that_moves_into_its_child_is_told_so(self) -> None:
        commands = rename(b"a/b", b"b"), rename(b"a", b"b/a")
        assert changes(*commands) == ["renamed b from a/b", "renamed b/a from a"]

    def test_what_stays_while_its_directory_leaves_is_renamed_though_its_path_is_the_same(
        self,
    ) -> None:
        commands = (
            rename(b"a", b"o257-7-0"),
            rename(b"b", b"a"),
            rename(b"o257-7-0", b"b"),
            link(b"a/f", b"b/f"),
            unlink(b"b/f"),
        )
        assert changes(*commands) == ["renamed a from b", "renamed a/f", "renamed b from a"]

    def test_what_takes_the_place_of_something_else_is_deleted_and_created(self) -> None:
        commands = unlink(b"x"), mkdir(b"x"), mkfile(b"x/f")
        assert changes(*commands) == ["deleted x", "created x", "created x/f"]

    def test_what_is_renamed_over_is_deleted(self) -> None:
        commands = touch(b"b"), rename(b"a", b"b")
        assert changes(*commands) == ["deleted b", "renamed b from a"]

    def test_a_file_in_a_new_directory_of_an_old_name_is_new(self) -> None:
        commands = rename(b"d", b"e"), mkdir(b"d"), mkfile(b"d/f"), touch(b"e/f")
        assert changes(*commands) == [
            "created d",
            "created d/f",
            "renamed e from d",
            "changed e/f from d/f",
        ]

    def test_further_names_say_of_what(self) -> None:
        assert changes(link(b"b", b"a"), link(b"c", b"b")) == ["created b = a", "created c = a"]
        assert changes(mkfile(b"x"), link(b"b", b"x")) == ["created b", "created x = b"]
        assert changes(link(b"b", b"a"), touch(b"b")) == ["changed a", "created b = a"]

    def test_names_that_go_say_what_stays(self) -> None:
        commands = link(b"c", b"a"), link(b"d", b"a"), unlink(b"a")
        assert changes(*commands) == ["renamed c from a", "created d = c"]
        assert changes(link(b"a", b"b"), touch(b"a"), unlink(b"a")) == ["changed b"]

    def test_come_sorted_by_bytes_and_what_was_before_what_is(self) -> None:
        commands = mkfile(b"b"), unlink(b"a-b"), mkdir(b"a-b"), mkfile(b"a-b/c"), mkfile(b"a.")
        assert changes(*commands) == [
            "deleted a-b",
            "created a-b",
            "created a-b/c",
            "created a.",
            "created b",
        ]


def the(*commands: bytes) -> Change:
    """Return the only change of a stream of these commands."""
    (change,) = read(outline(*commands))
    return change


class TestDetails:
    def test_all_that_is_told_of_a_file_is_one_change(self) -> None:
        change = the(
            extent(b"f", 0, 1000),
            extent(b"f", 9000, 50),
            clone(PARENT, path=b"f", version=VERSION),
            chmod(b"f", 0o4755),
            chown(b"f", 5, 6),
            set_xattr(b"f", b"user.a"),
            remove_xattr(b"f", b"user.b"),
            fileattr(b"f", 16),
            touch(b"f"),
        )
        assert change == Change(
            kind=ChangeKind.CHANGED,
            path=b"f",
            old_path=b"f",
            type=FileType.FILE,
            details=Details(
                data_bytes=1050,
                shared_bytes=4096,
                mode=0o4755,
                owner=(5, 6),
                xattrs={b"user.a": True, b"user.b": False},
                flags=16,
                times=True,
            ),
        )
        assert not change.only_times

    def test_are_told_of_a_file_by_whichever_of_its_names_meanwhile(self) -> None:
        change = the(
            chmod(b"f", 0), link(b"g", b"f"), extent(b"g", 0, 1), unlink(b"f"), touch(b"g")
        )
        assert (change.kind, change.path) == (ChangeKind.RENAMED, b"g")
        assert change.details == Details(data_bytes=1, mode=0, times=True)

    def test_the_size_is_that_in_the_end(self) -> None:
        assert the(extent(b"f", 0, 10)).details.size is None
        assert the(truncate(b"f", 5)).details.size == 5
        assert the(truncate(b"f", 0), extent(b"f", 10, 10), extent(b"f", 0, 5)).details.size == 20
        assert the(extent(b"f", 0, 10), truncate(b"f", 3)).details.size == 3

    def test_what_is_made_has_its_type(self) -> None:
        for number, file_type in (
            (C.MKFILE, FileType.FILE),
            (C.MKDIR, FileType.DIRECTORY),
            (C.MKFIFO, FileType.FIFO),
            (C.MKSOCK, FileType.SOCKET),
        ):
            assert the(made(number, b"x")).type is file_type
        target = the(symlink(b"x", b"../../y"))
        assert (target.type, target.details.target) == (FileType.SYMLINK, b"../../y")
        device = the(mknod(b"x", stat.S_IFBLK | 0o600, 0x10072C))
        assert (device.type, device.details.device) == (FileType.BLOCK_DEVICE, (7, 300))

    def test_what_is_only_known_by_its_name_has_the_type_that_follows(self) -> None:
        assert the(chmod(b"x", 0)).type is None
        assert the(truncate(b"x", 0)).type is FileType.FILE
        assert the(unlink(b"x")).type is FileType.OTHER
        assert the(rmdir(b"x")).type is FileType.DIRECTORY
        assert [c.type for c in read(outline(touch(b"x"), touch(b"x/y")))] == [
            FileType.DIRECTORY,
            None,
        ]

    def test_only_times_are_told_apart(self) -> None:
        assert the(touch(b"")).only_times
        assert not the(mkdir(b"d"), touch(b"d")).only_times
        assert not the(rename(b"d", b"e"), touch(b"e")).only_times

    def test_are_added_up(self) -> None:
        found = read(
            outline(
                mkfile(b"new"),
                extent(b"new", 0, 10),
                unlink(b"old"),
                rename(b"a", b"b"),
                truncate(b"b/f", 0),
                extent(b"c", 0, 5),
                touch(b""),
                touch(b"d"),
                clone(PARENT, path=b"c", version=VERSION),
            )
        )
        assert totals(found) == Totals(
            created=1,
            deleted=1,
            renamed=1,
            changed=2,
            only_times=2,
            data_bytes=15,
            shared_bytes=4096,
        )


class TestLimits:
    def test_of_names_end_a_stream(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(namespace, "MAX_NAMES", 10)
        assert len(read(outline(*(mkfile(b"%d" % n) for n in range(10))))) == 10
        with pytest.raises(CorruptStreamError, match="more than 10 names"):
            read(outline(*(mkfile(b"%d" % n) for n in range(11))))

    def test_of_attributes_end_a_stream(self) -> None:
        with pytest.raises(CorruptStreamError, match="extended attributes"):
            read(outline(*(set_xattr(b"f", b"user.%d" % n) for n in range(100_001))))

    def test_of_paths_end_a_stream(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert outcome.changes_of(namespace.Namespace()) == []
        monkeypatch.setattr(outcome, "MOST_PATH_BYTES", 20)
        with pytest.raises(CorruptStreamError, match="names that differ"):
            read(outline(mkfile(b"x" * 15), mkfile(b"y" * 15)))

    def test_of_depth_end_a_stream_that_winds_directories_into_each_other(self) -> None:
        commands = [mkdir(b"0")]
        for number in range(10_000):
            commands += [
                mkdir(b"%d" % (number + 1)),
                rename(b"%d" % number, b"%d/d" % (number + 1)),
            ]
        with pytest.raises(CorruptStreamError, match="longer than"):
            read(outline(*commands))


def test_clones_may_come_from_anywhere_as_nothing_is_taken_from_there() -> None:
    assert the(clone(OTHER, path=b"f", version=VERSION)).details.shared_bytes == 4096


def test_preallocation_is_data() -> None:
    attributes = (A.FALLOCATE_MODE, b"\1\0\0\0"), (A.FILE_OFFSET, u64(5)), (A.SIZE, u64(7))
    change = the(truncate(b"f", 5), command(C.FALLOCATE, b"f", *attributes))
    assert change.details == Details(data_bytes=7, size=5)
