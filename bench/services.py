"""Servers that speak S3 on this machine, and the commands of plain clients of them."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from bench.ground import program, run, words
from support.s3_servers import S3Server, seaweed_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    Serve = Callable[[Path], AbstractContextManager[S3Server]]

__all__ = ["JOBS", "PART_MIB", "S3Server", "Serve", "bare", "juicefs", "rclone", "seaweedfs"]

PART_MIB = 16
JOBS = 4

_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.05


@contextmanager
def juicefs(directory: Path) -> Iterator[S3Server]:
    """Run a gateway of JuiceFS, which keeps all in files of a new directory in `directory`."""
    home = tempfile.mkdtemp(prefix="juicefs-", dir=directory)
    database = f"sqlite3://{home}/meta.db"
    run(
        *(program("juicefs"), "format", "--no-update", "--storage", "file"),
        *("--bucket", f"{home}/objects/", "--trash-days", "0", database, "bench"),
    )
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    server = S3Server("juicefs", f"http://127.0.0.1:{port}")
    process = subprocess.Popen(
        [
            *(program("juicefs"), "gateway", database, f"127.0.0.1:{port}", "--multi-buckets"),
            *("--keep-etag", "--no-usage-report", "--cache-size", "0"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={
            "HOME": home,
            "MINIO_ROOT_USER": server.access_key,
            "MINIO_ROOT_PASSWORD": server.secret_key,
        },
    )
    try:
        _wait_until_it_answers(server)
        yield server
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(home)


@contextmanager
def seaweedfs(directory: Path) -> Iterator[S3Server]:
    """Run SeaweedFS, which keeps all in files of a new directory in `directory`."""
    usual, tempfile.tempdir = tempfile.tempdir, str(directory)
    try:
        with seaweed_server() as server:
            yield server
    finally:
        tempfile.tempdir = usual


def rclone(server: S3Server, *arguments: str) -> str:
    """Return a command of rclone, to which the server is `s3:`."""
    settings = {
        "PROVIDER": "Other",
        "ENDPOINT": server.endpoint_url,
        "ACCESS_KEY_ID": server.access_key,
        "SECRET_ACCESS_KEY": server.secret_key,
        "CHUNK_SIZE": f"{PART_MIB}Mi",
        "UPLOAD_CONCURRENCY": str(JOBS),
        "NO_CHECK_BUCKET": "true",
    }
    variables = [f"RCLONE_S3_{name}={value}" for name, value in settings.items()]
    where = [argument.replace("s3:", ":s3:", 1) for argument in arguments]
    return words("env", *variables, program("rclone"), "--config", "", *where)


def bare(
    server: S3Server, action: str, bucket: str, key: str, *options: str, part_mib: int = PART_MIB
) -> str:
    """Return a command of the bare client; see `bench.bare_s3`."""
    address = (server.endpoint_url, bucket, key)
    shape = ("--part-mib", str(part_mib), "--jobs", str(JOBS))
    return words(sys.executable, "-m", "bench.bare_s3", action, *address, *shape, *options)


def _wait_until_it_answers(server: S3Server) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    client = server.client()
    while True:
        try:
            client.list_buckets()
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{server.endpoint_url} does not answer") from error
            time.sleep(_POLL_SECONDS)
        else:
            return
