"""What a server's command line grants, and what a client behind a forced command can make of it."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from buttersink.errors import RefusedError, UsageError
from buttersink.model import Mode
from buttersink.server.arguments import Grant, parse_grant

# Names of directories: any bytes but a slash and NUL, decoded as the system does it.
names = (
    st.binary(min_size=1, max_size=12)
    .filter(lambda raw: not set(raw) & set(b"/\0") and raw not in {b".", b".."})
    .map(lambda raw: raw.decode(errors="surrogateescape"))
)
directories = st.lists(names, max_size=4).map(lambda parts: "".join(f"/{p}" for p in parts) + "/")
modes = st.sampled_from(Mode)

# What a client may send: anything, and above all commands that are nearly, or just, right.
odd_parts = st.sampled_from(["", ".", "..", "bak", "a", "ab", "a ", "*", "$HOME", "\0", "\n"])
near_paths = st.builds(
    lambda start, parts, end: "/".join([start, *parts]) + end,
    st.sampled_from(["/bak/a", "/bak/a", "/bak/ab", "/bak", "bak/a", "", "/BAK/a"]),
    st.lists(odd_parts, max_size=3),
    st.sampled_from(["", "/"]),
)
near_words = st.sampled_from(
    ["sudo", "buttersink", "--server", "--mode", "--mode=w", "r", "a", "w", "A", ";", "--", "'"]
)
near_commands = st.builds(
    lambda before, letter, path, after: " ".join(
        [*before, "--server --mode", letter, path, *after]
    ),
    st.lists(near_words, max_size=3),
    st.sampled_from("raw"),
    near_paths.map(shlex.quote) | near_paths,
    st.sampled_from([[], [], ["w"], ["--mode", "w"], [";"]]),
)
commands = st.one_of(
    near_commands,
    near_commands,
    st.lists(near_words | near_paths).map(" ".join),
    st.text(max_size=60),
)


def server(letter: str, directory: str) -> list[str]:
    return ["--server", "--mode", letter, directory]


def forced(command: str, *, letter: str = "a", directory: str = "/bak/a/") -> Grant:
    return parse_grant(server(letter, directory), command)


class TestTheCommandLine:
    @pytest.mark.parametrize("mode", Mode)
    def test_grants_its_mode(self, mode: Mode) -> None:
        assert parse_grant(server(mode.letter, "/bak/a/"), None) == Grant(
            mode=mode, directory="/bak/a/", beneath="", requested=mode
        )

    def test_means_the_same_without_the_slash_at_the_end(self) -> None:
        assert parse_grant(server("r", "/bak/a"), None) == parse_grant(server("r", "/bak/a/"), None)

    def test_can_name_the_top(self) -> None:
        assert parse_grant(server("r", "/"), None).served == "/"

    @given(directory=directories, mode=modes)
    def test_can_name_any_normalised_directory(self, directory: str, mode: Mode) -> None:
        assert parse_grant(server(mode.letter, directory), None).served == directory

    @pytest.mark.parametrize(
        "argv",
        [
            [],
            ["--server"],
            ["--server", "--mode", "a"],
            ["--mode", "a", "--server", "/bak/"],
            ["--server", "/bak/", "--mode", "a"],
            ["--server", "--mode=a", "/bak/"],
            ["--server", "--mode", "a", "/bak/", "--mode", "w"],
            ["--server", "--mode", "a", "--mode", "w", "/bak/"],
            ["--server", "--server", "--mode", "a", "/bak/"],
            ["--server", "--mode", "a", "/bak/", "/etc/"],
            ["--server", "--mode", "a", "--", "/bak/"],
            ["--server", "--mode", "a", "/bak/", ""],
            ["sudo", "--server", "--mode", "a", "/bak/"],
        ],
        ids=shlex.join,
    )
    def test_has_one_shape(self, argv: list[str]) -> None:
        with pytest.raises(UsageError) as caught:
            parse_grant(argv, None)
        assert "--server --mode r|a|w /path/to/directory/" in caught.value.hint

    @pytest.mark.parametrize("letter", ["", "A", "rw", "read", "0", " a", "é"])
    def test_has_one_of_three_modes(self, letter: str) -> None:
        with pytest.raises(UsageError, match="there is no mode"):
            parse_grant(server(letter, "/bak/"), None)

    @pytest.mark.parametrize("path", ["", "bak/", "./bak/", "~/bak/", "-/", "--help"])
    def test_needs_an_absolute_path(self, path: str) -> None:
        with pytest.raises(UsageError, match="not absolute"):
            parse_grant(server("a", path), None)

    @pytest.mark.parametrize(
        "path",
        ["//", "//bak/", "/bak//", "/bak//a/", "/bak/../", "/..", "/bak/./a/", "/.", "/bak/a\0/"],
    )
    def test_needs_a_normalised_path(self, path: str) -> None:
        with pytest.raises(UsageError, match="not normalised"):
            parse_grant(server("a", path), None)

    def test_is_shown_with_control_characters_escaped(self) -> None:
        with pytest.raises(UsageError) as caught:
            parse_grant(["--server", "\x1b[2J\n"], None)
        assert str(caught.value).isprintable()


class TestAClientBehindAForcedCommand:
    def test_gets_what_it_asks_for(self) -> None:
        grant = forced("sudo buttersink --server --mode a /bak/a/")
        assert grant == Grant(mode=Mode.APPEND, directory="/bak/a/", requested=Mode.APPEND)

    @pytest.mark.parametrize("before", ["", "buttersink", "sudo -n -u root env A=b buttersink"])
    def test_may_have_any_remote_command(self, before: str) -> None:
        assert forced(f"{before} --server --mode a /bak/a/").mode is Mode.APPEND

    @pytest.mark.parametrize("asked", Mode)
    @pytest.mark.parametrize("granted", Mode)
    def test_gets_the_lesser_mode_and_what_it_asked_for_is_known(
        self, granted: Mode, asked: Mode
    ) -> None:
        grant = forced(f"x --server --mode {asked.letter} /bak/a/", letter=granted.letter)
        assert grant.mode is min(asked, granted)
        assert grant.requested is asked

    def test_may_name_a_directory_below(self) -> None:
        grant = forced("x --server --mode a /bak/a/b/c")
        assert (grant.directory, grant.beneath, grant.served) == ("/bak/a/", "b/c", "/bak/a/b/c/")

    def test_may_name_any_directory_if_the_top_is_served(self) -> None:
        grant = forced("x --server --mode a /bak/", directory="/")
        assert (grant.directory, grant.beneath, grant.served) == ("/", "bak", "/bak/")

    @given(forced_mode=modes, asked=modes, directory=directories, below=st.lists(names, max_size=3))
    def test_may_name_a_directory_of_any_name_when_it_is_quoted(
        self, forced_mode: Mode, asked: Mode, directory: str, below: list[str]
    ) -> None:
        wanted = directory + "".join(f"{name}/" for name in below)
        command = shlex.join(["sudo", "buttersink", *server(asked.letter, wanted)])
        grant = forced(command, letter=forced_mode.letter, directory=directory)
        assert grant.served == wanted
        assert grant.mode is min(forced_mode, asked)

    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "/bak/",
            "/bak",
            "/bak/ab/",
            "/bak/A/",
            "/bak/b/",
            "/bak/a\\",
            "/etc/",
            "/root/bak/a/",
        ],
    )
    def test_may_not_name_another_directory(self, path: str) -> None:
        command = shlex.join(["x", *server("a", path)])
        with pytest.raises(RefusedError, match=r"'/bak/a/'.*another directory"):
            forced(command)

    @pytest.mark.parametrize(
        "below", [".buttersink-x.part", ".buttersink-x.part/new", "b/.buttersink-/c"]
    )
    def test_may_not_name_what_a_transfer_has_made(self, below: str) -> None:
        with pytest.raises(RefusedError, match="belong to transfers"):
            forced(f"x --server --mode a /bak/a/{below}")
        assert forced("x --server --mode a /bak/a/b.buttersink-x").beneath == "b.buttersink-x"

    @pytest.mark.parametrize("path", ["/bak/a/..", "/bak/a/../b/", "/bak/a//b", "/bak/a/./b"])
    def test_may_not_name_a_path_that_is_not_normalised(self, path: str) -> None:
        with pytest.raises(RefusedError, match="not normalised"):
            forced(f"x --server --mode a {path}")

    @pytest.mark.parametrize(
        "command",
        [
            "",
            "sh",
            "rsync --server -logDtpre.iLsfxC . /bak/a/",
            "/usr/lib/openssh/sftp-server",
            "buttersink /bak/a/ s3://theirs/",
            "buttersink --server --mode a /bak/a/; sh",
            "buttersink --server --mode a /bak/a/ --mode w",
            "buttersink --server --mode a '/bak/a/ b/' c",
        ],
    )
    def test_gets_nothing_but_a_server(self, command: str) -> None:
        with pytest.raises(RefusedError, match=r"buttersink in '/bak/a/' only"):
            forced(command)

    def test_can_not_have_its_quotes_misread(self) -> None:
        with pytest.raises(RefusedError, match="quotation does not end"):
            forced("buttersink --server --mode a '/bak/a/")

    def test_can_not_have_anything_expanded(self) -> None:
        grant = forced("buttersink --server --mode a /bak/a/$(id)*")
        assert grant.beneath == "$(id)*"

    def test_can_not_send_a_command_without_end(self) -> None:
        with pytest.raises(RefusedError, match="characters") as caught:
            forced("x " * 100_000 + "--server --mode a /bak/a/")
        assert len(str(caught.value)) < 500

    def test_can_not_send_words_without_end(self) -> None:
        with pytest.raises(RefusedError, match="has 104 words"):
            forced("x " * 100 + "--server --mode a /bak/a/")

    def test_sees_its_words_escaped(self) -> None:
        with pytest.raises(RefusedError) as caught:
            forced("\x1b]0;title\x07\r\n")
        assert str(caught.value).isprintable()

    def test_can_not_make_up_for_a_wrong_command_line(self) -> None:
        with pytest.raises(UsageError):
            parse_grant(["--server"], "buttersink --server --mode a /bak/a/")

    @settings(max_examples=400)  # most commands are refused
    @given(command=commands, mode=modes)
    @example(command="x --server --mode w /bak/a/b", mode=Mode.READ)
    @example(command="x --server --mode w /bak/a/../b", mode=Mode.WRITE)
    @example(command="x --server --mode w /bak/a//b", mode=Mode.WRITE)
    @example(command="x --server --mode w '/bak/a/\0'", mode=Mode.WRITE)
    def test_never_gets_more_than_the_forced_command_grants(self, command: str, mode: Mode) -> None:
        try:
            grant = forced(command, letter=mode.letter)
        except RefusedError:
            return
        assert grant.mode <= mode
        assert grant.directory == "/bak/a/"
        assert grant.served.startswith("/bak/a/")
        parts = grant.beneath.split("/") if grant.beneath else []
        assert not {"", ".", ".."} & set(parts)
        assert "\0" not in grant.beneath
