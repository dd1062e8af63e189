"""A server that speaks strangely: the client says so in one line, and harms nothing here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from buttersink.wire import messages
from buttersink.wire.frames import MAX_DATA, PREAMBLE, Kind, encode_frame
from buttersink.wire.messages import Done, encode
from buttersink.wire.values import Failure, NoSize, ProblemFacts, SizeFacts
from support.picture import assert_untouched, picture
from support.served_worlds import made_stream
from support.server_lies import (
    DONE,
    END,
    NEW,
    OTHER,
    error,
    failure,
    found,
    hello,
    listed,
    make_snapshot,
    run,
    sensible_server,
    sizes,
    snapshot,
)

if TYPE_CHECKING:
    from pathlib import Path

    from support.fake_server import FakeServer
    from support.loopfs import LoopFs

ESCAPES: Final = b"\x1b[2J\x1b]0;owned\x07\r\nerror: all is well\n\xff\xe2\x80\xae"
ESCAPED: Final = r"\x1b[2J\x1b]0;owned\x07\r\nerror: all is well\n\xff\u202e"


@pytest.fixture
def server(tmp_path: Path) -> FakeServer:
    """Return a server with nothing wrong with it."""
    directory = tmp_path / "server"
    directory.mkdir()
    return sensible_server(directory)


def test_a_sensible_server_is_believed(server: FakeServer, fs_b: LoopFs) -> None:
    result = run(server, END)
    assert (result.status, result.stderr) == (0, "")
    assert "new" in result.stdout
    assert run(server, "-q", END, f"{fs_b.path}/").status == 0
    assert (fs_b.path / "new").is_dir()


class TestTextWithEscapeSequences:
    def test_in_place_of_a_greeting(self, server: FakeServer) -> None:
        server.says("greeting", PREAMBLE, error(ESCAPES, hint=ESCAPES))
        assert failure(server, END).count(ESCAPED) == 2

    def test_before_any_greeting(self, server: FakeServer) -> None:
        server.says("greeting", ESCAPES * 1000)
        assert r"\x1b[2J" in failure(server, END)

    def test_on_standard_error(self, server: FakeServer) -> None:
        server.says("greeting")
        server.says("stderr", ESCAPES * 1000)
        failure(server, "--stall-timeout", "2", END)

    def test_in_an_error(self, server: FakeServer) -> None:
        server.says("inventory", error(ESCAPES, kind="MissingError", hint=ESCAPES))
        assert failure(server, END).count(ESCAPED) == 2

    def test_in_the_kind_of_an_error(self, server: FakeServer) -> None:
        server.says("inventory", error(b"no", kind=ESCAPES[:5].decode("latin-1")))
        assert failure(server, END) == "nas: no"

    def test_in_an_error_in_the_middle_of_a_stream(self, server: FakeServer, fs_b: LoopFs) -> None:
        before = picture(fs_b)
        half = encode_frame(Kind.DATA, made_stream(NEW)[:100])
        server.says("send", half, error(ESCAPES))
        result = run(server, "-q", END, f"{fs_b.path}/")
        assert result.status == 3
        assert ESCAPED in result.stderr
        assert_untouched(before, fs_b)

    def test_in_the_name_of_its_release(self, server: FakeServer) -> None:
        server.says("greeting", hello(oldest=900, newest=901, release="\x1b[2J\n"))
        assert r"\x1b[2J\n" in failure(server, END)

    def test_in_names_and_problems(self, server: FakeServer) -> None:
        name = ESCAPES.replace(b"\n", b"")
        problem = ProblemFacts(path=name, message=ESCAPES)
        server.says("inventory", found(snapshot(paths=(name,))), listed(problems=(problem,)))
        result = run(server, END)
        assert result.status == 0
        assert r"\x1b[2J" in result.stdout
        assert r"\x1b[2J" in result.stderr

    def test_in_what_could_not_be_measured(self, server: FakeServer) -> None:
        unknown = NoSize(Failure(kind="TransferError", message=ESCAPES, hint=ESCAPES))
        server.says("measure", sizes(unknown), DONE)
        result = run(server, END)
        assert result.status == 0
        assert ESCAPED in result.stderr


class TestAGreeting:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"directory": b"/etc/"}, "serves /etc/, not /bak/"),
            ({"directory": b"/bak"}, "serves /bak, not /bak/"),
            ({"directory": b"/bak/a/"}, "serves /bak/a/, not /bak/"),
            ({"directory": ESCAPES}, ESCAPED),
            ({"oldest": 900, "newest": 901}, "upgrade ButterSink on this host"),
            ({"oldest": 0, "newest": 0}, "upgrade ButterSink on nas"),
        ],
    )
    def test_of_another_server(
        self, server: FakeServer, changes: dict[str, Any], words: str
    ) -> None:
        server.says("greeting", hello(**changes))
        assert words in failure(server, END)
        assert server.was_asked() == ["greeting"]

    @pytest.mark.parametrize("mode", ["r", "a"])
    def test_of_a_server_that_may_do_less(self, server: FakeServer, mode: str) -> None:
        server.says("greeting", hello(mode=mode))
        assert f"in mode {mode} only" in failure(server, "--delete", END)
        assert server.was_asked() == ["greeting"]

    @pytest.mark.parametrize(
        "first",
        [
            encode_frame(Kind.HELLO),
            encode_frame(Kind.HELLO, b"\x80"),
            encode_frame(Kind.HELLO, b"\x81\xa7release\xa2\xff\xfe"),
            encode_frame(Kind.HELLO, b"\x91" * 100_000),
            encode_frame(Kind.HELLO, hello()[21:].replace(b"\xa4mode\xa1r", b"\xa4mode\xa1x")),
            encode_frame(Kind.HELLO, hello()[21:].replace(b"\xa4mode\xa1r", b"\xa4mode\xa1\xff")),
            encode_frame(Kind.REPLY, encode(Done())),
            encode_frame(Kind.DATA, b"x"),
            b"\x00\xff\xff\xff\xff",
            b"\x01\xff\xff\xff\xff",
            b"\x05\xff\xff\xff\xff",
            encode_frame(Kind.HELLO, b"\x80")[:3],
        ],
        ids=range(12),
    )
    def test_that_makes_no_sense(self, server: FakeServer, first: bytes) -> None:
        server.says("greeting", PREAMBLE, first)
        failure(server, "--stall-timeout", "2", END)

    @pytest.mark.parametrize(
        "endless", [b"\0" * 65536, b"hello\n" * 10_000, b"x" * 65536], ids=["zeros", "lines", "x"]
    )
    def test_that_never_ends(self, server: FakeServer, endless: bytes) -> None:
        server.says("greeting", endless=endless)
        failure(server, END)


class TestAnswersWithoutEnd:
    def test_of_snapshots(self, server: FakeServer) -> None:
        server.says("inventory", endless=found(*[snapshot()] * 500))
        assert "its answer does not end" in failure(server, END)

    def test_of_nothing(self, server: FakeServer) -> None:
        server.says("inventory", endless=found() * 1000)
        assert "its answer does not end" in failure(server, END)

    def test_of_sizes(self, server: FakeServer) -> None:
        server.says("measure", endless=sizes(SizeFacts(1, "exact")))
        assert "more sizes than were asked for" in failure(server, END)

    def test_of_no_sizes(self, server: FakeServer) -> None:
        server.says("measure", endless=sizes() * 1000)
        assert "its answer does not end" in failure(server, END)

    def test_of_data_where_none_belongs(self, server: FakeServer) -> None:
        server.says("inventory", endless=encode_frame(Kind.DATA, bytes(MAX_DATA)))
        assert "DATA came where an answer should" in failure(server, END)

    def test_after_a_stream_was_given_up(self, server: FakeServer, fs_b: LoopFs) -> None:
        before = picture(fs_b)
        wrong = encode_frame(Kind.DATA, made_stream(OTHER))
        server.says("send", wrong, endless=encode_frame(Kind.DATA, bytes(MAX_DATA)))
        result = run(server, "-q", END, f"{fs_b.path}/")
        assert result.status == 3
        assert_untouched(before, fs_b)

    def test_of_progress(self, server: FakeServer, fs_a: LoopFs) -> None:
        progress = encode_frame(Kind.PROGRESS, encode(messages.Progress(plain_bytes=1)))
        make_snapshot(fs_a)
        server.says("greeting", hello(mode="a"))
        server.says("inventory", listed())
        for verb in ("data", "end"):
            server.says("data")
            server.says(verb, endless=progress)
            result = run(server, "-q", f"{fs_a.path}/snaps/", END)
            assert result.status in {1, 3}
            assert "never ends" in result.stderr or "talks all the time" in result.stderr
