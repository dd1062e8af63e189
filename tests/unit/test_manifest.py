"""Manifests and `checksumdir`: as far as they need neither root nor btrfs."""

from __future__ import annotations

import hashlib
import io
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buttersink.tools.checksumdir import main
from buttersink.tools.manifest import (
    DamagedManifestError,
    Entry,
    compare,
    escape,
    parse,
    read,
    unescape,
    write,
)
from buttersink.tools.tree import UnreadableError, scan
from buttersink.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PROGRAM = (
    sys.executable,
    "-c",
    "import sys; from buttersink.tools.checksumdir import main; sys.exit(main())",
)
MOMENT = 1_000_000_000_123_456_789
LATER = MOMENT + 1


def manifest(entries: Sequence[Entry]) -> bytes:
    out = io.BytesIO()
    write(entries, out.write)
    return out.getvalue()


def digest(directory: Path) -> str:
    return write(scan(os.fspath(directory)), lambda _: None)


def differences(expected: Path, found: Path) -> list[str]:
    return [str(each) for each in compare(scan(str(expected)), scan(str(found)))]


def set_times(top: Path) -> None:
    """Give everything below `top` the same time, the deepest first."""
    for directory, subdirectories, files in os.walk(top, topdown=False):
        for name in (*files, *subdirectories):
            os.utime(Path(directory, name), ns=(MOMENT, MOMENT), follow_symlinks=False)


def make_tree(top: Path) -> Path:
    (top / "dir" / "inner").mkdir(parents=True)
    (top / "dir" / "file").write_bytes(b"content")
    (top / "dir" / "inner" / "twin").hardlink_to(top / "dir" / "file")
    (top / "plain").write_bytes(b"plain")
    (top / "link").symlink_to("target")
    os.mkfifo(top / "pipe")
    for path in (top, top / "dir", top / "dir" / "inner"):
        path.chmod(0o755)
    for path in (top / "dir" / "file", top / "plain", top / "pipe"):
        path.chmod(0o644)
    set_times(top)
    return top


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree")


# Entries as they come, whether or not a kernel would have such.

names = st.binary(min_size=1, max_size=12).filter(lambda raw: b"\0" not in raw and b"/" not in raw)
paths = st.lists(names, min_size=1, max_size=3).map(b"/".join).filter(lambda path: path != b".")
numbers = st.integers(min_value=0, max_value=1 << 32)
entries = st.builds(
    Entry,
    path=paths,
    type=st.sampled_from(("dir", "file", "symlink", "char", "block", "fifo", "socket")),
    mode=st.integers(min_value=0, max_value=0o7777),
    uid=numbers,
    gid=numbers,
    size=st.none() | numbers,
    mtime=st.none() | st.integers(min_value=-(1 << 63), max_value=1 << 63),
    target=st.none() | st.binary(max_size=20),
    device=st.none() | st.tuples(numbers, numbers),
    link=st.none() | paths,
    sha256=st.none() | st.binary(min_size=32, max_size=32).map(bytes.hex),
    xattrs=st.dictionaries(names, st.binary(max_size=20), max_size=3).map(
        lambda found: tuple(sorted(found.items()))
    ),
)
manifests = st.lists(entries, max_size=4, unique_by=lambda entry: entry.path).map(
    lambda found: sorted(found, key=lambda entry: entry.order)
)


class TestText:
    @given(st.binary())
    def test_any_bytes_can_be_escaped_and_unescaped(self, raw: bytes) -> None:
        text = escape(raw)
        assert unescape(text) == raw
        assert all("!" <= character <= "~" for character in text)

    def test_only_what_is_not_printable_is_escaped_and_spaces_and_backslashes(self) -> None:
        assert escape(b"~a/B=1 \\\n\xff") == r"~a/B=1\x20\x5c\x0a\xff"

    @given(entries)
    def test_an_entry_is_parsed_from_its_line(self, entry: Entry) -> None:
        assert parse(entry.line()) == entry

    @given(entries, entries)
    def test_different_entries_have_different_lines(self, one: Entry, other: Entry) -> None:
        assert (one.line() == other.line()) == (one == other)

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "dir",
            "dir a",
            "dir a mode=0755 uid=0",
            "dir a mode=755 uid=0 gid=0",
            "dir a mode=0755 uid=0 gid=0 ",
            "dir a mode=0755 uid=0 gid=+0",
            "dir a uid=0 gid=0 mode=0755",
            "dir a mode=0755 uid=0 gid=0 gid=0",
            "dir a mode=0755 uid=0 gid=0 colour=red",
            "dir a mode=0755 uid=0 gid=0 device=1",
            r"dir \x61 mode=0755 uid=0 gid=0",
            r"dir \x0A mode=0755 uid=0 gid=0",
            "dir a\\ mode=0755 uid=0 gid=0",
            "dir a mode=0755 uid=0 gid=0 xattr:b=2 xattr:b=2",
            "door a mode=0755 uid=0 gid=0",
            "dir \u00e4 mode=0755 uid=0 gid=0",
        ],
    )
    def test_a_line_that_no_entry_has_is_refused(self, line: str) -> None:
        with pytest.raises(ValueError, match="not an entry"):
            parse(line)

    def test_xattrs_are_written_in_the_order_of_their_names(self) -> None:
        line = "dir a mode=0755 uid=0 gid=0 xattr:user.b= xattr:user.a="
        with pytest.raises(ValueError, match="not an entry"):
            parse(line)


class TestStored:
    @given(manifests)
    def test_a_manifest_can_be_read_back(self, stored: list[Entry]) -> None:
        assert list(read(io.BytesIO(manifest(stored)), "stored")) == stored

    @given(manifests)
    def test_the_digest_is_that_of_all_lines_but_the_last_which_shows_it(
        self, stored: list[Entry]
    ) -> None:
        *lines, last = manifest(stored).splitlines(keepends=True)
        expected = hashlib.sha256(b"".join(lines)).hexdigest()
        assert write(stored, lambda _: None) == expected
        assert last == f"end {len(stored)} {expected}\n".encode("ascii")

    @given(manifests, st.data())
    def test_a_shorter_manifest_is_damaged(self, stored: list[Entry], data: st.DataObject) -> None:
        whole = manifest(stored)
        length = data.draw(st.integers(min_value=0, max_value=len(whole) - 1))
        with pytest.raises(DamagedManifestError, match="stored"):
            list(read(io.BytesIO(whole[:length]), "stored"))

    @given(manifests, st.data())
    def test_a_manifest_with_another_byte_is_damaged(
        self, stored: list[Entry], data: st.DataObject
    ) -> None:
        changed = bytearray(manifest(stored))
        place = data.draw(st.integers(min_value=0, max_value=len(changed) - 1))
        changed[place] ^= data.draw(st.integers(min_value=1, max_value=255))
        with pytest.raises(DamagedManifestError, match="stored"):
            list(read(io.BytesIO(changed), "stored"))

    def test_a_longer_manifest_is_damaged(self) -> None:
        with pytest.raises(DamagedManifestError, match="something follows its last line"):
            list(read(io.BytesIO(manifest([]) + b"\n"), "stored"))

    def test_entries_must_be_in_order(self) -> None:
        a, b = (Entry(path=path, type="dir", mode=0, uid=0, gid=0) for path in (b"a", b"b"))
        for wrong in ([b, a], [a, a]):
            with pytest.raises(DamagedManifestError, match="line 3: out of order"):
                list(read(io.BytesIO(manifest(wrong)), "stored"))

    def test_a_manifest_of_another_version_is_refused_with_advice(self) -> None:
        stored = manifest([]).replace(b"manifest 1", b"manifest 2")
        with pytest.raises(DamagedManifestError, match=r"this version can read.*--manifest"):
            list(read(io.BytesIO(stored), "stored"))


class TestCompare:
    @given(manifests, manifests)
    def test_there_are_differences_unless_manifests_are_equal(
        self, one: list[Entry], other: list[Entry]
    ) -> None:
        assert list(compare(one, one)) == []
        assert bool(list(compare(one, other))) == (one != other)

    @given(manifests, manifests)
    def test_each_difference_is_the_same_seen_from_the_other_side(
        self, one: list[Entry], other: list[Entry]
    ) -> None:
        there = {(d.path, d.field, d.expected, d.found) for d in compare(one, other)}
        back = {(d.path, d.field, d.found, d.expected) for d in compare(other, one)}
        assert there == back


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


class TestProgram:
    def test_it_prints_digests(self, tree: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        inner = tree / "dir"
        assert main([str(tree), str(inner)]) == 0
        expected = f"{digest(tree)}  {tree}\n{digest(inner)}  {inner}\n".encode()
        assert capfdbinary.readouterr() == (expected, b"")

    def test_it_prints_the_manifest(
        self, tree: Path, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        assert main(["--manifest", str(tree)]) == 0
        assert capfdbinary.readouterr() == (manifest(list(scan(str(tree)))), b"")

    def test_it_checks_a_directory_with_a_stored_manifest(
        self, tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        stored = str(tmp_path / "stored")
        assert main(["--manifest", "--output", stored, str(tree)]) == 0
        assert main(["--check", stored, str(tree)]) == 0
        assert capfd.readouterr() == ("", "checksumdir: no differences\n")
        (tree / "plain").chmod(0o600)
        assert main(["--check", stored, str(tree)]) == 1
        assert capfd.readouterr() == (
            "plain: mode: 0644 -> 0600\n",
            "checksumdir: 1 difference\n",
        )
        assert main(["--quiet", "--check", stored, str(tree)]) == 1
        assert capfd.readouterr().err == ""

    def test_a_stored_manifest_may_come_through_a_pipe(self, tree: Path) -> None:
        stored = manifest(list(scan(str(tree))))
        command = [*PROGRAM, "--check", "/dev/stdin", str(tree)]
        assert subprocess.run(command, input=stored, check=False).returncode == 0

    def test_it_compares_two_directories(
        self, tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        other = make_tree(tmp_path / "other")
        assert main(["--compare", str(tree), str(other)]) == 0
        assert main(["--compare", str(tree), str(tree)]) == 0
        rename(other)
        capfd.readouterr()
        assert main(["--compare", str(tree), str(other)]) == 1
        assert capfd.readouterr() == (
            "plain: missing (file)\nplane: added (file)\n",
            "checksumdir: 2 differences\n",
        )

    def test_a_damaged_manifest_is_told_before_any_difference(
        self, tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        stored = tmp_path / "stored"
        stored.write_bytes(manifest(list(scan(str(tree)))).replace(b"uid=", b"uid=1"))
        assert main(["--check", str(stored), str(tree)]) == 1
        expected = f"checksumdir: {stored} is damaged: its digest does not fit its lines\n"
        assert capfd.readouterr() == ("", expected)

    def test_a_missing_directory_is_one_line(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert main([str(tmp_path / "none")]) == 1
        expected = f"checksumdir: cannot read {tmp_path}/none: No such file or directory\n"
        assert capfd.readouterr() == ("", expected)

    def test_a_missing_manifest_is_one_line(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["--check", str(tmp_path / "none"), str(tmp_path)]) == 1
        expected = f"checksumdir: cannot read {tmp_path}/none: No such file or directory\n"
        assert capfd.readouterr() == ("", expected)

    def test_a_failure_leaves_an_older_output_as_it_was(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_bytes(b"older")
        assert main(["--output", str(tmp_path / "out"), str(tmp_path / "none")]) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        assert (tmp_path / "out").read_bytes() == b"older"

    def test_output_may_go_to_what_is_no_file(self, tree: Path) -> None:
        command = [*PROGRAM, "--output", "/dev/stdout", str(tree)]
        done = subprocess.run(command, capture_output=True, check=True, text=True)
        assert done.stdout == f"{digest(tree)}  {tree}\n"

    def test_a_full_disk_is_one_line(self, tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["--output", "/dev/full", str(tree)]) == 1
        expected = "checksumdir: cannot write /dev/full: No space left on device\n"
        assert capfd.readouterr() == ("", expected)

    def test_a_reader_that_goes_away_is_no_reason_to_complain(self, tree: Path) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([*PROGRAM, str(tree)], stdout=writer, stderr=-1, check=False)
        os.close(writer)
        assert (done.returncode, done.stderr) == (1, b"")

    def test_an_interrupt_is_one_line(self, tree: Path, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        command = [*PROGRAM, "--check", str(tmp_path / "fifo"), str(tree)]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as program:
            with (tmp_path / "fifo").open("wb"):  # waits until the program has it open, too
                program.send_signal(signal.SIGINT)
                _, complaint = program.communicate()
            assert (program.returncode, complaint) == (130, b"checksumdir: interrupted\n")

    def test_on_a_terminal_it_shows_what_it_hashed(self, tree: Path) -> None:
        terminal, end = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
        command = [*PROGRAM, str(tree)]
        done = subprocess.run(command, stdout=-1, stderr=end, env=environment, check=True)
        os.close(end)
        shown = os.read(terminal, 1 << 16)
        os.close(terminal)
        assert b"files" in shown
        assert done.stdout == f"{digest(tree)}  {tree}\n".encode()

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["--compare", "a"], "--compare takes two directories, but 1 were named"),
            (["--check", "m", "a", "b"], "--check takes one directory, but 2 were named"),
            (["--manifest", "a", "b"], "--manifest takes one directory, but 2 were named"),
            (["-j", "0", "a"], "--jobs 0 is not possible (use 1 to 16)"),
        ],
    )
    def test_what_does_not_go_together_is_refused(
        self, arguments: list[str], complaint: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert main(arguments) == 2
        assert capfd.readouterr() == ("", f"checksumdir: {complaint}\n")

    def test_it_knows_its_version(self, capfd: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["--version"])
        assert ended.value.code == 0
        assert capfd.readouterr().out == f"checksumdir {__version__}\n"
