"""What a manifest has of a tree: as far as that needs neither root nor btrfs."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buttersink.tools.manifest import (
    compare,
    read,
    write,
)
from buttersink.tools.tree import UnreadableError, scan
from support.manifests import MOMENT, digest, make_tree, manifest, set_times

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LATER = MOMENT + 1


def differences(expected: Path, found: Path) -> list[str]:
    return [str(each) for each in compare(scan(str(expected)), scan(str(found)))]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree")


def set_moment(path: Path) -> None:
    os.utime(path, ns=(MOMENT, MOMENT), follow_symlinks=False)


def change_content(top: Path) -> None:
    (top / "plain").write_bytes(b"PLAIN")
    set_moment(top / "plain")


def grow(top: Path) -> None:
    (top / "plain").write_bytes(b"plain and more")
    set_moment(top / "plain")


def retarget(top: Path) -> None:
    (top / "link").unlink()
    (top / "link").symlink_to("other target")
    set_moment(top / "link")


def split(top: Path) -> None:
    shutil.copy2(top / "dir" / "file", top / "dir" / "copy")
    (top / "dir" / "copy").replace(top / "dir" / "inner" / "twin")
    set_times(top)


def join(top: Path) -> None:
    (top / "plain").unlink()
    (top / "plain").hardlink_to(top / "dir" / "file")


def rename(top: Path) -> None:
    (top / "plain").rename(top / "plane")


def turn_into_directory(top: Path) -> None:
    (top / "pipe").unlink()
    (top / "pipe").mkdir()
    (top / "pipe").chmod(0o755)
    set_moment(top / "pipe")


def turn_into_socket(top: Path) -> None:
    mode = (top / "pipe").stat().st_mode & 0o7777
    (top / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(top / "pipe"))
    (top / "pipe").chmod(mode)
    set_moment(top / "pipe")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


CHANGES: list[tuple[Callable[[Path], object], list[str]]] = [
    (lambda top: (top / "plain").chmod(0o4711), ["plain: mode: 0644 -> 4711"]),
    (lambda top: (top / "dir").chmod(0o1755), ["dir: mode: 0755 -> 1755"]),
    (
        lambda top: os.utime(top / "plain", ns=(0, LATER)),
        [f"plain: mtime: {MOMENT} -> {LATER}"],
    ),
    (
        lambda top: os.utime(top / "link", ns=(0, -LATER), follow_symlinks=False),
        [f"link: mtime: {MOMENT} -> {-LATER}"],
    ),
    (lambda top: os.utime(top / "dir", ns=(0, LATER)), [f"dir: mtime: {MOMENT} -> {LATER}"]),
    (change_content, [f"plain: sha256: {sha256(b'plain')} -> {sha256(b'PLAIN')}"]),
    (
        grow,
        [
            "plain: size: 5 -> 14",
            f"plain: sha256: {sha256(b'plain')} -> {sha256(b'plain and more')}",
        ],
    ),
    (retarget, [r"link: target: target -> other\x20target"]),
    (
        split,
        [
            "dir/inner/twin: link: dir/file -> (none)",
            f"dir/inner/twin: sha256: (none) -> {sha256(b'content')}",
        ],
    ),
    (
        join,
        [
            "plain: size: 5 -> 7",
            f"plain: sha256: {sha256(b'plain')} -> (none)",
            "plain: link: (none) -> dir/file",
        ],
    ),
    (rename, ["plain: missing (file)", "plane: added (file)"]),
    (turn_into_directory, ["pipe: type: fifo -> dir", "pipe: mode: 0644 -> 0755"]),
    (turn_into_socket, ["pipe: type: fifo -> socket"]),
    (lambda top: (top / "link").unlink(), ["link: missing (symlink)"]),
    (lambda top: (top / ".").chmod(0o700), [".: mode: 0755 -> 0700"]),
]


class TestTrees:
    @pytest.mark.parametrize(("change", "expected"), CHANGES)
    def test_every_change_changes_the_digest_and_is_named(
        self, tree: Path, tmp_path: Path, change: Callable[[Path], object], expected: list[str]
    ) -> None:
        changed = make_tree(tmp_path / "changed")
        assert digest(changed) == digest(tree)
        change(changed)
        assert digest(changed) != digest(tree)
        assert sorted(differences(tree, changed)) == sorted(expected)

    @given(st.permutations(["a", "a/b", "a-b", "a/b/c", "A", "a0", "a/d", "a.b", "z", "z/y"]))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_neither_order_of_creation_nor_inode_numbers_matter(
        self, tmp_path: Path, order: list[str]
    ) -> None:
        top = tmp_path / "order"
        for path in order:
            (top / path).mkdir(parents=True, exist_ok=True)
        set_times(top)
        found = [entry.path.decode() for entry in scan(str(top))]
        shutil.rmtree(top)
        assert found == [".", "A", "a", "a-b", "a.b", "a/b", "a/b/c", "a/d", "a0", "z", "z/y"]

    def test_neither_the_number_of_threads_nor_links_from_outside_matter(
        self, tree: Path, tmp_path: Path
    ) -> None:
        for number in range(100):
            (tree / f"many{number}").write_bytes(b"%d" % number * 3000)
        before = digest(tree)
        (tmp_path / "outside").hardlink_to(tree / "plain")
        (tmp_path / "another").hardlink_to(tree / "dir" / "file")
        assert {write(scan(str(tree), jobs=jobs), id) for jobs in (1, 2, 7)} == {before}

    def test_the_times_of_the_top_do_not_count(self, tree: Path) -> None:
        before = digest(tree)
        os.utime(tree, ns=(LATER, LATER))
        assert digest(tree) == before

    def test_neither_atime_nor_ctime_counts(self, tree: Path) -> None:
        before = digest(tree)
        os.utime(tree / "plain", ns=(LATER, MOMENT))
        (tree / "plain").chmod(0o600)
        (tree / "plain").chmod(0o644)
        assert digest(tree) == before

    def test_a_sparse_file_equals_a_dense_one(self, tmp_path: Path) -> None:
        for name in ("sparse", "dense"):
            (tmp_path / name).mkdir()
        with (tmp_path / "sparse" / "file").open("wb") as file:
            file.truncate(3 << 20)
        (tmp_path / "dense" / "file").write_bytes(bytes(3 << 20))
        for name in ("sparse", "dense"):
            set_times(tmp_path / name)
        assert digest(tmp_path / "sparse") == digest(tmp_path / "dense")

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            (b"new\nline", r"new\x0aline"),
            (b"not utf-8 \xff\xfe", r"not\x20utf-8\x20\xff\xfe"),
            ("\N{SNOWMAN}".encode(), r"\xe2\x98\x83"),
            (b"\\x41", r"\x5cx41"),
            (b"end", "end"),
            (b"n" * 255, "n" * 255),
        ],
    )
    def test_any_name_is_kept(self, tmp_path: Path, name: bytes, text: str) -> None:
        top = tmp_path / "names"
        top.mkdir()
        (top / os.fsdecode(name)).write_bytes(b"")
        _, entry = scan(str(top))
        assert entry.path == name
        assert entry.line().split(" ")[1] == text
        stored = manifest([entry])
        assert list(read(io.BytesIO(stored), "stored")) == [entry]

    def test_a_tree_may_be_deeper_than_paths_descriptors_and_recursion_allow(
        self, tmp_path: Path
    ) -> None:
        depth, name = 1200, b"0123456789"
        here = os.open(tmp_path, os.O_RDONLY)
        for _ in range(depth):
            os.mkdir(name, dir_fd=here)
            below = os.open(name, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.close(here)
        try:
            found = [len(entry.path) for entry in scan(str(tmp_path))]
        finally:
            subprocess.run(["rm", "-r", tmp_path / name.decode()], check=True)
        level = len(name) + 1
        assert found == [
            1,
            *range(level - 1, depth * level, level),
            depth * level + len("file"),
        ]

    def test_a_symbolic_link_is_followed_at_the_top_only(self, tree: Path, tmp_path: Path) -> None:
        (tmp_path / "way").symlink_to(tree)
        (tree / "link").unlink()
        (tree / "link").symlink_to("dir")
        assert digest(tmp_path / "way") == digest(tree)
        assert b"link/inner" not in [entry.path for entry in scan(str(tree))]

    @pytest.mark.parametrize("size", [0, 5_000_000])
    def test_a_file_that_changes_while_it_is_hashed_is_an_error(
        self, tmp_path: Path, size: int
    ) -> None:
        (tmp_path / "growing file").write_bytes(bytes(3_000_000))

        def disturb(*, files: int, nbytes: int) -> None:
            if nbytes and not files:
                os.truncate(tmp_path / "growing file", size)

        with pytest.raises(UnreadableError, match=r"growing\\x20file: it changed.*snapshot"):
            list(scan(str(tmp_path), advance=disturb))

    def test_a_file_that_is_gone_before_it_is_read_is_an_error(self, tmp_path: Path) -> None:
        for number in range(200):
            (tmp_path / f"{number:03}").mkdir()
        entries = scan(str(tmp_path))
        next(entries)
        (tmp_path / "199").rmdir()
        with pytest.raises(UnreadableError, match=r"199: No such file.*must not change"):
            list(entries)

    def test_a_directory_that_is_moved_while_it_is_read_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        for number in range(200):
            (tmp_path / "a" / f"{number}").mkdir()
        entries = scan(str(tmp_path))
        next(entries)
        (tmp_path / "a").rename(tmp_path / "b" / "a")
        with pytest.raises(UnreadableError, match=r"it changed while it was read.*snapshot"):
            list(entries)

    def test_nothing_stays_open(self, tree: Path) -> None:
        for number in range(200):
            (tree / f"{number}").write_bytes(b"x")
        before = os.listdir("/proc/self/fd")
        entries = scan(str(tree), jobs=3)
        next(entries)
        entries.close()
        list(scan(str(tree)))
        assert os.listdir("/proc/self/fd") == before

    def test_progress_adds_up(self, tree: Path) -> None:
        seen: list[tuple[int, int]] = []

        def note(*, files: int, nbytes: int) -> None:
            seen.append((files, nbytes))

        list(scan(str(tree), advance=note))
        assert [sum(column) for column in zip(*seen, strict=True)] == [2, len(b"contentplain")]
