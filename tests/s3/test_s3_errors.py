"""What a user is told, by what was answered."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import (
    ButterSinkError,
    MissingError,
    NotPermittedError,
    TransferError,
    UnavailableError,
    UsageError,
)
from buttersink.stores.s3.digests import what_differs
from buttersink.stores.s3.settings import S3Settings
from buttersink.stores.shelf import SentPart
from s3.faulty_proxy import Trouble, proxy_before, xml_error
from s3.samples import stored

if TYPE_CHECKING:
    from s3.conftest import OpenShelf
    from support.s3_servers import S3Server

ANSWERS = [
    (404, "NoSuchBucket", UsageError, "no such bucket"),
    (403, "AccessDenied", NotPermittedError, "s3:ListBucket is not allowed"),
    (403, "InvalidAccessKeyId", NotPermittedError, "access key is unknown"),
    (403, "SignatureDoesNotMatch", NotPermittedError, "secret key"),
    (403, "RequestTimeTooSkewed", NotPermittedError, "clock"),
    (400, "ExpiredToken", NotPermittedError, "token is not valid any more"),
    (301, "PermanentRedirect", UsageError, "another region"),
    (400, "AuthorizationHeaderMalformed", UsageError, "another region"),
    (400, "IllegalLocationConstraintException", UsageError, "another region"),
    (503, "SlowDown", UnavailableError, "overloaded"),
    (500, "InternalError", UnavailableError, "internal error"),
    (500, "NeverHeardOf", UnavailableError, "internal error"),
    (418, "NeverHeardOf", TransferError, "refused: NeverHeardOf: told by the test"),
    (400, "KMS.DisabledException", NotPermittedError, "encryption key"),
    (501, "NotImplemented", TransferError, "can't do that"),
    (400, "EntityTooSmall", TransferError, "too small"),
    (400, "InvalidPart", TransferError, "not what was sent"),
    (400, "InvalidStorageClass", UsageError, "storage class"),
    (403, "InvalidObjectState", TransferError, "archived"),
    (404, "NoSuchKey", MissingError, "no such object"),
    (404, "NoSuchUpload", MissingError, "upload is not there"),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: str(answer[1]))
def test_each_answer_has_its_words(
    moto: S3Server, shelf_of: OpenShelf, answer: tuple[int, str, type[ButterSinkError], str]
) -> None:
    status, code, kind, text = answer
    with proxy_before(moto) as proxy:
        shelf = shelf_of(proxy.server, retry_seconds=0.0)
        proxy.trouble(Trouble(operation="ListObjectsV2", status=status, body=xml_error(code)))
        with pytest.raises(ButterSinkError, match=text) as caught:
            list(shelf.objects("p/"))
    assert type(caught.value) is kind
    assert caught.value.message.startswith(f"listing {shelf.name}p/: ")
    assert "\n" not in str(caught.value)


def test_an_endpoint_that_redirects_all_is_told_so(moto: S3Server, shelf_of: OpenShelf) -> None:
    with proxy_before(moto) as proxy:
        shelf = shelf_of(proxy.server, retry_seconds=0.0)
        proxy.trouble(Trouble(status=301))
        with pytest.raises(UsageError, match="the service redirects requests"):
            list(shelf.objects("p/"))


def test_what_the_service_says_was_denied_is_named(moto: S3Server, shelf_of: OpenShelf) -> None:
    said = "User: arn:aws:iam::1:user/a is not authorized to perform: kms:GenerateDataKey on"
    with proxy_before(moto) as proxy:
        shelf = shelf_of(proxy.server)
        proxy.trouble(Trouble(status=403, body=xml_error("AccessDenied", said)))
        with pytest.raises(NotPermittedError, match="kms:GenerateDataKey is not allowed"):
            shelf.put("p/key", b"content")


def test_an_answer_that_is_not_of_s3_is_told_in_one_line(
    moto: S3Server, shelf_of: OpenShelf
) -> None:
    with proxy_before(moto) as proxy:
        shelf = shelf_of(proxy.server, retry_seconds=0.0)
        proxy.trouble(Trouble(status=200, body=b"<html>\n<p>Welcome to nginx!</html"))
        with pytest.raises(UnavailableError) as caught:
            list(shelf.objects("p/"))
    assert "\n" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_named(shelf_of: OpenShelf, server: S3Server) -> None:
    shelf = shelf_of(server, "not-there")
    with pytest.raises(UsageError, match="listing s3://not-there/: there is no such bucket"):
        list(shelf.objects(""))


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("AWS_ACCESS_KEY_ID", "access key is unknown"),
        ("AWS_SECRET_ACCESS_KEY", "secret key does not belong"),
    ],
)
def test_wrong_credentials_are_told_apart(
    seaweed: S3Server,
    shelf_of: OpenShelf,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    text: str,
) -> None:
    bucket = seaweed.fresh_bucket()
    shelf_of(seaweed, bucket)
    monkeypatch.setenv(variable, "wrong")
    monkeypatch.setattr(type(seaweed), "environment", lambda _server: {})
    with pytest.raises(NotPermittedError, match=text):
        list(shelf_of(seaweed, bucket).objects(""))


def test_a_key_that_is_not_utf8_is_refused(moto: S3Server, shelf_of: OpenShelf) -> None:
    with pytest.raises(UsageError, match="can't be used"):
        shelf_of(moto).stat("p/\udcff")


def test_what_a_failed_look_needs_is_named(moto: S3Server, shelf_of: OpenShelf) -> None:
    with proxy_before(moto) as proxy:
        shelf = shelf_of(proxy.server)
        proxy.trouble(Trouble(status=403))
        with pytest.raises(NotPermittedError, match="s3:GetObject or s3:ListBucket"):
            stored(shelf, "p/key")


@pytest.mark.parametrize("wrong", [{"sse": "rot13"}, {"part_count": 0}, {"jobs": 0}])
def test_settings_that_cant_be_are_refused(wrong: dict[str, int]) -> None:
    given: dict[str, object] = {"bucket": "b", "state_directory": "/s", **wrong}
    with pytest.raises(UsageError):
        S3Settings(**given)  # type: ignore[arg-type]  # wrong on purpose


def _answer(pieces: list[bytes], **changes: object) -> dict[str, object]:
    md5s = b"".join(hashlib.md5(piece).digest() for piece in pieces)
    etag = f'"{hashlib.md5(md5s).hexdigest()}-{len(pieces)}"'
    nbytes = sum(map(len, pieces))
    when = datetime(2026, 1, 1, tzinfo=UTC)
    return {"ContentLength": nbytes, "ETag": etag, "LastModified": when, **changes}


def _parts(pieces: list[bytes]) -> list[SentPart]:
    return [
        SentPart(
            number=number,
            nbytes=len(piece),
            sha256=hashlib.sha256(piece).hexdigest(),
            tag=hashlib.md5(piece).hexdigest(),
        )
        for number, piece in enumerate(pieces, 1)
    ]


PIECES = st.lists(st.binary(min_size=1), min_size=1, max_size=5)


@given(PIECES)
def test_what_was_sent_is_recognised(pieces: list[bytes]) -> None:
    assert what_differs(_answer(pieces), _parts(pieces)) == ""


@given(PIECES, PIECES)
def test_what_was_not_sent_is_noticed(pieces: list[bytes], others: list[bytes]) -> None:
    assert bool(what_differs(_answer(others), _parts(pieces))) == (pieces != others)


@given(PIECES)
def test_an_etag_that_is_no_md5_proves_nothing(pieces: list[bytes]) -> None:
    opaque = _answer(pieces, ETag='"0123456789abcdef0123456789abcdef-9"')
    assert what_differs(opaque, _parts(pieces)) == "its ETag is not that of the parts"
    assert what_differs({**opaque, "ServerSideEncryption": "aws:kms"}, _parts(pieces)) == ""
    assert what_differs({**opaque, "ETag": '"of-another-kind"'}, _parts(pieces)) == ""


def test_a_checksum_of_the_parts_counts_more_than_an_etag() -> None:
    pieces = [b"content"]
    composite = "hmACHE+/pJqBimLqYMkj7h8cxlEaDJb2+9T3wcRvcxU=-1"
    assert what_differs(_answer(pieces, ChecksumSHA256=composite), _parts(pieces)) != ""
