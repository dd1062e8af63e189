"""An HTTP proxy in front of a server that makes trouble with chosen requests."""

from __future__ import annotations

import http.client
import socket
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from support.s3_servers import S3Server

_KEPT_BY_PROXY: Final = frozenset({"connection", "transfer-encoding", "content-length", "expect"})


def xml_error(code: str, message: str = "told by the test", extra: str = "") -> bytes:
    """Return the body of an error as S3 has it."""
    text = f"<Error><Code>{code}</Code><Message>{message}</Message>{extra}</Error>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


def flipped(body: bytes) -> bytes:
    """Return the body with one bit changed."""
    return bytes([body[0] ^ 1]) + body[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What happens to some requests.

    Attributes:
        operation: To which; empty for all.
        times: To how many of them.
        when: Tells from the headers whether to this one.
        status: Answer with this status instead of asking the server.
        body: The body of that answer.
        is_dropped: Close the connection instead.
        is_lost: Close the connection once the server has answered.
        cut_at: Close the connection after so many bytes of the server's answer.
        edit_request: Change the request's body.
        query: Add to the request's query.
        without_header: Take away from the request.
        edit: Change the body of the server's answer.
    """

    operation: str = ""
    times: int = 1_000_000
    when: Callable[[Mapping[str, str]], bool] = lambda _headers: True
    status: int = 0
    body: bytes = b""
    is_dropped: bool = False
    is_lost: bool = False
    cut_at: int | None = None
    edit_request: Callable[[bytes], bytes] = lambda body: body
    query: str = ""
    without_header: str = ""
    edit: Callable[[bytes], bytes] = lambda body: body


class FaultyProxy(ThreadingHTTPServer):
    """Passes requests on to a server, but for those with which there is to be trouble."""

    daemon_threads = True

    def __init__(self, server: S3Server) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        target = urlsplit(server.endpoint_url)
        self.target = (target.hostname or "", target.port or 80)
        self.server = replace(server, endpoint_url=f"http://127.0.0.1:{self.server_address[1]}")
        self.operations: list[str] = []
        self._troubles: list[Trouble] = []
        self._lock = Lock()

    def trouble(self, trouble: Trouble) -> None:
        """Make trouble from now on."""
        with self._lock:
            self._troubles.append(trouble)

    def peace(self) -> None:
        """End all trouble, and forget what there was."""
        with self._lock:
            self._troubles.clear()
            self.operations.clear()

    def met(self, operation: str, headers: Mapping[str, str]) -> Trouble | None:
        """Note a request, and return what is to happen to it."""
        with self._lock:
            self.operations.append(operation)
            for place, trouble in enumerate(self._troubles):
                applies = trouble.operation in {"", operation} and trouble.when(headers)
                if applies and trouble.times > 0:
                    self._troubles[place] = replace(trouble, times=trouble.times - 1)
                    return trouble
        return None

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up."""


@contextmanager
def proxy_before(server: S3Server) -> Iterator[FaultyProxy]:
    """Run a proxy; its `server` is the one to talk to."""
    with FaultyProxy(server) as proxy:
        thread = Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def log_message(self, *_arguments: object) -> None:
        pass

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in {"expect", "content-length"}  # it may come to be another
        }
        trouble = self.server.met(_operation(self.command, self.path, headers), headers)
        trouble = trouble or Trouble()
        if trouble.is_dropped:
            self._hang_up()
        elif trouble.status:
            self._answer(trouble.status, {}, trouble.body)
        else:
            body = trouble.edit_request(body)
            headers.pop(trouble.without_header, None)
            path = self.path
            if trouble.query:
                path += ("&" if "?" in path else "?") + trouble.query
            self._ask(path, body, headers, trouble)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815 - http.server's names

    def _ask(self, path: str, body: bytes, headers: dict[str, str], trouble: Trouble) -> None:
        connection = http.client.HTTPConnection(*self.server.target, timeout=60)
        try:
            connection.request(self.command, path, body=body, headers=headers)
            answer = connection.getresponse()
            got = trouble.edit(answer.read())
            if trouble.is_lost:
                self._hang_up()
            else:
                told = dict(answer.getheaders())
                self._answer(answer.status, told, got, cut_at=trouble.cut_at)
        finally:
            connection.close()

    def _answer(
        self, status: int, headers: Mapping[str, str], body: bytes, *, cut_at: int | None = None
    ) -> None:
        nbytes = str(len(body))
        if self.command == "HEAD":
            nbytes = headers.get("Content-Length", headers.get("content-length", "0"))
            body = b""
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _KEPT_BY_PROXY:
                self.send_header(name, value)
        self.send_header("Content-Length", nbytes)
        self.end_headers()
        self.wfile.write(body[:cut_at])
        if cut_at is not None:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def _operation(method: str, path: str, headers: Mapping[str, str]) -> str:
    """Return the name of the operation, as AWS has it."""
    query = parse_qs(urlsplit(path).query, keep_blank_values=True)
    is_copy = any(name.lower() == "x-amz-copy-source" for name in headers)
    kind = next((name for name in ("uploadId", "uploads", "list-type") if name in query), "")
    return {
        ("GET", "list-type"): "ListObjectsV2",
        ("GET", "uploads"): "ListMultipartUploads",
        ("GET", "uploadId"): "ListParts",
        ("GET", ""): "GetObject",
        ("HEAD", ""): "HeadObject",
        ("POST", "uploads"): "CreateMultipartUpload",
        ("PUT", "uploadId"): "UploadPartCopy" if is_copy else "UploadPart",
        ("POST", "uploadId"): "CompleteMultipartUpload",
        ("DELETE", "uploadId"): "AbortMultipartUpload",
        ("PUT", ""): "CopyObject" if is_copy else "PutObject",
        ("DELETE", ""): "DeleteObject",
        ("POST", ""): "RestoreObject",
    }[method, kind]
