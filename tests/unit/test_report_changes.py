"""Changes as lines, as a table and as JSON objects."""

from __future__ import annotations

import io
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.report.change_table import print_changes
from buttersink.report.changes import json_lines, lines, shown, total_line
from buttersink.stream.changes import Change, ChangeKind, Details, FileType


def created(path: bytes = b"f", **more: object) -> Change:
    details = Details(mode=0o644, owner=(0, 0), times=True, **more)  # type: ignore[arg-type]  # by name
    return Change(
        kind=ChangeKind.CREATED, path=path, old_path=None, type=FileType.FILE, details=details
    )


def changed(path: bytes = b"f", old: bytes | None = None, **more: object) -> Change:
    details = Details(times=True, **more)  # type: ignore[arg-type]  # by name
    return Change(kind=ChangeKind.CHANGED, path=path, old_path=old or path, details=details)


def deleted(
    path: bytes, file_type: FileType = FileType.OTHER, link_to: bytes | None = None
) -> Change:
    return Change(
        kind=ChangeKind.DELETED, path=path, old_path=path, type=file_type, link_to=link_to
    )


def renamed(old: bytes, new: bytes, **more: object) -> Change:
    details = Details(times=True, **more)  # type: ignore[arg-type]  # by name
    return Change(kind=ChangeKind.RENAMED, path=new, old_path=old, details=details)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (created(), "+  f  (file)"),
        (created(data_bytes=100, size=100), "+  f  (file, data 100 bytes)"),
        (created(data_bytes=100, size=5000), "+  f  (file, data 100 bytes, size 4.883 KiB)"),
        (
            created(data_bytes=100, shared_bytes=50, size=150),
            "+  f  (file, data 100 bytes, shared 50 bytes)",
        ),
        (deleted(b"x"), "-  x"),
        (deleted(b"x", FileType.DIRECTORY), "-  x  (directory)"),
        (deleted(b"x", link_to=b"y"), "-  x  (hard link to y)"),
        (renamed(b"a", b"b/c"), ">  b/c  (from a)"),
        (renamed(b"a", b"b", data_bytes=1, mode=0o4755), ">  b  (from a, data 1 byte, mode 4755)"),
        (changed(b""), "M  .  (times)"),
        (changed(), "M  f  (times)"),
        (changed(b"e/f", b"d/f"), "M  e/f  (was d/f, times)"),
        (changed(owner=(1, 2), size=0), "M  f  (size 0 bytes, owner 1:2)"),
        (
            changed(xattrs={b"user.b": False, b"user.a": True, b"user.\x1b": True}),
            r"M  f  (xattr user.\x1b, xattr user.a, xattr user.b removed)",
        ),
        (
            changed(xattrs={b"user.%d" % number: True for number in range(5)}, flags=0),
            "M  f  (xattr user.0, xattr user.1, xattr user.2, 2 more xattrs, flags)",
        ),
        (changed(verity=True), "M  f  (verity)"),
        (created(b"\xff\n\x1b[2J"), r"+  \xff\n\x1b[2J  (file)"),
        (
            Change(
                kind=ChangeKind.CREATED,
                path=b"s",
                old_path=None,
                type=FileType.SYMLINK,
                details=Details(target=b"a\nb"),
            ),
            r"+  s  (symlink to a\nb)",
        ),
        (
            Change(
                kind=ChangeKind.CREATED,
                path=b"tty",
                old_path=None,
                type=FileType.CHARACTER_DEVICE,
                details=Details(device=(5, 0)),
            ),
            "+  tty  (character device 5:0)",
        ),
        (
            Change(
                kind=ChangeKind.CREATED,
                path=b"b",
                old_path=None,
                type=FileType.FILE,
                link_to=b"a",
            ),
            "+  b  (file, hard link to a)",
        ),
    ],
)
def test_a_line_says_what_there_is_to_say(change: Change, line: str) -> None:
    assert list(lines([change])) == [line]


def test_what_only_has_new_times_is_shown_on_request() -> None:
    changes = [changed(b"a"), changed(b"b", mode=0), renamed(b"c", b"d")]
    assert list(shown(changes, everything=False)) == changes[1:]
    assert list(shown(changes, everything=True)) == changes


def test_a_total_leaves_out_what_there_is_none_of() -> None:
    assert total_line("1", "2", [], everything=False) == "1 -> 2: no differences"
    assert total_line("1", "\x1b", [deleted(b"x")], everything=False) == r"1 -> \x1b: 1 deleted"
    changes = [changed(b"a"), changed(b"b", data_bytes=2048), created(shared_bytes=1)]
    assert total_line("1", "2", changes, everything=False) == (
        "1 -> 2: 1 created, 1 changed, 2.000 KiB of data, 1 byte shared, "
        "1 with new times only (--all shows them)"
    )
    assert total_line("1", "2", changes, everything=True).endswith("1 with new times only")


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=2, max_size=2))
def test_json_has_any_name_in_ascii_byte_by_byte(names: list[bytes]) -> None:
    old, new = names
    change, total = json_lines(os.fsdecode(old), "2", [renamed(old, new, xattrs={new: True})])
    assert change.isascii()
    fields = json.loads(change)
    assert (os.fsencode(fields["old_path"]), os.fsencode(fields["path"])) == (old, new)
    assert [os.fsencode(name) for name in fields["xattrs_set"]] == [new]
    assert os.fsencode(json.loads(total)["older"]) == old


def test_a_long_table_is_lines() -> None:
    stream = io.StringIO()
    changes = [created(b"%d [red]" % number) for number in range(2001)]
    print_changes(stream, changes, "total")
    printed = stream.getvalue().splitlines()
    assert printed[0] == "+  0 [red]  (file)"
    assert len(printed) == 2002


def test_a_table_takes_names_as_they_are_and_folds_them() -> None:
    stream = io.StringIO()
    print_changes(stream, [created(b"[red]:smile:" + b"x" * 300)], "total")
    text = stream.getvalue()
    assert "[red]:smile:" in text
    assert text.count("x") == 300


def test_no_changes_are_a_total_alone() -> None:
    stream = io.StringIO()
    print_changes(stream, [], "total")
    assert stream.getvalue() == "\x1b[1mtotal\x1b[0m\n"
