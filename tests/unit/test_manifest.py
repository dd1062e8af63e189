"""Manifests: their text, as they are stored, and comparing them."""

from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.tools.manifest import (
    DamagedManifestError,
    Entry,
    compare,
    escape,
    parse,
    read,
    unescape,
    write,
)
from support.manifests import manifest

# Entries as they come, whether or not a kernel would have such.

names = st.binary(min_size=1, max_size=12).filter(lambda raw: b"\0" not in raw and b"/" not in raw)
paths = st.lists(names, min_size=1, max_size=3).map(b"/".join).filter(lambda path: path != b".")
numbers = st.integers(min_value=0, max_value=1 << 32)
entries = st.builds(
    Entry,
    path=paths,
    type=st.sampled_from(("dir", "file", "symlink", "char", "block", "fifo", "socket")),
    mode=st.integers(min_value=0, max_value=0o7777),
    uid=numbers,
    gid=numbers,
    size=st.none() | numbers,
    mtime=st.none() | st.integers(min_value=-(1 << 63), max_value=1 << 63),
    target=st.none() | st.binary(max_size=20),
    device=st.none() | st.tuples(numbers, numbers),
    link=st.none() | paths,
    sha256=st.none() | st.binary(min_size=32, max_size=32).map(bytes.hex),
    xattrs=st.dictionaries(names, st.binary(max_size=20), max_size=3).map(
        lambda found: tuple(sorted(found.items()))
    ),
)
manifests = st.lists(entries, max_size=4, unique_by=lambda entry: entry.path).map(
    lambda found: sorted(found, key=lambda entry: entry.order)
)


class TestText:
    @given(st.binary())
    def test_any_bytes_can_be_escaped_and_unescaped(self, raw: bytes) -> None:
        text = escape(raw)
        assert unescape(text) == raw
        assert all("!" <= character <= "~" for character in text)

    def test_only_what_is_not_printable_is_escaped_and_spaces_and_backslashes(self) -> None:
        assert escape(b"~a/B=1 \\\n\xff") == r"~a/B=1\x20\x5c\x0a\xff"

    @given(entries)
    def test_an_entry_is_parsed_from_its_line(self, entry: Entry) -> None:
        assert parse(entry.line()) == entry

    @given(entries, entries)
    def test_different_entries_have_different_lines(self, one: Entry, other: Entry) -> None:
        assert (one.line() == other.line()) == (one == other)

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "dir",
            "dir a",
            "dir a mode=0755 uid=0",
            "dir a mode=755 uid=0 gid=0",
            "dir a mode=0755 uid=0 gid=0 ",
            "dir a mode=0755 uid=0 gid=+0",
            "dir a uid=0 gid=0 mode=0755",
            "dir a mode=0755 uid=0 gid=0 gid=0",
            "dir a mode=0755 uid=0 gid=0 colour=red",
            "dir a mode=0755 uid=0 gid=0 device=1",
            r"dir \x61 mode=0755 uid=0 gid=0",
            r"dir \x0A mode=0755 uid=0 gid=0",
            "dir a\\ mode=0755 uid=0 gid=0",
            "dir a mode=0755 uid=0 gid=0 xattr:b=2 xattr:b=2",
            "door a mode=0755 uid=0 gid=0",
            "dir \u00e4 mode=0755 uid=0 gid=0",
        ],
    )
    def test_a_line_that_no_entry_has_is_refused(self, line: str) -> None:
        with pytest.raises(ValueError, match="not an entry"):
            parse(line)

    def test_xattrs_are_written_in_the_order_of_their_names(self) -> None:
        line = "dir a mode=0755 uid=0 gid=0 xattr:user.b= xattr:user.a="
        with pytest.raises(ValueError, match="not an entry"):
            parse(line)


class TestStored:
    @given(manifests)
    def test_a_manifest_can_be_read_back(self, stored: list[Entry]) -> None:
        assert list(read(io.BytesIO(manifest(stored)), "stored")) == stored

    @given(manifests)
    def test_the_digest_is_that_of_all_lines_but_the_last_which_shows_it(
        self, stored: list[Entry]
    ) -> None:
        *lines, last = manifest(stored).splitlines(keepends=True)
        expected = hashlib.sha256(b"".join(lines)).hexdigest()
        assert write(stored, lambda _: None) == expected
        assert last == f"end {len(stored)} {expected}\n".encode("ascii")

    @given(manifests, st.data())
    def test_a_shorter_manifest_is_damaged(self, stored: list[Entry], data: st.DataObject) -> None:
        whole = manifest(stored)
        length = data.draw(st.integers(min_value=0, max_value=len(whole) - 1))
        with pytest.raises(DamagedManifestError, match="stored"):
            list(read(io.BytesIO(whole[:length]), "stored"))

    @given(manifests, st.data())
    def test_a_manifest_with_another_byte_is_damaged(
        self, stored: list[Entry], data: st.DataObject
    ) -> None:
        changed = bytearray(manifest(stored))
        place = data.draw(st.integers(min_value=0, max_value=len(changed) - 1))
        changed[place] ^= data.draw(st.integers(min_value=1, max_value=255))
        with pytest.raises(DamagedManifestError, match="stored"):
            list(read(io.BytesIO(changed), "stored"))

    def test_a_longer_manifest_is_damaged(self) -> None:
        with pytest.raises(DamagedManifestError, match="something follows its last line"):
            list(read(io.BytesIO(manifest([]) + b"\n"), "stored"))

    def test_entries_must_be_in_order(self) -> None:
        a, b = (Entry(path=path, type="dir", mode=0, uid=0, gid=0) for path in (b"a", b"b"))
        for wrong in ([b, a], [a, a]):
            with pytest.raises(DamagedManifestError, match="line 3: out of order"):
                list(read(io.BytesIO(manifest(wrong)), "stored"))

    def test_a_manifest_of_another_version_is_refused_with_advice(self) -> None:
        stored = manifest([]).replace(b"manifest 1", b"manifest 2")
        with pytest.raises(DamagedManifestError, match=r"this version can read.*--manifest"):
            list(read(io.BytesIO(stored), "stored"))


class TestCompare:
    @given(manifests, manifests)
    def test_there_are_differences_unless_manifests_are_equal(
        self, one: list[Entry], other: list[Entry]
    ) -> None:
        assert list(compare(one, one)) == []
        assert bool(list(compare(one, other))) == (one != other)

    @given(manifests, manifests)
    def test_each_difference_is_the_same_seen_from_the_other_side(
        self, one: list[Entry], other: list[Entry]
    ) -> None:
        there = {(d.path, d.field, d.expected, d.found) for d in compare(one, other)}
        back = {(d.path, d.field, d.found, d.expected) for d in compare(other, one)}
        assert there == back
