"""What the command keeps of a transfer that is interrupted, and tells of that."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest

from support.command import buttersink, run_module
from support.demanding import NAMES, Amount, Whole, demanding_snapshots
from support.kernel_calls import snapshot_read_only
from support.loopfs import run as run_program
from support.processes import Background, wait_until
from support.resuming import LEAST_KEPT, kept_bytes, names, partial, partials, received_bytes, run

if TYPE_CHECKING:
    from pathlib import Path

    from support.command import Argument, Ends
    from support.loopfs import LoopFs

MIB = 1 << 20
RATE = ("--bwlimit", "8M")
FIRST, SECOND, _ = NAMES


@pytest.fixture
def snaps(fs_a: LoopFs) -> Path:
    return demanding_snapshots(fs_a, Amount(large=12 * MIB, small=100))


def interrupt(backup: Path, *arguments: Argument, number: signal.Signals = signal.SIGINT) -> None:
    """Interrupt a run in the middle of a transfer."""
    with Background(*RATE, *arguments) as running:
        wait_for_bytes(running, backup, 2 * LEAST_KEPT)
        running.send(number)
        done = running.wait()
        running.wait_for_all()
    assert done.status == 130, done
    assert done.stderr.splitlines()[-1].startswith("error: interrupted: ")


def wait_for_bytes(running: Background, backup: Path, nbytes: int) -> None:
    """Wait until the snapshot that is being received has grown by so many bytes."""
    seen: list[int] = []

    def has_grown() -> bool:
        if backup_bytes := received_bytes(backup):
            seen.append(backup_bytes)
        return running.ended() or (bool(seen) and seen[-1] - seen[0] >= nbytes)

    wait_until(has_grown, "something was received")
    assert not running.ended(), running.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_what_was_interrupted_is_listed_planned_and_gone_on_with(
    snaps: Path, backup: Path, ends: Ends, number: signal.Signals
) -> None:
    whole = Whole(snaps)
    interrupt(backup, *ends, number=number)
    kept = partial(backup).checkpoint
    assert kept is not None
    assert kept.position.offset >= LEAST_KEPT
    assert kept.expected is not None
    percent = 100 * kept.position.plain_bytes // kept.expected

    listing = buttersink(f"{backup}/")
    assert re.search(rf"^partial .*\(resumable at {percent} %\)$", listing.stdout, re.MULTILINE)
    assert "0 snapshots, 1 partial" in listing.stdout
    dry = buttersink("-n", *ends)
    assert f"goes on at {percent} %)" in dry.stdout
    assert kept_bytes(backup) == kept.position.offset

    done = buttersink(*ends)

    assert done.status == 0, done
    assert f"resuming {FIRST} at {percent} %" in done.stderr.splitlines()
    assert re.search(rf"^sent {FIRST}: .* of them received earlier\)", done.stderr, re.MULTILINE)
    assert names(backup) == set(NAMES)
    for name in NAMES:
        whole.check(name, backup / name, flags=True)


def test_programs_are_told_as_much(snaps: Path, backup: Path, ends: Ends) -> None:
    del snaps
    interrupt(backup, *ends)
    kept = partial(backup).checkpoint
    assert kept is not None
    assert kept.expected is not None
    here, whole = kept.position.plain_bytes, kept.expected
    resumable = {"parent": None, "bytes": here, "of_bytes": whole}

    listed = buttersink("--json", f"{backup}/").the("listed")
    assert [each["resumable"] for each in listed["partials"]] == [resumable]
    assert not listed["snapshots"]

    done = buttersink("--json", *ends)

    first, *others = done.steps("send")
    assert first["resumable"] == resumable
    assert first["size"]["bytes"] == whole - here
    assert all(step["resumable"] is None for step in others)
    assert done.the("transfer_resumed")["plain_bytes"] == here
    transfer = done.named("transfer_done")[0]
    assert transfer["plain_bytes"] == whole
    assert transfer["resumed_bytes"] == here
    assert transfer["sent_bytes"] == whole - here
    assert done.the("finished")["resumed_bytes"] == here


def test_a_second_run_leaves_the_first_alone(snaps: Path, backup: Path, ends: Ends) -> None:
    whole = Whole(snaps)
    interrupt(backup, *ends)
    with Background("--bwlimit", "3M", *ends) as running:
        wait_until(lambda: running.ended() or received_bytes(backup), "it went on")
        second = buttersink("--delete", *ends)
        assert second.status == 1
        assert "another run is writing to " in second.stderr
        done = running.wait()
    assert done.status == 0, done
    assert f"resuming {FIRST} at " in done.stderr
    for name in NAMES:
        whole.check(name, backup / name, flags=True)


@pytest.mark.parametrize("options", [(), ("--delete",)], ids=["plainly", "with --delete"])
def test_what_came_by_another_way_is_kept_no_longer(
    snaps: Path, backup: Path, fs_b: LoopFs, options: tuple[str, ...]
) -> None:
    interrupt(backup, f"{snaps}/", f"{backup}/")
    elsewhere = fs_b.path / "elsewhere"
    elsewhere.mkdir()
    assert buttersink("-q", f"{snaps}/", f"{elsewhere}/").status == 0

    done = buttersink(*options, f"{snaps}/", f"{backup}/")

    assert done.status == 0, done
    assert re.search(r"^removed partial ", done.stderr, re.MULTILINE)
    assert names(backup) == set(NAMES)


def test_what_nobody_asks_for_any_more_goes_with_delete(
    snaps: Path, backup: Path, fs_a: LoopFs
) -> None:
    interrupt(backup, f"{snaps}/", f"{backup}/")
    others = fs_a.path / "others"
    others.mkdir()
    snapshot_read_only(fs_a.path / "live", others / "other")
    assert buttersink("-q", f"{others}/", f"{backup}/").status == 0
    assert partials(backup)

    done = buttersink("--delete", f"{others}/", f"{backup}/")

    assert done.status == 0, done
    assert names(backup) == {"other"}


def test_what_is_gone_on_with_does_not_go_with_delete(snaps: Path, backup: Path) -> None:
    interrupt(backup, f"{snaps}/", f"{backup}/")

    done = buttersink("--delete", f"{snaps}/", f"{backup}/")

    assert done.status == 0, done
    assert "removed partial" not in done.stderr
    assert f"resuming {FIRST} at " in done.stderr


def test_delete_without_a_source_removes_it(snaps: Path, backup: Path) -> None:
    interrupt(backup, f"{snaps}/", f"{backup}/")
    done = buttersink("--delete", f"{backup}/")
    assert (done.status, names(backup)) == (0, set())


def test_the_program_btrfs_receive_begins_anew(snaps: Path, backup: Path) -> None:
    interrupt(backup, f"{snaps}/", f"{backup}/")
    program = ("--receiver", "btrfs-progs")
    assert "goes on at" not in buttersink("-n", *program, f"{snaps}/", f"{backup}/").stdout

    done = buttersink(*program, f"{snaps}/", f"{backup}/")

    assert done.status == 0, done
    assert "resuming" not in done.stderr
    assert names(backup) == set(NAMES)


@pytest.mark.parametrize(
    ("capability", "wrong"),
    [
        ("sys_chroot", "the receiver can't be confined to the subvolume that it makes"),
        ("linux_immutable", "immutable or append-only, which may not be changed here"),
    ],
)
def test_what_came_is_kept_where_privileges_are_missing(
    snaps: Path, backup: Path, capability: str, wrong: str
) -> None:
    """Files of the first snapshot are immutable, and so are those of the copy of it."""
    assert buttersink("-q", f"{snaps}/{FIRST}", f"{backup}/").status == 0
    run(snaps, backup, 3 * MIB)
    kept = kept_bytes(backup)
    without = ("setpriv", f"--bounding-set=-{capability}", f"--inh-caps=-{capability}")

    done = run_module("buttersink", f"{snaps}/", f"{backup}/", by=without)

    assert done.status == 3, done
    assert wrong in done.stderr
    assert f"CAP_{capability.upper()}" in done.stderr
    assert kept_bytes(backup) == kept > 0
    assert f"resuming {SECOND} at " in buttersink(f"{snaps}/", f"{backup}/").stderr


def test_stored_streams_are_gone_on_with(snaps: Path, backup: Path, tmp_path: Path) -> None:
    whole = Whole(snaps)
    store = f"dir://{tmp_path}/store/"
    assert buttersink("-q", "--create", f"{snaps}/", store).status == 0
    interrupt(backup, store, f"{backup}/")
    kept = kept_bytes(backup)
    assert kept >= LEAST_KEPT

    done = buttersink("--json", store, f"{backup}/")

    assert done.status == 0, done
    assert done.named("planned")[0]["steps"][0]["resumable"]["bytes"] >= kept
    for name in NAMES:
        whole.check(name, backup / name)


def test_without_its_parent_at_the_destination_it_begins_anew(snaps: Path, backup: Path) -> None:
    whole = Whole(snaps)
    assert buttersink("-q", f"{snaps}/{FIRST}", f"{backup}/").status == 0
    finished, _, _ = run(snaps, backup, 3 * MIB)
    assert finished.failed
    assert partial(backup).checkpoint
    run_program("btrfs", "--quiet", "subvolume", "delete", backup / FIRST)

    done = buttersink(f"{snaps}/{SECOND}", f"{backup}/")

    assert done.status == 0, done
    assert "removed partial" in done.stderr
    assert names(backup) == {SECOND}
    whole.check(SECOND, backup / SECOND)
