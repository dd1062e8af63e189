"""What a user writes to name an end, and the rule of the slash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import ButterSinkError, ExitCode, UsageError
from buttersink.location import Location, Scheme, parse_location

SCHEMES = list(Scheme)


def source(text: str) -> Location:
    return parse_location(text, is_destination=False)


def destination(text: str) -> Location:
    return parse_location(text, is_destination=True)


class TestALocalPath:
    @pytest.mark.parametrize(
        ("text", "directory", "snapshot"),
        [
            ("/snaps/", "/snaps/", None),
            ("/snaps/one", "/snaps/", "one"),
            ("/one", "/", "one"),
            ("/", "/", None),
            ("//", "/", None),
            ("one", "./", "one"),
            ("snaps/", "snaps/", None),
            ("./", "./", None),
            ("../", "../", None),
            ("./one", "./", "one"),
            ("../one", "../", "one"),
            ("/a//b///c", "/a/b/", "c"),
            ("/a//b///", "/a/b/", None),
            ("file:///snaps/one", "/snaps/", "one"),
            ("btrfs:///snaps/", "/snaps/", None),
            ("BtrFS:///snaps/", "/snaps/", None),
            ("file://snaps/one", "snaps/", "one"),
            ("/with space/a b", "/with space/", "a b"),
            ("/a\nb/c\nd", "/a\nb/", "c\nd"),
            ("/caf\udce9/\udcff", "/caf\udce9/", "\udcff"),
            ("/a@b;c$d/%20?x#y", "/a@b;c$d/", "%20?x#y"),
            ("/s3:/x", "/s3:/", "x"),
            ("/odd://name/", "/odd:/name/", None),
            ("/-rf", "/", "-rf"),
        ],
    )
    def test_has_a_directory_and_perhaps_a_snapshot(
        self, text: str, directory: str, snapshot: str | None
    ) -> None:
        assert source(text) == Location(
            scheme=Scheme.BTRFS, text=text, directory=directory, snapshot=snapshot
        )

    @pytest.mark.parametrize("text", ["/a/.", "/a/..", ".", "..", "file://.."])
    def test_that_ends_in_dots_is_refused_with_what_to_write(self, text: str) -> None:
        with pytest.raises(UsageError) as refusal:
            source(text)
        assert refusal.value.hint.endswith(f"write {text}/")

    @pytest.mark.parametrize("text", ["/a", "/a/", "//a//", "btrfs:///a", "file:///a/"])
    def test_is_always_a_directory_as_destination(self, text: str) -> None:
        found = destination(text)
        assert (found.directory, found.snapshot) == ("/a/", None)

    def test_may_be_the_current_directory_as_destination(self) -> None:
        assert destination(".").directory == "./"
        assert destination("..").directory == "../"

    @given(st.text(st.characters(exclude_characters="\0"), min_size=1))
    def test_of_any_name_is_never_anything_else(self, name: str) -> None:
        found = source(f"/top/{name}/")
        assert found.scheme is Scheme.BTRFS
        assert found.directory.startswith("/top/")
        assert found.directory.endswith("/")
        assert "//" not in found.directory
        assert found.snapshot is None

    @given(st.text(st.characters(exclude_characters="\0/"), min_size=1))
    def test_without_the_slash_names_the_last_part(self, name: str) -> None:
        if name in {".", ".."}:
            return
        found = source(f"/top/{name}")
        assert (found.directory, found.snapshot) == ("/top/", name)


class TestAnSshUrl:
    @pytest.mark.parametrize(
        ("text", "user", "host", "port"),
        [
            ("ssh://host/snaps/one", None, "host", None),
            ("ssh://root@host:4422/snaps/one", "root", "host", 4422),
            ("SSH://host//snaps//one", None, "host", None),
            ("ssh://[::1]/snaps/one", None, "::1", None),
            ("ssh://me@[fe80::1%eth0]:22/snaps/one", "me", "fe80::1%eth0", 22),
            ("ssh://my.host-1.example/snaps/one", None, "my.host-1.example", None),
        ],
    )
    def test_names_a_host(self, text: str, user: str | None, host: str, port: int | None) -> None:
        assert source(text) == Location(
            scheme=Scheme.SSH,
            text=text,
            directory="/snaps/",
            snapshot="one",
            host=host,
            user=user,
            port=port,
        )

    @pytest.mark.parametrize(
        ("text", "directory", "snapshot"),
        [
            ("ssh://host/", "/", None),
            ("ssh://host/one", "/", "one"),
            ("ssh://host/snaps/", "/snaps/", None),
            ("ssh://host/with @ and : in/x y", "/with @ and : in/", "x y"),
            ("ssh://host/%40/%2F", "/%40/", "%2F"),
        ],
    )
    def test_has_a_path_that_stays_as_it_is(
        self, text: str, directory: str, snapshot: str | None
    ) -> None:
        found = source(text)
        assert (found.host, found.directory, found.snapshot) == ("host", directory, snapshot)

    @pytest.mark.parametrize(
        "text",
        [
            "ssh://host",
            "ssh://",
            "ssh:///x/",
            "ssh://host:0/x/",
            "ssh://host:65536/x/",
            "ssh://host:port/x/",
            "ssh://a@b@c/x/",
            "ssh://::1/x/",
            "ssh://-oProxyCommand=x/x/",
            "ssh://me@-oProxyCommand=x/x/",
            "ssh://-l@host/x/",
            "ssh://@host/x/",
        ],
    )
    def test_that_names_no_place_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError):
            source(text)


class TestAnS3Url:
    @pytest.mark.parametrize(
        ("text", "bucket", "prefix", "snapshot"),
        [
            ("s3://bucket/prefix/", "bucket", "prefix/", None),
            ("s3://bucket/prefix/one", "bucket", "prefix/", "one"),
            ("s3://bucket/a/b//c/", "bucket", "a/b/c/", None),
            ("s3://bucket/", "bucket", "", None),
            ("s3://bucket", "bucket", "", None),
            ("s3://bucket//", "bucket", "", None),
            ("s3://bucket/one", "bucket", "", "one"),
            ("S3://my.bucket-1/x/", "my.bucket-1", "x/", None),
        ],
    )
    def test_is_taken_apart(
        self, text: str, bucket: str, prefix: str, snapshot: str | None
    ) -> None:
        assert source(text) == Location(
            scheme=Scheme.S3, text=text, directory=prefix, snapshot=snapshot, host=bucket
        )

    @pytest.mark.parametrize("text", ["s3://", "s3:///x/", "s3://a", "s3://-x/", "s3://a b/x/"])
    def test_that_names_no_bucket_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError):
            source(text)

    def test_is_a_prefix_as_destination(self) -> None:
        assert destination("s3://bucket/one").directory == "one/"


class TestWhatLooksLikeAnotherHost:
    @pytest.mark.parametrize(
        "text",
        ["root@nas:/bak/", "nas:/bak/day", "[::1]:/bak/", " ssh://nas/bak/", "ssh:/nas/bak/"],
    )
    def test_is_not_taken_for_a_directory_here(self, text: str) -> None:
        for is_destination in (True, False):
            with pytest.raises(UsageError, match=r"ssh://.*\./") as caught:
                parse_location(text, is_destination=is_destination)
            assert repr(text) in caught.value.message

    @pytest.mark.parametrize("text", ["./nas:/bak/", "/mnt/nas:/bak/", "snaps/12:30/", "12:30/"])
    def test_can_be_one_all_the_same(self, text: str) -> None:
        assert parse_location(text, is_destination=True).directory == text


class TestAnyText:
    @pytest.mark.parametrize("text", ["", "\0", "/a\0b/", "http://x/y/", "a+b://x/", "file://"])
    def test_that_names_no_end_is_refused_with_what_does(self, text: str) -> None:
        with pytest.raises(UsageError) as refusal:
            source(text)
        assert "ssh://[user@]host[:port]" in refusal.value.hint
        assert refusal.value.exit_code is ExitCode.USAGE

    @given(
        st.text() | st.from_regex(r"(ssh|s3|file|btrfs)://[^\n]*", fullmatch=True), st.booleans()
    )
    def test_is_a_location_or_an_error_of_ours(self, text: str, is_destination: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        try:
            found = parse_location(text, is_destination=is_destination)
        except ButterSinkError:
            return
        assert found.text == text
        assert found.directory.endswith("/") or found.scheme is Scheme.S3
        assert not (is_destination and found.snapshot)
        assert found.snapshot is None or (found.snapshot and "/" not in found.snapshot)
        # What was understood can be written again, and means the same.
        if found.scheme is Scheme.BTRFS:
            again = source(f"btrfs://{found.directory}{found.snapshot or ''}")
            assert (again.directory, again.snapshot) == (found.directory, found.snapshot)
