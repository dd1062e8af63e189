"""What the command says of ends that hold streams, mostly of those that can't be used."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.command import Run, buttersink, directory
from support.history import simple_history
from support.s3_servers import S3Server, seaweed_server
from support.stored_ends import BucketEnd, DirectoryEnd, set_up_s3

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.loopfs import LoopFs

NOBODY_LISTENS = "http://127.0.0.1:9"
WITHOUT_BOTO3 = """
import sys
sys.modules["boto3"] = None  # what the import system finds is that there is none
from buttersink.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with seaweed_server() as running:
        yield running


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> BucketEnd:
    set_up_s3(monkeypatch, server)
    return BucketEnd(server)


@pytest.fixture
def streams(scratch: Path) -> DirectoryEnd:
    path = scratch / "streams"
    path.mkdir()
    return DirectoryEnd(path)


def assert_one_line(done: Run, status: int, *words: str) -> None:
    """Check that a run ended with one line for a person, and nothing else."""
    assert (done.status, done.stdout) == (status, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.isprintable()
    assert "Traceback" not in line
    for word in words:
        assert word in line


class TestBuckets:
    def test_that_are_not_there_are_named(self, bucket: BucketEnd, scratch: Path) -> None:
        assert bucket.bucket
        for arguments in (
            ["s3://no-such-bucket/x/"],
            ["s3://no-such-bucket/x/", f"dir://{scratch}/"],
            [f"dir://{scratch}/", "s3://no-such-bucket/x/"],
        ):
            assert_one_line(buttersink(*arguments), 2, "no-such-bucket", "error: ")

    def test_that_are_not_for_us_say_so(
        self, bucket: BucketEnd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        assert_one_line(buttersink(bucket.url), 1, "key")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "NOBODY")
        assert_one_line(buttersink(bucket.url), 1, "key")

    def test_without_credentials_say_where_these_can_be_put(
        self, bucket: BucketEnd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        assert_one_line(buttersink(bucket.url), 1, "credentials", "AWS_ACCESS_KEY_ID")

    def test_of_a_service_that_does_not_answer_are_given_up(
        self, bucket: BucketEnd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        done = buttersink("--endpoint-url", NOBODY_LISTENS, bucket.url)
        assert_one_line(done, 1, NOBODY_LISTENS)

    def test_are_found_at_the_endpoint_that_was_named(
        self, bucket: BucketEnd, server: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", NOBODY_LISTENS)
        done = buttersink("--endpoint-url", server.endpoint_url, bucket.url)
        assert (done.status, done.stderr) == (0, "")

    def test_are_no_destination_for_themselves(self, bucket: BucketEnd) -> None:
        whole = f"s3://{bucket.bucket}/"
        assert_one_line(buttersink(bucket.url, bucket.url), 2, "the same directory")
        done = buttersink("--delete", bucket.url, whole)
        assert_one_line(done, 1, "contains the source", "--force")

    @pytest.mark.parametrize("url", ["ftp://host", "nonsense", "http://"])
    def test_need_an_endpoint_that_is_one(self, bucket: BucketEnd, url: str) -> None:
        done = buttersink("--endpoint-url", url, bucket.url)
        assert_one_line(done, 2, url)

    @pytest.mark.parametrize("name", ["", "x", "-x", "a b", "bucket_@"])
    def test_need_a_name_that_can_be_one(self, name: str) -> None:
        assert_one_line(buttersink(f"s3://{name}/x/"), 2, "no name of a bucket")

    def test_without_boto3_say_how_to_install_it(self, streams: DirectoryEnd) -> None:
        def run(*arguments: str) -> Run:
            done = subprocess.run(
                [sys.executable, "-c", WITHOUT_BOTO3, *arguments],
                check=False,
                capture_output=True,
                text=True,
            )
            return Run(done.returncode, done.stdout, done.stderr)

        assert_one_line(run("s3://bucket/x/"), 2, "pip install", "buttersink[s3]")
        assert_one_line(run(streams.url, "s3://bucket/x/"), 2, "pip install", "buttersink[s3]")
        assert run(streams.url).status == 0


class TestDirectories:
    def test_that_are_missing_are_named(self, streams: DirectoryEnd, scratch: Path) -> None:
        missing = f"dir://{scratch}/no/where/"
        assert_one_line(buttersink(missing), 2, f"{scratch}/no/where", "does not exist")
        assert_one_line(buttersink(missing, streams.url), 2, "does not exist")
        assert_one_line(buttersink(streams.url, missing), 2, "does not exist", "--create")

    @pytest.mark.parametrize("url", ["dir:", "dir://"])
    def test_need_a_path(self, url: str) -> None:
        done = buttersink(url)
        assert done.status in {1, 2}
        assert "Traceback" not in done.stderr

    def test_that_are_files_are_none(self, scratch: Path, streams: DirectoryEnd) -> None:
        (scratch / "file").write_bytes(b"")
        for arguments in ([f"dir://{scratch}/file/"], [streams.url, f"dir://{scratch}/file/"]):
            done = buttersink(*arguments)
            assert (done.status, done.stdout) == (2, ""), done.stderr
            assert "Traceback" not in done.stderr
            assert f"{scratch}/file" in done.stderr

    def test_that_are_empty_are_listed_as_such(self, streams: DirectoryEnd) -> None:
        done = buttersink("--json", streams.url)
        assert done.status == 0
        assert done.the("listed")["snapshots"] == []

    def test_without_snapshots_are_no_source(self, streams: DirectoryEnd, scratch: Path) -> None:
        (scratch / "goal").mkdir()
        assert_one_line(buttersink(streams.url, f"dir://{scratch}/goal/"), 1, "no snapshots")

    def test_are_no_destination_for_themselves(self, streams: DirectoryEnd, scratch: Path) -> None:
        assert_one_line(buttersink(streams.url, streams.url), 2, "the same directory")
        (scratch / "alias").symlink_to(streams.path)
        again = buttersink(streams.url, f"dir://{scratch}/alias/")
        assert_one_line(again, 2, "the same directory")

    def test_that_contain_the_source_are_not_deleted_in(
        self, streams: DirectoryEnd, scratch: Path
    ) -> None:
        done = buttersink("--delete", streams.url, f"dir://{scratch}/")
        assert_one_line(done, 1, "contains the source", "--force")

    @pytest.mark.parametrize("scheme", ["gopher", "dirs", "s3a", "gs"])
    def test_of_unknown_schemes_are_told_with_what_there_is(self, scheme: str) -> None:
        done = buttersink(f"{scheme}://x/y/")
        assert_one_line(done, 2, f"there are no {scheme}:// ends", "s3://", "dir://")


class TestOptions:
    @pytest.mark.parametrize(
        ("option", "value", "words"),
        [
            ("--compress", "gzip", "no compression"),
            ("--compress", "zstd:20", "1 to 19"),
            ("--jobs", "0", "no whole number above 0"),
            ("--max-chain", "0", "no whole number above 0"),
            ("--max-chain", "1.5", "no whole number above 0"),
            ("--max-restore", "0.5", "no number from 1 on"),
            ("--max-restore", "nan", "no number from 1 on"),
            ("--max-restore", "inf", "no number from 1 on"),
            ("--proto", "3", "invalid choice"),
            ("--sse", "rot13", "no encryption"),
            ("--thaw", "-1", "no whole number above 0"),
        ],
    )
    def test_of_wrong_values_are_told_in_one_line(
        self, streams: DirectoryEnd, option: str, value: str, words: str
    ) -> None:
        assert_one_line(buttersink(f"{option}={value}", streams.url), 2, option, words)


@pytest.mark.kernel
class TestSnapshots:
    def test_are_stored_in_a_directory_that_is_made(self, fs_a: LoopFs, scratch: Path) -> None:
        simple_history(fs_a, 2)
        goal = scratch / "new" / "streams"
        source = directory(fs_a.path / "snaps")

        assert buttersink("--create", "--dry-run", source, f"dir://{goal}/").status == 0
        assert not goal.exists()
        done = buttersink("--create", source, f"dir://{goal}/")

        assert done.status == 0, done.stderr
        assert sorted(os.listdir(goal)) == ["1", "2"]

    def test_of_btrfs_go_into_streams_beside_them_and_back(self, fs_a: LoopFs) -> None:
        simple_history(fs_a, 2)
        (fs_a.path / "streams").mkdir()
        source = directory(fs_a.path / "snaps")

        assert buttersink(source, f"dir://{fs_a.path}/streams/").status == 0
        back = buttersink("--json", f"dir://{fs_a.path}/streams/", source)

        assert (back.status, sorted(back.paths("keep"))) == (0, ["1", "2"])

    def test_are_told_of_to_a_person(self, fs_a: LoopFs, bucket: BucketEnd) -> None:
        simple_history(fs_a, 2)

        stored = buttersink(directory(fs_a.path / "snaps"), bucket.url)
        listed = buttersink(bucket.url)

        assert (stored.status, listed.status) == (0, 0)
        for done in (stored, listed):
            lines = (done.stdout + done.stderr).splitlines()
            assert all(line.isprintable() for line in lines)
            assert "Traceback" not in done.stderr
        assert len(listed.stdout.splitlines()) >= 2
