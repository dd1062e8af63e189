"""What administrators are told to write into files of sudo and ssh is right."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.command import Run, buttersink
from support.loopfs import run
from support.sshd import sshd
from support.tree import assert_same_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.loopfs import LoopFs
    from support.sshd import Sshd

PAGE = Path(__file__).resolve().parents[2] / "docs" / "server-security.md"


def blocks(language: str) -> list[str]:
    """Return the blocks of the page that are in a language."""
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def check_sudoers(text: str, directory: Path) -> subprocess.CompletedProcess[str]:
    visudo = shutil.which("visudo", path=f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin")
    assert visudo, "these tests need sudo"
    path = directory / "sudoers"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o440)
    return subprocess.run(
        [visudo, "--check", "--strict", "--file", path],
        check=False,
        capture_output=True,
        text=True,
        env={"LC_ALL": "C"},
    )


def commands(text: str) -> list[str]:
    """Return the commands that an excerpt of sudoers allows, one for each."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    lists = [re.split(r"NOPASSWD:|=(?! *\()", line, maxsplit=1)[1] for line in lines if "=" in line]
    words = [word.strip() for listed in lists for word in listed.split(", ")]
    return [word for word in words if word.startswith("/")]


def may_run(text: str, command: str, directory: Path) -> bool:
    """Ask sudo whether its account `nobody` might run a command if this were all of sudoers."""
    path = directory / "sudoers"
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o440)
    ask = 'mount --bind "$0" /etc/sudoers && exec sudo -n --list --other-user nobody "$@"'
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ask, str(path)]
    done = subprocess.run([*words, *shlex.split(command)], check=False, capture_output=True)
    assert done.returncode in {0, 1}
    return done.returncode == 0


@pytest.mark.parametrize("text", blocks("sudoers"))
class TestAnExcerptOfSudoers:
    def test_is_understood_by_sudo(self, text: str, tmp_path: Path) -> None:
        done = check_sudoers(text, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_names_each_command_word_by_word(self, text: str) -> None:
        assert commands(text)
        for command in commands(text):
            assert re.fullmatch(r"/\S+ --server --mode [raw] /(?:[a-z]+/)+", command)

    def test_allows_that_and_nothing_else(self, text: str, tmp_path: Path) -> None:
        for name in ("buttersink", "buttersink-confined"):
            program = tmp_path / name
            program.write_text("", encoding="utf-8")
            program.chmod(0o755)
        text = re.sub(r"/usr/local/s?bin/", f"{tmp_path}/", text)
        text = re.sub(r"^(?:fred|desktop) ", "nobody ", text, flags=re.MULTILINE)
        for command in commands(text):
            assert may_run(text, command, tmp_path)
            for other in (
                command.removesuffix("/"),
                f"{command}b/",
                f"{command}../",
                f"{command} --mode w",
                re.sub("--mode .", "--mode ra", command),
                command.partition(" ")[0],
            ):
                assert not may_run(text, other, tmp_path), other


def test_a_wildcard_in_sudoers_would_allow_too_much(tmp_path: Path) -> None:
    program = tmp_path / "buttersink"
    program.write_text("", encoding="utf-8")
    program.chmod(0o755)
    text = f"nobody ALL=(root) NOPASSWD: {program} --server --mode r /bak/*\n"
    for path in ("/bak/../etc/", "/bak/a/ --mode w /etc/"):
        assert may_run(text, f"{program} --server --mode r {path}", tmp_path)


def test_a_mistake_in_sudoers_would_be_noticed(tmp_path: Path) -> None:
    mistaken = blocks("sudoers")[0].replace("ALL=(root)", "ALL=(root")
    assert check_sudoers(mistaken, tmp_path).returncode != 0


def test_there_are_excerpts_of_both_files() -> None:
    assert len(blocks("sudoers")) >= 3
    assert len(blocks("authorized_keys")) >= 2


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    """Return an sshd for all tests here."""
    with sshd() as server:
        yield server


@pytest.fixture
def snaps(fs_a: LoopFs) -> Path:
    """Return a directory with one snapshot."""
    live = fs_a.path / "live"
    run("btrfs", "subvolume", "create", live)
    (live / "file").write_text("content", encoding="utf-8")
    snaps = fs_a.path / "snaps"
    snaps.mkdir()
    run("btrfs", "subvolume", "snapshot", "-r", live, snaps / "one")
    return snaps


@pytest.mark.parametrize("text", blocks("authorized_keys"))
class TestALineOfAuthorizedKeys:
    @pytest.fixture
    def served(self, fs_b: LoopFs) -> Path:
        """Return the directory that stands in the place of /bak/a/."""
        served = fs_b.path / "bak" / "a"
        served.mkdir(parents=True)
        return served

    @pytest.fixture(autouse=True)
    def _key(self, text: str, served: Path, server: Sshd) -> None:
        """Let the key of the tests do what the line lets its key do."""
        options, _, key = text.partition(" ssh-ed25519 ")
        assert len(key.splitlines()) == 1
        assert " /bak/a/" in options
        program = "/usr/local/bin/buttersink"
        server.authorize(
            options.replace("/bak/a/", f"{served}/").replace(
                program, str(server.programs / "buttersink")
            )
        )

    def sync(self, server: Sshd, source: Path, destination: Path, *options: str) -> Run:
        return buttersink(
            *options, "--ssh-command", server.ssh_command, f"{source}/", server.url(destination)
        )

    def test_lets_a_client_upload(self, server: Sshd, snaps: Path, served: Path) -> None:
        uploaded = self.sync(server, snaps, served)
        assert uploaded.status == 0, uploaded.stderr
        assert_same_tree(snaps / "one", served / "one")

    def test_lets_a_client_upload_below(self, server: Sshd, snaps: Path, served: Path) -> None:
        uploaded = self.sync(server, snaps, served / "laptop", "--create")
        assert uploaded.status == 0, uploaded.stderr
        assert_same_tree(snaps / "one", served / "laptop" / "one")

    def test_lets_a_client_make_a_dry_run(self, server: Sshd, snaps: Path, served: Path) -> None:
        planned = self.sync(server, snaps, served, "--dry-run")
        assert planned.status == 0, planned.stderr
        assert os.listdir(served) == []

    def test_tells_a_client_that_it_can_not_delete(
        self, server: Sshd, snaps: Path, served: Path
    ) -> None:
        kept = served / "kept"
        run("btrfs", "subvolume", "snapshot", "-r", served.parents[1], kept)
        refused = self.sync(server, snaps, served, "--delete")
        assert refused.status != 0
        assert "in mode a only" in refused.stderr
        assert os.listdir(served) == ["kept"]

    def test_keeps_a_client_out_of_other_directories(
        self, server: Sshd, snaps: Path, served: Path
    ) -> None:
        refused = self.sync(server, snaps, served.parent)
        assert refused.status != 0
        assert f"'{served}/' only" in refused.stderr
        assert os.listdir(served.parent) == ["a"]
