"""Streams that are damaged or are not what was announced: nothing comes of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from buttersink.errors import (
    ButterSinkError,
    CorruptStreamError,
    MissingError,
    PathTakenError,
)
from buttersink.model import Diff, Receiver, StreamOptions
from buttersink.stream.format import Attribute, Command, decode_attributes
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run
from support.receiving_ends import VERSIONS, Ends, hostile, receiving_ends
from support.streams import captured, commands
from support.subvolume_facts import identity, snapshot_writable
from support.tree import assert_same_tree, describe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.loopfs import LoopFs


@pytest.fixture(params=list(Receiver), ids=lambda receiver: receiver.value)
def ends(
    fs_a: LoopFs, fs_b: LoopFs, scratch: Path, request: pytest.FixtureRequest
) -> Iterator[Ends]:
    with receiving_ends(fs_a, fs_b, scratch, request.param) as made:
        yield made


@pytest.mark.parametrize("version", VERSIONS)
class TestADamagedStream:
    def test_is_refused_wherever_it_ends(self, ends: Ends, version: int) -> None:
        before = ends.state()
        stream, diff, options = hostile(ends, version, [])
        for end in (0, 10, 17, 30, len(stream) // 2, len(stream) - 10, len(stream) - 1):
            with pytest.raises(ButterSinkError):
                ends.receive(stream[:end], diff, options)
        assert ends.state() == before

    def test_is_refused_whichever_bit_is_wrong(self, ends: Ends, version: int) -> None:
        before = ends.state()
        stream, diff, options = hostile(ends, version, [])
        for position in range(0, len(stream), max(1, len(stream) // 40)):
            damaged = bytearray(stream)
            damaged[position] ^= 1 << position % 8
            with pytest.raises(ButterSinkError):
                ends.receive(bytes(damaged), diff, options)
        assert ends.state() == before

    def test_may_be_received_again_whole(self, ends: Ends, version: int) -> None:
        stream, diff, options = hostile(ends, version, [])
        with pytest.raises(CorruptStreamError, match="without its END command"):
            ends.receive(stream[:-10], diff, options)

        ends.receive(stream, diff, options)

        assert_same_tree(ends.fs_a.path / "snaps" / "1", ends.fs_b.path / "dst" / "new")

    def test_with_something_after_its_end_is_whole(self, ends: Ends, version: int) -> None:
        stream, diff, options = hostile(ends, version, [])

        ends.receive(stream + b"stale" * 1000, diff, options)

        assert_same_tree(ends.fs_a.path / "snaps" / "1", ends.fs_b.path / "dst" / "new")


class TestAnotherStream:
    def test_than_announced_is_refused(self, ends: Ends) -> None:
        options = StreamOptions(version=2)
        full = captured(ends.source, Diff(ends.first), options)
        increment = captured(ends.source, Diff(ends.second, ends.first), options)
        ends.receive(full, Diff(ends.first), options, "1")
        before = ends.state()

        for stream, diff in (
            (full, Diff(uuid4())),
            (full, Diff(ends.second)),
            (increment, Diff(ends.second)),
            (increment, Diff(ends.first)),
            (captured(ends.source, Diff(ends.second), options), Diff(ends.second, ends.first)),
        ):
            with pytest.raises(CorruptStreamError, match="expected"):
                ends.receive(stream, diff, options)
            assert ends.state()[1] == before[1]

        with pytest.raises(CorruptStreamError, match="version 2"):
            ends.receive(full, Diff(ends.first), StreamOptions(version=1))
        with pytest.raises(CorruptStreamError, match="not a btrfs send stream"):
            ends.receive(b"<html>404 not found</html>", Diff(ends.second), options)

    def test_on_a_parent_that_is_missing_is_refused(self, ends: Ends) -> None:
        options = StreamOptions(version=1)
        diff = Diff(ends.second, ends.first)
        before = ends.state()

        with pytest.raises(MissingError, match="has no snapshot"):
            ends.receive(captured(ends.source, diff, options), diff, options)

        assert ends.state() == before

    def test_at_a_path_that_is_taken_is_refused(self, ends: Ends) -> None:
        stream, diff, options = hostile(ends, 1, [])
        (ends.fs_b.path / "dst" / "new").symlink_to("/")

        with pytest.raises(PathTakenError, match="something else is at"):
            ends.receive(stream, diff, options)

        assert os.readlink(ends.fs_b.path / "dst" / "new") == "/"

    @pytest.mark.parametrize("path", ["../new", "/new", "a/../../new", "", ".", "a//b", "a/"])
    def test_at_a_path_outside_is_refused(self, ends: Ends, path: str) -> None:
        stream, diff, options = hostile(ends, 1, [])
        before = ends.state()

        with pytest.raises(ButterSinkError, match="no path below a directory"):
            ends.receive(stream, diff, options, path)

        assert ends.state() == before

    def test_below_a_link_that_leads_outside_is_refused(self, ends: Ends) -> None:
        stream, diff, options = hostile(ends, 1, [])
        (ends.fs_b.path / "dst" / "link").symlink_to(ends.outside[0])
        before = ends.state()

        with pytest.raises(ButterSinkError):
            ends.receive(stream, diff, options, "link/new")

        assert ends.state() == before


class TestAParent:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_is_never_changed_and_clones_may_come_from_it(self, ends: Ends, version: int) -> None:
        live = ends.fs_a.path / "live"
        (live / "large").write_bytes(os.urandom(1 << 20))
        snapshot_read_only(live, ends.fs_a.path / "snaps" / "3")
        run("cp", "--reflink=always", live / "large", live / "clone")
        (live / "large").unlink()
        snapshot_read_only(live, ends.fs_a.path / "snaps" / "4")
        ends.source.inventory()
        options = StreamOptions(version=version)
        third, fourth = (UUID(identity(ends.fs_a.path / "snaps" / name)) for name in "34")
        ends.receive(captured(ends.source, Diff(third), options), Diff(third), options, "3")
        before = describe(ends.fs_b.path / "dst" / "3")
        stream = captured(ends.source, Diff(fourth, third), options)
        cloned = [
            decode_attributes(memoryview(b), version)
            for n, b in commands(stream)
            if n == Command.CLONE
        ]
        assert {UUID(bytes=bytes(c[Attribute.CLONE_UUID])) for c in cloned} == {third}

        ends.receive(stream, Diff(fourth, third), options, "4")

        assert describe(ends.fs_b.path / "dst" / "3") == before
        assert_same_tree(ends.fs_a.path / "snaps" / "4", ends.fs_b.path / "dst" / "4")

    def test_may_be_the_destinations_own_snapshot(self, ends: Ends) -> None:
        """What went to the source and comes back changed builds on the original."""
        create_subvolume(ends.fs_b.path / "live")
        (ends.fs_b.path / "live" / "file").write_bytes(os.urandom(1 << 20))
        snapshot_read_only(ends.fs_b.path / "live", ends.fs_b.path / "dst" / "own")
        own = UUID(identity(ends.fs_b.path / "dst" / "own"))
        options = StreamOptions(version=2)
        ends.target.inventory()
        with ends.source.receive(Diff(own), "own", options) as writer:
            writer.write(memoryview(captured(ends.target, Diff(own), options)))
        snaps = ends.fs_a.path / "snaps"
        snapshot_writable(snaps / "own", snaps / "live")
        run("cp", "--reflink=always", snaps / "live/file", snaps / "live/clone")
        snapshot_read_only(snaps / "live", snaps / "changed")
        ends.source.inventory()
        changed = Diff(UUID(identity(snaps / "changed")), own)

        ends.receive(captured(ends.source, changed, options), changed, options, "changed")

        assert_same_tree(snaps / "changed", ends.fs_b.path / "dst" / "changed")
