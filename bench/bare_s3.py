"""A bare client of S3: what a service can do, with nothing checked and nothing remembered.

`python -m bench.bare_s3 upload|download URL BUCKET KEY` moves an object as plainly as boto3 can,
in parts and by several threads, and prints to standard error how many seconds it was moving.
The credentials are those of the environment.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import boto3.session
from botocore.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIPE_BYTES = 1 << 20
_RANGE_BYTES = 8 << 20


class Client:
    """An object on a server."""

    def __init__(self, options: argparse.Namespace) -> None:
        style: Any = {"payload_signing_enabled": False, "addressing_style": "path"}
        config = Config(
            signature_version="s3v4",
            s3=style,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=options.jobs + 2,
        )
        self._s3: Any = boto3.session.Session(region_name="us-east-1").client(
            "s3", endpoint_url=options.url, config=config
        )
        self._object = {"Bucket": options.bucket, "Key": options.key}
        self._jobs = options.jobs

    def upload(self, parts: Iterator[bytearray]) -> None:
        """Store what is in `parts`."""
        address = {
            **self._object,
            "UploadId": self._s3.create_multipart_upload(**self._object)["UploadId"],
        }

        def send(number: int, data: bytearray) -> dict[str, Any]:
            answer = self._s3.upload_part(PartNumber=number, Body=data, **address)
            return {"PartNumber": number, "ETag": answer["ETag"]}

        done: list[dict[str, Any]] = []
        sending: deque[Future[dict[str, Any]]] = deque()
        with ThreadPoolExecutor(self._jobs) as threads:
            for number, data in enumerate(parts, 1):
                if len(sending) == self._jobs:
                    done.append(sending.popleft().result())
                sending.append(threads.submit(send, number, data))
            done += [future.result() for future in sending]
        self._s3.complete_multipart_upload(MultipartUpload={"Parts": done}, **address)

    def download(self, output_fd: int) -> None:
        """Write all of the object to a descriptor."""
        nbytes = self._s3.head_object(**self._object)["ContentLength"]

        def fetch(start: int) -> bytes:
            span = f"bytes={start}-{min(start + _RANGE_BYTES, nbytes) - 1}"
            data: bytes = self._s3.get_object(Range=span, **self._object)["Body"].read()
            return data

        waiting: deque[Future[bytes]] = deque()
        with ThreadPoolExecutor(self._jobs) as threads:
            for start in range(0, nbytes, _RANGE_BYTES):
                waiting.append(threads.submit(fetch, start))
                if len(waiting) > self._jobs:
                    _write(output_fd, waiting.popleft().result())
            while waiting:
                _write(output_fd, waiting.popleft().result())


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _parts_of_pipe(fd: int, part_bytes: int) -> Iterator[bytearray]:
    """Yield what comes through a pipe."""
    while True:
        part = bytearray(part_bytes)
        room = memoryview(part)
        while room and (count := os.readv(fd, [room])):
            room = room[count:]
        missing = len(room)
        room.release()
        del part[part_bytes - missing :]
        if part:
            yield part
        if missing:
            return


def _parts_of_memory(nbytes: int, part_bytes: int) -> Iterator[bytearray]:
    """Yield the same random bytes again and again."""
    part = bytearray(os.urandom(part_bytes))
    while nbytes > 0:
        yield part if nbytes >= part_bytes else part[:nbytes]
        nbytes -= part_bytes


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.bare_s3")
    parser.add_argument("action", choices=("upload", "download"))
    parser.add_argument("url")
    parser.add_argument("bucket")
    parser.add_argument("key")
    parser.add_argument("--part-mib", type=int, default=16)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--nbytes", type=int, help="upload so much random data, not the input")
    options = parser.parse_args()
    client = Client(options)
    for fd in (0, 1):
        with suppress(OSError):  # no pipe
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    part_bytes = options.part_mib << 20
    start = time.perf_counter()
    if options.action == "download":
        client.download(1)
    elif options.nbytes is None:
        client.upload(_parts_of_pipe(0, part_bytes))
    else:
        client.upload(_parts_of_memory(options.nbytes, part_bytes))
    print(f"{time.perf_counter() - start:.6f}", file=sys.stderr)


main()
