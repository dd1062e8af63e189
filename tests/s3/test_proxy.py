"""The proxy that spoils things has to be right itself: against a tiny server that keeps all."""

from __future__ import annotations

import http.client
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import pytest

from support.faults import Answer, Cut, Fault, Flip, LoseAnswer, Side, Slow, Stall
from support.proxy import S3Proxy
from support.s3_requests import operation

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = bytes(range(256)) * 1000
PART = "/bucket/key?partNumber=1&uploadId=u"
OBJECT = "/bucket/key"
CUT_OFF = (http.client.HTTPException, OSError)


class Seen(NamedTuple):
    method: str
    host: str
    body: bytes


class Keeper(ThreadingHTTPServer):
    """Keeps what came and answers with it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), KeepingHandler)
        self.seen: list[Seen] = []


class KeepingHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Keeper

    def do_PUT(self) -> None:
        body = b""
        if self.headers["Transfer-Encoding"] == "chunked":
            while count := int(self.rfile.readline() or b"0", 16):
                body += self.rfile.read(count)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(body, body)

    def do_GET(self) -> None:
        if "chunked" not in self.path:
            self._answer(b"", DATA)
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start, end in pairwise([*range(0, len(DATA), 9999), len(DATA)]):
            self.wfile.write(b"%x\r\n%b\r\n" % (end - start, DATA[start:end]))
        self.wfile.write(b"0\r\n\r\n")

    def do_HEAD(self) -> None:
        self._answer(b"", DATA)

    def _answer(self, came: bytes, body: bytes) -> None:
        self.server.seen.append(Seen(self.command, self.headers["Host"], came))
        with suppress(OSError):  # whoever asked may have been cut off
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    with Keeper() as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(keeper: Keeper) -> Iterator[S3Proxy]:
    with S3Proxy(keeper.server_port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: S3Proxy) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)) as connection:
        yield connection


def ask(
    client: http.client.HTTPConnection, method: str, target: str, body: bytes | None = None
) -> tuple[int, bytes]:
    client.request(method, target, body)
    response = client.getresponse()
    return response.status, response.read()


@pytest.mark.parametrize(
    ("method", "target", "name"),
    [
        ("GET", "/", "ListBuckets"),
        ("GET", "/b?list-type=2&prefix=a%2F", "ListObjectsV2"),
        ("GET", "/b/?prefix=x", "ListObjects"),
        ("GET", "/b?uploads", "ListMultipartUploads"),
        ("GET", "/b?location", "GET location"),
        ("HEAD", "/b", "HeadBucket"),
        ("PUT", "/b", "CreateBucket"),
        ("POST", "/b?delete", "DeleteObjects"),
        ("PUT", "/b/k/l", "PutObject"),
        ("GET", "/b/k%3Fuploads", "GetObject"),
        ("HEAD", "/b/k", "HeadObject"),
        ("DELETE", "/b/k", "DeleteObject"),
        ("POST", "/b/k?uploads", "CreateMultipartUpload"),
        ("PUT", "/b/k?partNumber=1&uploadId=u", "UploadPart"),
        ("GET", "/b/k?uploadId=u&part-number-marker=3", "ListParts"),
        ("POST", "/b/k?uploadId=u", "CompleteMultipartUpload"),
        ("DELETE", "/b/k?uploadId=u", "AbortMultipartUpload"),
        ("POST", "/b/k?restore", "RestoreObject"),
        ("PUT", "/b/k?tagging", "PUT tagging"),
    ],
)
def test_operations_are_told_by_method_and_query(method: str, target: str, name: str) -> None:
    assert operation(method, target, copies=False) == name


def test_copies_are_told_by_their_header() -> None:
    assert operation("PUT", "/b/k", copies=True) == "CopyObject"
    assert operation("PUT", PART, copies=True) == "UploadPartCopy"


def test_everything_passes_as_it_is_and_is_counted(
    proxy: S3Proxy, client: http.client.HTTPConnection, keeper: Keeper
) -> None:
    assert ask(client, "PUT", PART, DATA) == (200, DATA)
    assert ask(client, "GET", OBJECT) == (200, DATA)
    assert ask(client, "HEAD", OBJECT) == (200, b"")
    assert ask(client, "GET", "/bucket/chunked") == (200, DATA)
    assert ask(client, "PUT", OBJECT, b"") == (200, b"")
    host = f"127.0.0.1:{proxy.port}"
    assert keeper.seen[0] == Seen("PUT", host, DATA)
    assert proxy.counts() == {"UploadPart": 1, "GetObject": 2, "HeadObject": 1, "PutObject": 1}
    assert proxy.body_bytes("UploadPart") == len(DATA)
    assert proxy.body_bytes("GetObject") == 0
    assert proxy.body_bytes("GetObject", Side.RESPONSE) == 2 * len(DATA)
    assert [request.target for request in proxy.requests()][:2] == [PART, OBJECT]


def test_chunked_bodies_pass(
    proxy: S3Proxy, client: http.client.HTTPConnection, keeper: Keeper
) -> None:
    pieces = [DATA[start : start + 7777] for start in range(0, len(DATA), 7777)]
    client.request("PUT", OBJECT, iter(pieces), encode_chunked=True)
    assert client.getresponse().read() == DATA
    assert keeper.seen[0].body == DATA
    assert proxy.body_bytes("PutObject") == len(DATA)


def test_a_body_that_waits_to_be_asked_for_is_asked_for(proxy: S3Proxy, keeper: Keeper) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as sock:
        sock.sendall(
            f"PUT {OBJECT} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
            "Content-Length: 4\r\n\r\n".encode()
        )
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"body")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
    assert keeper.seen == [Seen("PUT", "h", b"body")]


def test_several_connections_pass_at_once(proxy: S3Proxy, keeper: Keeper) -> None:
    def put(number: int) -> bytes:
        with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)) as client:
            return ask(client, "PUT", OBJECT, DATA[number:])[1]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(put, range(20))) == [DATA[number:] for number in range(20)]
    assert proxy.counts()["PutObject"] == len(keeper.seen) == 20


def test_an_injected_error_is_answered_to_the_nth_request_of_its_kind(
    proxy: S3Proxy, client: http.client.HTTPConnection, keeper: Keeper
) -> None:
    proxy.inject(Fault(action=Answer(503, "SlowDown"), operation="UploadPart", first=2, times=2))
    statuses = []
    for target in (PART, OBJECT, PART, OBJECT, PART, PART):
        status, body = ask(client, "PUT", target, DATA)
        statuses.append(status)
        assert (b"SlowDown" in body) == (status == 503)
    assert statuses == [200, 200, 503, 200, 503, 200]
    assert len(keeper.seen) == 4
    assert proxy.counts()["UploadPart"] == 4


def test_a_request_is_cut_before_the_server_hears_of_it(
    proxy: S3Proxy, client: http.client.HTTPConnection, keeper: Keeper
) -> None:
    proxy.inject(Fault(action=Cut()))
    with pytest.raises(CUT_OFF):
        ask(client, "PUT", OBJECT, DATA)
    assert keeper.seen == []
    client.close()
    assert ask(client, "PUT", OBJECT, DATA) == (200, DATA)


def test_a_request_is_cut_in_its_body(
    proxy: S3Proxy, client: http.client.HTTPConnection, keeper: Keeper
) -> None:
    proxy.inject(Fault(action=Cut(Side.REQUEST, 1000)))
    with pytest.raises(CUT_OFF):
        ask(client, "PUT", OBJECT, DATA)
    assert proxy.body_bytes("PutObject") == 1000
    proxy.cut_all()
    assert all(len(seen.body) <= 1000 for seen in keeper.seen)


@pytest.mark.parametrize("target", [OBJECT, "/bucket/chunked"])
def test_an_answer_is_cut_in_its_body(
    proxy: S3Proxy, client: http.client.HTTPConnection, target: str
) -> None:
    proxy.inject(Fault(action=Cut(Side.RESPONSE, 1000)))
    client.request("GET", target)
    with pytest.raises(http.client.IncompleteRead):
        client.getresponse().read()
    assert proxy.body_bytes("GetObject", Side.RESPONSE) == 1000


def test_an_answer_is_lost_after_the_server_has_done_it(
    proxy: S3Proxy, client: http.client.HTTPConnection, keeper: Keeper
) -> None:
    proxy.inject(Fault(action=LoseAnswer(), operation="PutObject"))
    with pytest.raises(CUT_OFF):
        ask(client, "PUT", OBJECT, DATA)
    assert [seen.body for seen in keeper.seen] == [DATA]


@pytest.mark.parametrize(("side", "offset"), [(Side.REQUEST, 200_000), (Side.RESPONSE, 3)])
def test_one_byte_is_flipped(
    proxy: S3Proxy,
    client: http.client.HTTPConnection,
    keeper: Keeper,
    side: Side,
    offset: int,
) -> None:
    proxy.inject(Fault(action=Flip(side, offset)))
    _, answer = ask(client, "PUT", OBJECT, DATA)
    flipped = bytearray(DATA)
    flipped[offset] ^= 0xFF
    assert answer == flipped
    assert keeper.seen[0].body == (flipped if side is Side.REQUEST else DATA)


@pytest.mark.parametrize(
    "action", [Stall(0.05), Stall(0.05, Side.RESPONSE), Slow(Side.REQUEST, 1e7)]
)
def test_what_is_late_is_whole(
    proxy: S3Proxy, client: http.client.HTTPConnection, action: Stall | Slow
) -> None:
    proxy.inject(Fault(action=action))
    assert ask(client, "PUT", OBJECT, DATA) == (200, DATA)


def test_a_fault_comes_once_when_so_many_bytes_have_passed(
    proxy: S3Proxy, client: http.client.HTTPConnection, keeper: Keeper
) -> None:
    at = len(DATA) * 2 + 12_345
    proxy.inject(Fault(action=Cut(), operation="UploadPart", at_total=at))
    for target in (PART, OBJECT, PART):
        assert ask(client, "PUT", target, DATA) == (200, DATA)
    with pytest.raises(CUT_OFF):
        ask(client, "PUT", PART, DATA)
    assert proxy.body_bytes("UploadPart") == at
    client.close()
    assert ask(client, "PUT", PART, DATA) == (200, DATA)
    assert [seen.body for seen in keeper.seen if seen.body != DATA] in ([], [DATA[:12_345]])


def test_forgotten_faults_do_not_come(proxy: S3Proxy, client: http.client.HTTPConnection) -> None:
    proxy.inject(Fault(action=Cut(), times=100))
    proxy.forget_faults()
    assert ask(client, "PUT", OBJECT, DATA) == (200, DATA)


def test_leaving_the_block_ends_a_stall(keeper: Keeper) -> None:
    with S3Proxy(keeper.server_port) as proxy:
        proxy.inject(Fault(action=Stall(3600)))
        client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
        client.request("PUT", OBJECT, DATA)
    with closing(client), pytest.raises(CUT_OFF):
        client.getresponse()
