"""Keys say what they mean, whatever the path, and nothing else is taken for one of ours."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from buttersink.errors import UsageError
from buttersink.model import Diff
from buttersink.stored.keys import (
    MAX_KEY,
    MarkerEntry,
    Other,
    ReceiptEntry,
    SizesEntry,
    StreamEntry,
    is_trash,
    marker_key,
    parse_key,
    receipt_key,
    stream_key,
    trash_key,
)
from buttersink.stored.quoting import is_plain_text, quote, unquote

TO, PARENT = UUID("0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"), UUID(int=7)
INCREMENT, FULL = Diff(TO, PARENT), Diff(TO, None)

diffs = st.builds(Diff, st.uuids(), st.none() | st.uuids())
prefixes = st.sampled_from(["", "laptop/", "hosts/laptop/", "größe/", "a_b/.pct/", "12/"])

part_bytes = st.binary(min_size=1, max_size=12).filter(
    lambda part: b"/" not in part and b"\0" not in part and part not in {b".", b".."}
)
awkward_parts = st.sampled_from(
    [
        f"{TO}_{PARENT}.zst.json".encode(),
        f"{TO}_None.pct".encode(),
        f"{TO}_None.zst.hidden".encode(),
        b"home.bs",
        b"x.hidden",
        b"trash",
        b".pct",
        b".zst",
        b"None",
        b"100%",
        b"%2F",
        b"%41",
        b"\xff\xfe",
        b"\xc3\xa9",
        b"line\nend",
        b" ",
        b"...",
    ]
)
paths = st.lists(part_bytes | awkward_parts, min_size=1, max_size=4).map(
    lambda parts: b"/".join(parts).decode("utf-8", "surrogateescape")
)


class TestAnyPath:
    @given(
        prefix=prefixes, path=paths, diff=diffs, compressed=st.booleans(), text_only=st.booleans()
    )
    def test_comes_back_from_its_key(
        self, prefix: str, path: str, diff: Diff, *, compressed: bool, text_only: bool
    ) -> None:
        assume(prefix or not is_trash(path + "/"))
        assume(".buttersink-" not in path)
        key = stream_key(prefix, path, diff, compressed=compressed, text_only=text_only)
        entry = StreamEntry(
            key=key,
            path=path,
            diff=diff,
            compressed=compressed,
            quoted=text_only and not is_plain_text(path),
        )
        assert parse_key(key, prefix) == entry
        assert parse_key(receipt_key(key), prefix) == ReceiptEntry(entry)
        assert parse_key(marker_key(key), prefix) == MarkerEntry(entry)
        assert parse_key(trash_key(key), prefix) is Other.TRASH
        assert parse_key(trash_key(key), trash_key(prefix)) == StreamEntry(
            key=trash_key(key),
            path=path,
            diff=diff,
            compressed=compressed,
            quoted=entry.quoted,
        )

    @given(prefix=prefixes, path=paths, diff=diffs, compressed=st.booleans())
    def test_gives_a_key_of_text_where_keys_are_text(
        self, prefix: str, path: str, diff: Diff, *, compressed: bool
    ) -> None:
        assume(prefix or not is_trash(path + "/"))
        assume(".buttersink-" not in path)
        key = stream_key(prefix, path, diff, compressed=compressed, text_only=True)
        assert is_plain_text(key)
        assert len(marker_key(trash_key(key)).encode()) <= MAX_KEY
        assert key.startswith(prefix)

    @given(paths)
    def test_is_quoted_as_printable_ascii_and_comes_back(self, path: str) -> None:
        assert quote(path).isascii()
        assert quote(path).isprintable()
        assert quote(path).count("/") == path.count("/")
        assert unquote(quote(path)) == path
        assert unquote(quote(path).lower()) is not None


class TestAnyText:
    @given(st.text(st.characters(), max_size=60) | paths, prefixes)
    def test_is_read_without_an_error_and_never_as_a_path_outside(
        self, key: str, prefix: str
    ) -> None:
        for text in (key, prefix + key, f"{prefix}{key}/{TO}_None.pct", f"{prefix}{key}.bs"):
            entry = parse_key(text, prefix)
            if isinstance(entry, StreamEntry | SizesEntry):
                parts = entry.path.encode("utf-8", "surrogateescape").split(b"/")
                assert not {b"", b".", b".."}.intersection(parts)
                assert b"\0" not in b"".join(parts)

    @given(path=st.text(st.characters(), max_size=30), diff=diffs, text_only=st.booleans())
    def test_as_a_path_is_refused_or_comes_back(
        self, path: str, diff: Diff, *, text_only: bool
    ) -> None:
        try:
            key = stream_key("p/", path, diff, compressed=False, text_only=text_only)
        except UsageError:
            return
        entry = parse_key(key, "p/")
        assert isinstance(entry, StreamEntry)
        assert (entry.path, entry.diff) == (path, diff)


class TestKeys:
    def test_of_plain_streams_are_those_of_0_6_9(self) -> None:
        key = stream_key("laptop/", "12/snapshot", INCREMENT, compressed=False, text_only=True)
        assert key == f"laptop/12/snapshot/{TO}_{PARENT}"
        key = stream_key("", "home", FULL, compressed=False, text_only=True)
        assert key == f"home/{TO}_None"

    def test_tell_what_wraps_the_stream(self) -> None:
        key = stream_key("laptop/", "home", FULL, compressed=True, text_only=True)
        assert key == f"laptop/home/{TO}_None.zst"

    def test_are_only_quoted_where_they_must_be(self) -> None:
        keys = {
            text_only: stream_key(
                "p/", "50%/f\udcfc\nr", FULL, compressed=True, text_only=text_only
            )
            for text_only in (False, True)
        }
        assert keys[False] == f"p/50%/f\udcfc\nr/{TO}_None.zst"
        assert keys[True] == f"p/50%25/f%FC%0Ar/{TO}_None.pct.zst"
        plain = stream_key("p/", "50%/für", FULL, compressed=False, text_only=True)
        assert plain == f"p/50%/für/{TO}_None"

    def test_that_belong_to_a_stream_are_longer_by_a_suffix(self) -> None:
        assert receipt_key("home/x.zst") == "home/x.zst.json"
        assert marker_key("home/x.zst") == "home/x.zst.hidden"
        assert trash_key("laptop/home/x") == "trash/laptop/home/x"

    def test_may_have_uuids_in_upper_case(self) -> None:
        key = f"home/{str(TO).upper()}_{str(PARENT).upper()}"
        entry = parse_key(key, "")
        assert isinstance(entry, StreamEntry)
        assert (entry.key, entry.diff) == (key, INCREMENT)

    def test_may_be_quoted_by_other_programs(self) -> None:
        entry = parse_key(f"p/f%fcr%20%41é/{TO}_None.pct", "p/")
        assert isinstance(entry, StreamEntry)
        assert entry.path == "f\udcfcr Aé"


@pytest.mark.parametrize(
    "key",
    [
        f"{TO}_None",
        f"home/{TO}",
        f"home/{TO}_",
        f"home/_{TO}",
        f"home/{TO}_none",
        f"home/{TO}_{PARENT}_None",
        f"home/{TO.hex}_None",
        f"home/{TO}_None\n",
        f"home/{TO}_None.zst.zst",
        f"home/{TO}_None.zst.pct",
        f"home/{TO}_None.gz",
        f"home/{TO}_None.json.hidden",
        f"home/{TO}_None.json.json",
        f"home/{TO}_None.JSON",
        f"/home/{TO}_None",
        f"home//{TO}_None",
        f"home/../{TO}_None",
        f"./home/{TO}_None",
        f"../home/{TO}_None.json",
        f"home\0/{TO}_None",
        f"home/%2E%2e/{TO}_None.pct",
        f"home%2Fx/{TO}_None.pct",
        f"home%2fx/{TO}_None.pct",
        f"home%00/{TO}_None.pct",
        f"home%/{TO}_None.pct",
        f"home%4/{TO}_None.pct",
        f"%2Ebuttersink-1/{TO}_None.pct",
        f"\ud800/{TO}_None",
        f"\ud800/{TO}_None.pct",
        f"\udcc3\udca9/{TO}_None",
        ".bs",
        "home/.bs",
        "../home.bs",
        "README.txt",
        "",
    ],
)
def test_a_key_that_only_looks_like_ours_is_foreign(key: str) -> None:
    assert parse_key(key, "") is Other.FOREIGN
    assert parse_key("laptop/" + key, "laptop/") in {Other.FOREIGN, Other.NOTHING}


@pytest.mark.parametrize(
    "key",
    [
        "laptop/",
        "laptop/home/",
        f"laptop/home/{TO}_None/",
        "laptop/home/.buttersink-upload-12ab.20240101T000000Z-01234567",
        f"laptop/.buttersink-upload-12ab/{TO}_None",
        "laptop/.buttersink-lock",
        "laptop/home/.buttersink-x.bs",
    ],
)
def test_directories_and_working_files_are_not_worth_a_word(key: str) -> None:
    assert parse_key(key, "laptop/") is Other.NOTHING


def test_a_prefix_is_not_mistaken_for_one_that_begins_like_it() -> None:
    assert parse_key(f"laptop2/home/{TO}_None", "laptop/") is Other.OUTSIDE
    assert parse_key("laptop", "laptop/") is Other.OUTSIDE


def test_the_name_of_a_snapshot_can_end_like_sizes_or_a_marker() -> None:
    for name in ("home.bs", "home.hidden", "home.json", f"{TO}_None.json"):
        key = stream_key("", name, FULL, compressed=False, text_only=True)
        entry = parse_key(key, "")
        assert isinstance(entry, StreamEntry)
        assert entry.path == name
        assert parse_key(f"{name}.bs", "") == SizesEntry(name)


class TestRefused:
    @pytest.mark.parametrize(
        "path", ["", "/home", "home/", "a//b", ".", "..", "a/../b", "a/.", "a\0b", "\ud800"]
    )
    @pytest.mark.parametrize("text_only", [False, True])
    def test_is_what_is_no_path_below_the_directory(self, path: str, *, text_only: bool) -> None:
        with pytest.raises(UsageError, match="no path below"):
            stream_key("laptop/", path, FULL, compressed=False, text_only=text_only)

    @pytest.mark.parametrize(
        ("prefix", "path"), [("", "trash"), ("", "trash/x"), ("trash/x/", "y")]
    )
    def test_is_a_key_in_the_trash(self, prefix: str, path: str) -> None:
        with pytest.raises(UsageError, match="where removed streams go"):
            stream_key(prefix, path, FULL, compressed=False, text_only=True)

    def test_is_nothing_that_only_begins_like_the_trash(self) -> None:
        assert not is_trash(stream_key("", "trashy", FULL, compressed=False, text_only=True))

    @pytest.mark.parametrize("path", [".buttersink-x", "a/.buttersink-x/b"])
    def test_is_a_name_of_unfinished_work(self, path: str) -> None:
        with pytest.raises(UsageError, match="unfinished work"):
            stream_key("laptop/", path, FULL, compressed=False, text_only=False)

    def test_is_a_prefix_that_is_no_text_where_keys_are(self) -> None:
        with pytest.raises(UsageError, match="prefix"):
            stream_key("f\udcfcr/", "home", FULL, compressed=False, text_only=True)

    @pytest.mark.parametrize("char", ["x", "ü", "\n"])
    def test_is_a_path_whose_keys_would_be_too_long(self, char: str) -> None:
        each = len(quote(char)) if char == "\n" else len(char.encode())
        belonging = len(
            "trash/laptop//.pct.zst.hidden" if char == "\n" else "trash/laptop//.hidden"
        )
        tail = len(f"{TO}_{PARENT}")
        fits = (MAX_KEY - belonging - tail) // each
        zst = char == "\n"
        stream_key("laptop/", char * fits, INCREMENT, compressed=zst, text_only=True)
        with pytest.raises(UsageError, match="too long") as refused:
            stream_key("laptop/", char * (fits + 1), INCREMENT, compressed=zst, text_only=True)
        assert repr(char * (fits + 1)) in refused.value.message
        stream_key("laptop/", char * (fits + 1), INCREMENT, compressed=zst, text_only=False)
