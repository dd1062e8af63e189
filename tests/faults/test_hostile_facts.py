"""A server that lies: nothing is believed that makes no sense, or could do harm here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from buttersink.wire import messages
from buttersink.wire.frames import Kind, encode_frame
from buttersink.wire.messages import Listed, encode
from buttersink.wire.values import PartialFacts, SizeFacts
from support.picture import assert_unchanged, assert_untouched, picture
from support.served_worlds import made_stream
from support.server_lies import (
    DONE,
    END,
    NEW,
    OTHER,
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


@pytest.fixture
def server(tmp_path: Path) -> FakeServer:
    """Return a server with nothing wrong with it."""
    directory = tmp_path / "server"
    directory.mkdir()
    return sensible_server(directory)


@pytest.mark.parametrize(
    "path",
    [b"../new", b"/etc/new", b"..", b".", b"", b"a//b", b"a/", b"a/../b", b"a\0b", b"a/./b"],
)
class TestPathsThatLeadOut:
    def test_of_snapshots(self, server: FakeServer, fs_b: LoopFs, path: bytes) -> None:
        before = picture(fs_b)
        server.says("inventory", found(snapshot(paths=(b"good", path))), listed())
        line = failure(server, END, f"{fs_b.path}/")
        assert line.startswith("nas: listing the snapshots: a path leads out")
        assert_unchanged(before, fs_b)

    def test_of_partials(self, server: FakeServer, path: bytes) -> None:
        partial = PartialFacts(path=path, uuid=NEW, nbytes=None, guarded=b"", link=False)
        server.says("greeting", hello(mode="w"))
        server.says("inventory", listed(partials=(partial,)))
        assert "a path leads out of the directory" in failure(server, "--delete", END)
        assert "clean" not in server.was_asked()


class TestFactsThatMakeNoSense:
    @pytest.mark.parametrize(
        "nonsense",
        [
            SizeFacts(1, "certain"),
            SizeFacts(1, ""),
            SizeFacts(-1, "exact"),
            SizeFacts(2**63, "exact"),
            SizeFacts(2**64 - 1, "exact"),
        ],
        ids=str,
    )
    def test_as_sizes(self, server: FakeServer, nonsense: SizeFacts) -> None:
        server.says("measure", sizes(nonsense), DONE)
        assert failure(server, END).startswith("nas: measuring: ")

    @pytest.mark.parametrize("count", [0, 2, 1000])
    def test_as_the_number_of_sizes(self, server: FakeServer, count: int) -> None:
        server.says("measure", sizes(*[SizeFacts(1, "exact")] * count), DONE)
        assert "sizes than were asked for" in failure(server, END)

    @pytest.mark.parametrize("certainty", ["exact", "estimate", "at least", "unknown"])
    def test_as_a_huge_size(self, server: FakeServer, certainty: str) -> None:
        server.says("measure", sizes(SizeFacts(2**63 - 1, certainty)), DONE)
        assert run(server, END).status == 0

    @pytest.mark.parametrize("zone", ["UTC", "XXX+12", "XXX-14"])
    @pytest.mark.parametrize("year", [1, 1902, 2106, 9999])
    def test_as_times(self, server: FakeServer, year: int, zone: str) -> None:
        first, last = datetime(year, 1, 1, tzinfo=UTC), datetime(year, 12, 31, tzinfo=UTC)
        created = first if year < 2000 else last + timedelta(hours=23)
        server.says("inventory", found(snapshot(created=created)), listed())
        result = run(server, END, zone=zone)
        assert result.status == (1 if year in {1, 9999} else 0), result

    @pytest.mark.parametrize("field", ["total", "exclusive", "metadata_bytes", "generation"])
    @pytest.mark.parametrize("number", [0, 2**63 - 1])
    def test_as_numbers(self, server: FakeServer, fs_b: LoopFs, field: str, number: int) -> None:
        server.says("inventory", found(snapshot(**{field: number})), listed(free_bytes=number))
        assert run(server, "--estimate", END).status == 0
        assert run(server, "-n", "--estimate", END, f"{fs_b.path}/").status == 0

    def test_as_kin(self, server: FakeServer, fs_b: LoopFs) -> None:
        ring = [UUID(int=n) for n in range(3)]
        snapshots = [
            snapshot(
                uuid=uuid,
                paths=(f"{uuid}".encode(),),
                ancestor=ring[n - 1],
                parent_uuid=uuid,
                lineage="one",
            )
            for n, uuid in enumerate(ring)
        ]
        server.says("inventory", found(*snapshots), listed())
        assert run(server, "-n", "--estimate", END, f"{fs_b.path}/").status == 0
        assert run(server, "--estimate", END).status == 0

    def test_as_identities_that_are_told_twice(self, server: FakeServer, fs_b: LoopFs) -> None:
        twice = [snapshot(paths=(b"a",)), snapshot(paths=(b"b",), generation=8)]
        server.says("inventory", found(*twice), listed())
        result = run(server, "-n", "--estimate", END, f"{fs_b.path}/")
        assert result.status in {0, 1, 3}

    def test_as_paths_that_are_told_twice(self, server: FakeServer, fs_b: LoopFs) -> None:
        before = picture(fs_b)
        twice = [snapshot(), snapshot(uuid=OTHER, generation=8)]
        server.says("inventory", found(*twice), listed())
        result = run(server, "--estimate", END, f"{fs_b.path}/")
        assert result.status in {1, 3}
        assert_untouched(before, fs_b, besides="new")

    @pytest.mark.parametrize("path", [b"x" * 300, b"a/" * 30_000 + b"b", b"x" * 65536])
    def test_as_names_that_can_not_be(self, server: FakeServer, fs_b: LoopFs, path: bytes) -> None:
        before = picture(fs_b)
        server.says("inventory", found(snapshot(paths=(path,))), listed())
        result = run(server, "-q", END, f"{fs_b.path}/")
        assert result.status == 3
        assert "File name too long" in result.stderr
        assert_untouched(before, fs_b)

    def test_as_parents_that_nobody_asked_for(self, server: FakeServer, fs_b: LoopFs) -> None:
        make_snapshot(fs_b)
        outside = Listed(writable=0, outside=True)
        server.says("inventory", found(snapshot()), encode_frame(Kind.REPLY, encode(outside)))
        for unasked in (snapshot(uuid=OTHER, paths=()), snapshot(uuid=OTHER)):
            server.says("parents", found(unasked), DONE)
            line = failure(server, END, f"{fs_b.path}/snaps/")
            assert line.endswith(
                "nas: looking for parents: it tells of snapshots that nobody asked for"
            )
        assert "send" not in server.was_asked()

    def test_as_paths_that_are_taken(self, server: FakeServer, fs_a: LoopFs) -> None:
        make_snapshot(fs_a)
        server.says("greeting", hello(mode="a"))
        server.says("inventory", listed())
        server.says("taken", encode_frame(Kind.REPLY, encode(messages.Taken(indices=(1, 7)))))
        line = failure(server, f"{fs_a.path}/snaps/", END)
        assert line.endswith("it tells of paths that nobody asked for")

    def test_as_an_answer_to_something_else(self, server: FakeServer) -> None:
        no_text = encode_frame(Kind.ERROR, b"\x93\xa2\xff\xfe\xc4\x00\xc4\x00")
        end, request = encode_frame(Kind.END), encode_frame(Kind.REQUEST, b"\x80")
        for wrong in (DONE, sizes(), end, request, no_text):
            server.says("inventory", wrong)
            assert failure(server, END).startswith("nas: listing the snapshots: ")


class TestAStream:
    @pytest.mark.parametrize(
        "stream",
        [
            b"",
            b"rubbish",
            made_stream(OTHER),
            made_stream(NEW, OTHER),
            made_stream(NEW)[:-10],
            made_stream(NEW)[:60],
        ],
        ids=["empty", "rubbish", "another", "on a parent", "cut at its end", "cut"],
    )
    def test_that_is_not_the_one_that_was_asked_for(
        self, server: FakeServer, fs_b: LoopFs, stream: bytes
    ) -> None:
        before = picture(fs_b)
        server.says("send", encode_frame(Kind.DATA, stream), encode_frame(Kind.END))
        result = run(server, "-q", END, f"{fs_b.path}/")
        assert result.status == 3
        assert len(result.stderr.splitlines()) <= 3, result.stderr
        assert_untouched(before, fs_b)

    def test_with_something_else_in_its_middle(self, server: FakeServer, fs_b: LoopFs) -> None:
        before = picture(fs_b)
        server.says("send", encode_frame(Kind.DATA, made_stream(NEW)[:60]), DONE)
        result = run(server, "-q", END, f"{fs_b.path}/")
        assert result.status in {1, 3}
        assert "REPLY came in the middle of a stream" in result.stderr
        assert_untouched(before, fs_b)
