"""How long chains get, and what happens when a link of one is lost."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from support.command import Run, buttersink, directory, sync
from support.history import simple_history
from support.kernel_calls import create_subvolume, snapshot_read_only
from support.loopfs import run as run_program
from support.stored_ends import StoredEnd, assert_restores, in_a_directory, streams
from support.subvolume_facts import identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.loopfs import LoopFs

COUNT = 6
SLACK = 1.05
"""Expected sizes of compressed streams may be off by so much."""


def growing(fs: LoopFs, count: int) -> Iterator[dict[str, Path]]:
    """Make snapshots of a subvolume that changes by a fifth each time; yield all after each."""
    live = fs.path / "live"
    create_subvolume(live)
    (fs.path / "snaps").mkdir()
    rng = Random(7)
    found: dict[str, Path] = {}
    for number in range(count):
        for part in range(5) if number == 0 else [number % 5]:
            (live / f"{part}").write_bytes(rng.randbytes(100_000))
        name = f"{number:02}"
        found[name] = fs.path / "snaps" / name
        snapshot_read_only(live, found[name])
        yield found


def listed(end: StoredEnd) -> dict[str, dict[str, Any]]:
    done = buttersink("--json", end.url)
    assert done.status == 0, done.stderr
    return {found["path"]: found for found in done.the("listed")["snapshots"]}


@in_a_directory
class TestLimits:
    def test_no_chain_has_more_links_than_allowed(
        self, stored_end: StoredEnd, fs_a: LoopFs, fs_b: LoopFs
    ) -> None:
        originals: dict[str, Path] = {}
        for each in growing(fs_a, COUNT):
            originals = each
            sync(fs_a.path / "snaps", stored_end.url, "--max-chain", "3", "--max-restore", "100")

        links = [found["chain"]["links"] for found in listed(stored_end).values()]
        assert len(links) == COUNT
        assert max(links) == 3
        assert_restores(stored_end, originals, fs_b.path / "restored")

    @pytest.mark.parametrize(("factor", "full"), [("1", COUNT), ("1.5", 2)])
    def test_no_chain_has_more_bytes_than_allowed(
        self, stored_end: StoredEnd, fs_a: LoopFs, factor: str, full: int
    ) -> None:
        for _ in growing(fs_a, COUNT):
            sync(fs_a.path / "snaps", stored_end.url, "--max-restore", factor)

        found = listed(stored_end).values()
        most = max(len(stored_end.read(key)) for key in streams(stored_end))
        assert all(s["chain"]["bytes"] <= float(factor) * most * SLACK for s in found)
        assert sum(s["predecessor"] is None for s in found) >= full
        if factor != "1":
            assert any(s["predecessor"] for s in found)

    def test_a_limit_that_is_lowered_holds_for_what_is_new(
        self, stored_end: StoredEnd, fs_a: LoopFs
    ) -> None:
        snaps = fs_a.path / "snaps"
        for originals in growing(fs_a, 6):
            limit = "5" if len(originals) <= 5 else "2"
            sync(snaps, stored_end.url, "--max-chain", limit, "--max-restore", "100")

        links = {path: found["chain"]["links"] for path, found in listed(stored_end).items()}
        assert max(links.values()) == 5
        assert links["05"] <= 2


class TestLostStreams:
    @pytest.fixture
    def originals(self, fs_a: LoopFs, stored_end: StoredEnd) -> dict[str, Path]:
        """Return snapshots that are stored: 4 whole, each other one on the one after it."""
        found = {path.name: path for path in simple_history(fs_a, 4)}
        assert sync(fs_a.path / "snaps", stored_end.url).paths("send") == ["4", "3", "2", "1"]
        return found

    @staticmethod
    def lose(end: StoredEnd, path: str) -> str:
        (key,) = streams(end, path)
        end.remove(key)
        return key

    @in_a_directory
    def test_are_told_of(self, stored_end: StoredEnd, originals: dict[str, Path]) -> None:
        self.lose(stored_end, "3")

        done = buttersink("--json", stored_end.url)

        listed = done.the("listed")
        assert done.status == 0
        assert {p["path"] for p in listed["problems"]} == {"1", "2"}
        chains = {s["path"]: s["chain"] for s in listed["snapshots"]}
        assert (chains["1"], chains["2"]) == (None, None)
        assert chains["4"] is not None
        assert originals.keys() - chains.keys() == {"3"}

    def test_are_sent_again_and_nothing_else(
        self,
        stored_end: StoredEnd,
        originals: dict[str, Path],
        fs_a: LoopFs,
        fs_b: LoopFs,
    ) -> None:
        self.lose(stored_end, "3")

        done = healed(fs_a.path / "snaps", stored_end)

        assert done.paths("send") == ["3"]
        assert_restores(stored_end, originals, fs_b.path / "restored")
        again = sync(fs_a.path / "snaps", stored_end.url)
        assert again.steps("send") == []

    @in_a_directory
    def test_are_made_up_for_if_the_source_has_them_no_more(
        self,
        stored_end: StoredEnd,
        originals: dict[str, Path],
        fs_a: LoopFs,
        fs_b: LoopFs,
    ) -> None:
        self.lose(stored_end, "3")
        run_program("btrfs", "--quiet", "subvolume", "delete", originals.pop("3"))

        done = healed(fs_a.path / "snaps", stored_end)

        # 1 was stored on 2; once that can be restored again, so can 1.
        assert set(done.paths("send")) <= {"1", "2"}
        assert "2" in done.paths("send")
        assert_restores(stored_end, originals, fs_b.path / "restored")
        assert sync(fs_a.path / "snaps", stored_end.url).steps("send") == []

    @in_a_directory
    def test_that_all_others_build_on_are_sent_again(
        self,
        stored_end: StoredEnd,
        originals: dict[str, Path],
        fs_a: LoopFs,
        fs_b: LoopFs,
    ) -> None:
        self.lose(stored_end, "4")

        done = healed(fs_a.path / "snaps", stored_end)

        assert done.paths("send") == ["4"]
        assert_restores(stored_end, originals, fs_b.path / "restored")

    @in_a_directory
    def test_that_were_only_links_are_sent_again_and_stay_hidden(
        self,
        stored_end: StoredEnd,
        originals: dict[str, Path],
        fs_a: LoopFs,
        fs_b: LoopFs,
    ) -> None:
        elsewhere = fs_a.path / "elsewhere"
        elsewhere.mkdir()
        sync(fs_a.path / "snaps", fs_b.path)
        run_program("btrfs", "--quiet", "subvolume", "delete", originals.pop("4"))
        assert sync(fs_a.path / "snaps", stored_end.url, "--delete").paths("hide") == ["4"]
        assert buttersink(fs_b.path / "4", directory(elsewhere)).status == 0
        self.lose(stored_end, "4")

        done = healed(fs_a.path / "snaps", stored_end)

        assert [(step["uuid"], step["link"]) for step in done.steps("send")] == [
            (identity(elsewhere / "4"), True)
        ]
        assert_restores(stored_end, originals, fs_b.path / "restored")


def healed(source: Path, end: StoredEnd) -> Run:
    """Sync to an end whose chains are broken; it says so, and must succeed."""
    done = sync(source, end.url)
    assert any("can't be restored" in event["message"] for event in done.named("warned"))
    return done
