"""Ends on other hosts as source and destination of every kind of end, and of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buttersink.wire.frames import Kind
from support.command import buttersink, run_module, sync
from support.history import many_snapshots
from support.pair_ends import Ends, Origin, continued
from support.ssh_ends import Tap, piped, secure
from support.stored_ends import SubvolumeEnd, set_up_s3, snapshots_below
from support.tree import assert_same_tree

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from conftest import MakeFs
    from support.loopfs import LoopFs
    from support.s3_servers import S3Server
    from support.sshd import Sshd

PAIRS = [
    ("pipe", "btrfs", "ssh"),
    ("pipe", "dir", "ssh"),
    ("pipe", "s3", "ssh"),
    ("pipe", "ssh", "btrfs"),
    ("pipe", "ssh", "dir"),
    ("pipe", "ssh", "s3"),
    ("pipe", "ssh", "ssh"),
    ("sshd", "btrfs", "ssh"),
    ("sshd", "ssh", "btrfs"),
    ("sshd", "ssh", "ssh"),
]
MOST_IDLE_BYTES = 2 << 10
"""What a connection may cost that finds nothing to do."""
MOST_OVERHEAD_BYTES = 16 << 10
"""What may come on top of the streams; no part of it grows with them but the frames' headers."""


MOST_QUESTIONS = 4
"""How often a connection is asked something, if no stream passes."""


@pytest.fixture
def tap(request: pytest.FixtureRequest, tmp_path: Path) -> Tap:
    """Return a tap on ssh by pipe or on a real one."""
    directory = tmp_path / "tap"
    directory.mkdir()
    if request.param == "pipe":
        return Tap(piped(tmp_path), directory)
    server: Sshd = request.getfixturevalue("secure_shell")
    return Tap(secure(server), directory)


@pytest.fixture
def ends(
    scratch: Path, make_fs: MakeFs, seaweed: S3Server, tap: Tap, monkeypatch: pytest.MonkeyPatch
) -> Ends:
    set_up_s3(monkeypatch, seaweed)
    return Ends(scratch, make_fs, seaweed, tap.shell)


@pytest.fixture
def origin(fs_a: LoopFs) -> Origin:
    return Origin(fs_a)


def assert_holds(end: SubvolumeEnd, originals: Mapping[str, Path]) -> None:
    """Compare what is at an end with what should be, by the oracle and by our own tool."""
    for path, original in originals.items():
        assert_same_tree(original, end.path / path)
        tool = "buttersink.tools.checksumdir"
        compared = run_module(tool, "--compare", original, end.path / path)
        assert (compared.status, compared.stdout) == (0, "")
    assert snapshots_below(end.path) == sorted(originals)


@pytest.mark.parametrize(("tap", "start", "goal"), PAIRS, indirect=["tap"])
def test_snapshots_arrive_equal_are_left_alone_are_continued_and_come_back(
    ends: Ends, origin: Origin, tap: Tap, start: str, goal: str
) -> None:
    shell = tap.shell
    origin.add("home/1", "home/2", "3")
    starts = {"btrfs": origin.end, "ssh": shell.end(origin.end.path)}
    source = starts.get(start) or ends.make(start, "source")
    destination = ends.make(goal, "destination")
    if start not in starts:
        sync(origin.end.url, source.url)

    first = sync(source.url, destination.url, *shell.options)
    assert first.the("finished")["transferred"] == 3
    for traffic in tap.taken():
        streams = traffic.data_bytes()
        assert streams > 0
        assert traffic.nbytes <= streams * 1.001 + MOST_OVERHEAD_BYTES

    before = destination.traces()
    again = sync(source.url, destination.url, *shell.options)
    finished = again.the("finished")
    assert (finished["transferred"], finished["present"], finished["sent_bytes"]) == (0, 3, 0)
    assert destination.traces() == before
    for traffic in tap.taken():
        assert Kind.DATA not in traffic.asked() + traffic.answered()
        assert traffic.nbytes < MOST_IDLE_BYTES
        assert traffic.asked()[Kind.REQUEST] <= MOST_QUESTIONS

    origin.add("home/4")
    if start not in starts:
        sync(origin.end.url, source.url)
    (step,) = sync(source.url, destination.url, *shell.options).steps("send")
    assert step["path"] == "home/4"
    assert step["parent"]["path"] in {"home/1", "home/2", "3"}
    if isinstance(destination, SubvolumeEnd):
        assert_holds(destination, origin.snapshots)

    back = ends.make("btrfs" if goal == "ssh" else "ssh", "back")
    assert isinstance(back, SubvolumeEnd)
    sync(destination.url, back.url, *shell.options)
    assert_holds(back, origin.snapshots)


@pytest.mark.parametrize("tap", ["pipe", "sshd"], indirect=True)
@pytest.mark.parametrize(("there", "back"), [("ssh", "ssh"), ("ssh", "btrfs"), ("btrfs", "ssh")])
def test_what_went_on_at_the_destination_comes_back_as_a_diff(
    origin: Origin, fs_b: LoopFs, tap: Tap, there: str, back: str
) -> None:
    shell = tap.shell
    origin.add("home/1", "home/2")
    goal = SubvolumeEnd(fs_b.path)

    def end(of: SubvolumeEnd, kind: str) -> SubvolumeEnd:
        return shell.end(of.path) if kind == "ssh" else of

    sync(end(origin.end, back).url, end(goal, there).url, *shell.options)
    moved_on = continued(fs_b, fs_b.path / "home" / "2", fs_b.path / "home" / "3")
    done = sync(end(goal, there).url, end(origin.end, back).url, *shell.options)

    (step,) = done.steps("send")
    assert (step["path"], step["parent"]["path"]) == ("home/3", "home/2")
    assert_same_tree(moved_on, origin.end.path / "home" / "3")
    assert done.paths("keep") == ["home/1", "home/2"]


@pytest.mark.parametrize("tap", ["pipe"], indirect=True)
def test_the_number_of_questions_does_not_grow_with_that_of_snapshots(
    make_fs: MakeFs, fs_b: LoopFs, tap: Tap
) -> None:
    asked: list[list[int]] = []
    for count in (3, 60):
        fs = make_fs(label=f"{count}-snapshots")
        many_snapshots(fs, count)
        source = tap.shell.end(fs.path / "snaps").url
        (fs_b.path / str(count)).mkdir()
        destination = tap.shell.end(fs_b.path / str(count)).url
        listed = buttersink("--json", *tap.shell.options, source)
        assert len(listed.the("listed")["snapshots"]) == count
        planned = sync(source, destination, "--dry-run", *tap.shell.options)
        assert len(planned.steps("send")) == count
        asked.append([traffic.asked()[Kind.REQUEST] for traffic in tap.taken()])
    few, many = asked
    assert few == many
    assert max(many) <= MOST_QUESTIONS
