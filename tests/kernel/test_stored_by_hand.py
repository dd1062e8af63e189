"""Everything can be restored without ButterSink, with the commands that the documentation has."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.command import sync
from support.history import simple_history
from support.stored_ends import BucketEnd, DirectoryEnd, StoredEnd, needed_program
from support.subvolume_facts import own_uuid, show
from support.tree import assert_same_tree

if TYPE_CHECKING:
    from support.loopfs import LoopFs

PAGE = Path(__file__).parent.parent.parent / "docs" / "stored-streams.md"
EXAMPLE = "5a7c0a52-3a7e-4d6f-9c0e-0a4f7f2f9f4e"
"""The snapshot that the documentation restores."""

LINKS = ["3", "2", "1"]


def shell_block(*words: str) -> str:
    """Return the block of shell commands in the documentation that has all these words."""
    blocks = re.findall(
        r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    (block,) = (block for block in blocks if all(word in block for word in words))
    return str(block)


def chain_function() -> str:
    """Return the function that tells which streams a snapshot needs."""
    block = shell_block("chain() {")
    return block[block.index("chain() {") : block.index(f"\nchain {EXAMPLE}")]


def listing_command() -> str:
    """Return the command that lists the keys in a bucket."""
    return next(line for line in shell_block("chain() {").splitlines() if "s3api" in line)


def shell(script: str, directory: Path) -> str:
    """Run commands; any that fails ends it."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        check=False,
        capture_output=True,
        text=True,
        cwd=directory,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def originals(fs_a: LoopFs) -> dict[str, Path]:
    for program in ("zstd", "curl"):
        needed_program(program)
    return {path.name: path for path in simple_history(fs_a, len(LINKS))}


@pytest.fixture
def work(scratch: Path) -> Path:
    path = scratch / "work"
    path.mkdir()
    return path


def stored(end: StoredEnd, originals: dict[str, Path]) -> str:
    """Store the snapshots; return the uuid of the one with the longest chain."""
    steps = sync(originals["1"].parent, end.url).steps("send")
    assert [step["path"] for step in steps] == LINKS
    assert steps[-1]["chain"]["links"] == len(LINKS)
    return own_uuid(originals[LINKS[-1]])


def assert_received(directory: Path, originals: dict[str, Path], *names: str) -> None:
    for name in names:
        assert_same_tree(originals[name], directory / name)
        assert show(directory / name, "Received UUID") == own_uuid(originals[name])


class TestADirectory:
    def test_is_restored_by_the_documented_commands(
        self, directory_end: DirectoryEnd, originals: dict[str, Path], fs_b: LoopFs, work: Path
    ) -> None:
        uuid = stored(directory_end, originals)
        restore = shell_block("set -e\n", "chain ", "done < todo").replace(EXAMPLE, uuid)
        for example, real in (("/backup", directory_end.path), ("/mnt/restore", fs_b.path)):
            restore = restore.replace(example, str(real))

        shell(
            f"(cd {directory_end.path} && find . -type f | sed 's|^\\./||') > keys\n"
            f"{chain_function()}\n{restore}",
            work,
        )

        for name in LINKS:
            assert_received(fs_b.path / own_uuid(originals[name]), originals, name)

    def test_can_be_fetched_by_url(
        self, directory_end: DirectoryEnd, originals: dict[str, Path], fs_b: LoopFs, work: Path
    ) -> None:
        uuid = stored(directory_end, originals)
        (work / "keys").write_text("".join(f"{key}\n" for key in directory_end.stored_keys()))

        shell(
            f"{chain_function()}\n"
            f"chain {uuid} > todo\n"
            "while read -r key; do\n"
            f'    curl -sSf "file://{directory_end.path}/$key" | zstd -dc | '
            f"btrfs receive {fs_b.path}\n"
            "done < todo",
            work,
        )

        assert_received(fs_b.path, originals, *LINKS)


class TestABucket:
    @pytest.fixture
    def environment(self, bucket_end: BucketEnd, monkeypatch: pytest.MonkeyPatch) -> BucketEnd:
        """Let other programs reach the bucket."""
        url = os.environ["AWS_ENDPOINT_URL"]
        for name, value in {
            "AWS_DEFAULT_REGION": "us-east-1",
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_S3_PROVIDER": "SeaweedFS",
            "RCLONE_S3_ENV_AUTH": "true",
            "RCLONE_S3_ENDPOINT": url,
        }.items():
            monkeypatch.setenv(name, value)
        return bucket_end

    def test_is_restored_by_the_documented_commands(
        self,
        environment: BucketEnd,
        originals: dict[str, Path],
        fs_b: LoopFs,
        work: Path,
    ) -> None:
        aws = needed_program("aws")
        uuid = stored(environment, originals)
        listing = listing_command().replace("--bucket bucket", f"--bucket {environment.bucket}")
        listing = listing.replace("laptop/", environment.prefix)
        (example, *_) = shell_block("aws s3 cp").splitlines()
        command = re.sub(r"s3://\S+", f's3://{environment.bucket}/"$key"', example)
        command = command.replace("/mnt/restore", str(fs_b.path))

        shell(
            f'aws() {{ {shlex.quote(aws)} --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }}\n'
            f"{listing}\n{chain_function()}\n"
            f"chain {uuid} > todo\n"
            f"while read -r key; do {command}; done < todo",
            work,
        )

        assert_received(fs_b.path, originals, *LINKS)

    def test_can_be_read_by_rclone(
        self,
        environment: BucketEnd,
        originals: dict[str, Path],
        fs_b: LoopFs,
        work: Path,
    ) -> None:
        rclone = os.path.join(sysconfig.get_path("scripts"), "rclone")
        uuid = stored(environment, originals)

        shell(
            f"{rclone} lsf -R --files-only :s3:{environment.bucket} > keys\n"
            f"{chain_function()}\n"
            f"chain {uuid} > todo\n"
            "while read -r key; do\n"
            f'    {rclone} cat ":s3:{environment.bucket}/$key" | zstd -dc | '
            f"btrfs receive {fs_b.path}\n"
            "done < todo",
            work,
        )

        assert_received(fs_b.path, originals, *LINKS)
