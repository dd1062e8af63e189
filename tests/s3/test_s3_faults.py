"""What happens when requests fail on the way, are answered wrongly, or not at all."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import (
    ButterSinkError,
    NotPermittedError,
    TransferError,
    UnavailableError,
    UsageError,
)
from s3.faulty_proxy import FaultyProxy, Trouble, flipped, proxy_before, xml_error
from s3.samples import LEAST_PART, content, noise, send, sha256, store, stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from s3.conftest import OpenShelf
    from support.s3_servers import S3Server

OFTEN = 3
"""More attempts than boto3 makes by itself."""

KINDS = [
    *("ListObjectsV2", "ListMultipartUploads", "ListParts", "GetObject", "HeadObject"),
    *("CreateMultipartUpload", "UploadPart", "UploadPartCopy", "CompleteMultipartUpload"),
    *("AbortMultipartUpload", "CopyObject", "PutObject", "DeleteObject"),
]


@pytest.fixture
def proxy(server: S3Server) -> Iterator[FaultyProxy]:
    with proxy_before(server) as found:
        yield found


@pytest.fixture
def moto_proxy(moto: S3Server) -> Iterator[FaultyProxy]:
    with proxy_before(moto) as found:
        yield found


@pytest.mark.parametrize("code", ["SlowDown", "InternalError"])
def test_every_kind_of_request_is_repeated(
    moto_proxy: FaultyProxy, shelf_of: OpenShelf, code: str
) -> None:
    shelf = shelf_of(moto_proxy.server, copy_limit=LEAST_PART)
    shelf.put("p/old", b"content")  # tries out the service, before there is trouble
    for operation in KINDS:
        times = OFTEN if operation in {"UploadPart", "CompleteMultipartUpload"} else 1
        moto_proxy.trouble(
            Trouble(operation=operation, times=times, status=503, body=xml_error(code))
        )
    upload = shelf.begin("p/key")
    parts = send(upload, [noise(LEAST_PART), b"end"])
    assert [found.nbytes for found in shelf.uploads("p/")] == [LEAST_PART + 3]
    upload.complete(parts)
    shelf.begin("p/none").abort()
    assert [thing.key for thing in shelf.objects("p/")] == ["p/key", "p/old"]
    for key in ("p/key", "p/old"):
        shelf.move(stored(shelf, key), f"trash/{key}")
    shelf.put("p/new", b"new")
    assert content(shelf, "trash/p/key") == noise(LEAST_PART) + b"end"


@pytest.mark.parametrize("operation", ["UploadPart", "GetObject", "HeadObject"])
def test_a_broken_connection_is_made_anew(
    proxy: FaultyProxy, shelf_of: OpenShelf, operation: str
) -> None:
    shelf = shelf_of(proxy.server)
    upload = shelf.begin("p/key")
    proxy.trouble(Trouble(operation=operation, times=OFTEN, is_dropped=True))
    upload.complete(send(upload, [noise(LEAST_PART), b"end"]))
    assert content(shelf, "p/key") == noise(LEAST_PART) + b"end"


def test_reading_goes_on_where_it_broke_off(proxy: FaultyProxy, shelf_of: OpenShelf) -> None:
    shelf = shelf_of(proxy.server)
    data = noise(4 << 20)
    shelf.put("p/key", data)
    thing = stored(shelf, "p/key")
    proxy.trouble(Trouble(operation="GetObject", times=1, cut_at=(1 << 20) + 5))
    proxy.trouble(Trouble(operation="GetObject", times=1, cut_at=(2 << 20) - 1))
    assert shelf.read(thing, 7, len(data) - 9) == data[7:-2]
    assert proxy.operations.count("GetObject") == 3


@pytest.mark.parametrize("status", [200, 500])
def test_completing_may_be_answered_with_an_error(
    proxy: FaultyProxy, shelf_of: OpenShelf, status: int
) -> None:
    shelf = shelf_of(proxy.server)
    proxy.trouble(
        Trouble(
            operation="CompleteMultipartUpload",
            times=OFTEN,
            status=status,
            body=xml_error("InternalError"),
        )
    )
    assert store(shelf, "p/key", [b"content"]) == stored(shelf, "p/key")


def test_completing_may_succeed_though_its_answer_is_lost(
    proxy: FaultyProxy, shelf_of: OpenShelf
) -> None:
    shelf = shelf_of(proxy.server)
    proxy.trouble(Trouble(operation="CompleteMultipartUpload", times=1, is_lost=True))
    pieces = [noise(LEAST_PART), b"end"]
    assert store(shelf, "p/key", pieces).nbytes == LEAST_PART + 3
    assert content(shelf, "p/key") == b"".join(pieces)
    assert list(shelf.uploads("")) == []


def test_storing_a_small_object_may_succeed_though_its_answer_is_lost(
    proxy: FaultyProxy, shelf_of: OpenShelf
) -> None:
    shelf = shelf_of(proxy.server)
    proxy.trouble(Trouble(operation="PutObject", times=1, is_lost=True))
    shelf.put("p/key", b"content", replace=False)
    assert content(shelf, "p/key") == b"content"


def test_a_part_damaged_on_the_way_is_sent_again(proxy: FaultyProxy, shelf_of: OpenShelf) -> None:
    shelf = shelf_of(proxy.server)
    upload = shelf.begin("p/key")
    proxy.trouble(Trouble(operation="UploadPart", times=1, edit_request=flipped))
    upload.complete(send(upload, [b"content"]))
    assert content(shelf, "p/key") == b"content"


def test_a_small_object_damaged_on_the_way_is_sent_again(
    proxy: FaultyProxy, shelf_of: OpenShelf
) -> None:
    shelf = shelf_of(proxy.server)
    proxy.trouble(Trouble(operation="PutObject", times=1, edit_request=flipped))
    shelf.put("p/key", b"content", replace=False)
    assert content(shelf, "p/key") == b"content"


def test_a_small_object_that_is_damaged_each_time_is_not_left_there(
    moto_proxy: FaultyProxy, shelf_of: OpenShelf
) -> None:
    shelf = shelf_of(moto_proxy.server)  # which stores what belies its checksum
    moto_proxy.trouble(Trouble(operation="PutObject", edit_request=flipped))
    with pytest.raises(TransferError, match="arrived damaged 3 times"):
        shelf.put("p/key", b"content", replace=False)
    assert shelf.stat("p/key") is None


def test_a_part_that_is_damaged_each_time_is_given_up(
    proxy: FaultyProxy, shelf_of: OpenShelf
) -> None:
    upload = shelf_of(proxy.server).begin("p/key")
    proxy.trouble(Trouble(operation="UploadPart", edit_request=flipped))
    with pytest.raises(TransferError, match="arrived damaged 3 times"):
        upload.put(1, 0, b"content", sha256(b"content"))


def test_an_object_that_is_not_what_was_sent_does_not_stay(
    proxy: FaultyProxy, shelf_of: OpenShelf
) -> None:
    def without_last_part(body: bytes) -> bytes:
        return re.sub(rb"<Part>(?:(?!<Part>).)*</Part></Comp", b"</Comp", body, flags=re.DOTALL)

    shelf = shelf_of(proxy.server)
    upload = shelf.begin("p/key")
    parts = send(upload, [noise(LEAST_PART), b"end"])
    proxy.trouble(Trouble(operation="CompleteMultipartUpload", edit_request=without_last_part))
    with pytest.raises(TransferError, match="5242880 bytes instead of 5242883"):
        upload.complete(parts)
    assert shelf.stat("p/key") is None


def test_a_part_that_was_replaced_is_not_taken_for_the_one_that_was_sent(
    server: S3Server, shelf_of: OpenShelf
) -> None:
    shelf = shelf_of(server)
    upload = shelf.begin("p/key")
    (part,) = send(upload, [b"content"])
    assert upload.put(1, 0, b"another", sha256(b"another")) != part.tag
    try:
        upload.complete([part])
    except ButterSinkError:
        assert shelf.stat("p/key") is None
    else:
        assert content(shelf, "p/key") == b"content"


def test_other_bytes_than_were_asked_for_are_not_taken(
    moto_proxy: FaultyProxy, shelf_of: OpenShelf
) -> None:
    shelf = shelf_of(moto_proxy.server)
    shelf.put("p/key", b"content")
    moto_proxy.trouble(Trouble(operation="GetObject", without_header="Range"))
    thing = stored(shelf, "p/key")
    with pytest.raises(TransferError, match="other bytes"):
        shelf.read(thing, 3, 2)
    assert shelf.read(thing, 0, 2) == b"co"


@pytest.mark.parametrize(
    ("status", "code"), [(501, "NotImplemented"), (400, "InvalidArgument"), (500, "InternalError")]
)
def test_a_service_that_cant_encrypt_stores_with_a_note(
    moto_proxy: FaultyProxy, shelf_of: OpenShelf, status: int, code: str
) -> None:
    moto_proxy.trouble(Trouble(when=_asks_for_encryption, status=status, body=xml_error(code)))
    shelf = shelf_of(moto_proxy.server)
    store(shelf, "p/key", [b"content"])
    shelf.put("p/other", b"content")
    assert len(shelf.notes) == 1
    assert "can't encrypt" in shelf.notes[0]
    assert [thing.key for thing in shelf.objects("")] == ["p/key", "p/other"]


def test_encryption_is_not_given_up_for_a_failure_that_passes(
    moto_proxy: FaultyProxy, shelf_of: OpenShelf
) -> None:
    moto_proxy.trouble(
        Trouble(when=_asks_for_encryption, times=OFTEN, status=500, body=xml_error("InternalError"))
    )
    shelf = shelf_of(moto_proxy.server)
    shelf.put("p/key", b"content")
    assert shelf.notes == ()


def test_encryption_with_a_key_is_never_given_up(
    moto_proxy: FaultyProxy, shelf_of: OpenShelf
) -> None:
    moto_proxy.trouble(
        Trouble(when=_asks_for_encryption, status=501, body=xml_error("NotImplemented"))
    )
    shelf = shelf_of(moto_proxy.server, sse="aws:kms:alias/backup")
    with pytest.raises(TransferError, match="can't do that"):
        shelf.put("p/key", b"content")
    with pytest.raises(TransferError, match="can't do that"):
        shelf.begin("p/key")
    assert list(shelf.objects("")) == []


def test_a_service_may_refuse_conditions(moto_proxy: FaultyProxy, shelf_of: OpenShelf) -> None:
    moto_proxy.trouble(Trouble(when=_has_condition, status=501, body=xml_error("NotImplemented")))
    shelf = shelf_of(moto_proxy.server)
    store(shelf, "p/key", [b"content"])
    shelf.put("p/other", b"content", replace=False)
    upload = shelf.begin("p/key")
    with pytest.raises(ButterSinkError, match="there is an object already"):
        upload.complete(send(upload, [b"late"]))
    with pytest.raises(ButterSinkError, match="there is an object already"):
        shelf.put("p/other", b"late", replace=False)
    assert content(shelf, "p/key") == content(shelf, "p/other") == b"content"


def test_a_copy_that_fails_leaves_nothing(moto_proxy: FaultyProxy, shelf_of: OpenShelf) -> None:
    shelf = shelf_of(moto_proxy.server, copy_limit=LEAST_PART)
    thing = store(shelf, "p/key", [noise(LEAST_PART), b"end"])
    moto_proxy.trouble(
        Trouble(operation="UploadPartCopy", status=403, body=xml_error("AccessDenied"))
    )
    with pytest.raises(NotPermittedError, match="s3:GetObject or s3:PutObject"):
        shelf.move(thing, "trash/p/key")
    assert [found.key for found in shelf.objects("")] == ["p/key"]
    assert list(shelf.uploads("")) == []


@pytest.mark.parametrize("refused", [("UploadPart", 1), ("CompleteMultipartUpload", 2)])
def test_an_upload_that_another_program_began_without_checksums_goes_on(
    seaweed: S3Server, shelf_of: OpenShelf, refused: tuple[str, int]
) -> None:
    bucket = seaweed.fresh_bucket()
    begun = seaweed.client().create_multipart_upload(Bucket=bucket, Key="p/key")
    operation, times = refused  # completing is tried with a condition, and without
    with proxy_before(seaweed) as proxy:
        shelf = shelf_of(proxy.server, bucket)
        shelf.put("p/other", b"")  # tries out the service, before there is trouble
        upload = shelf.resume("p/key", begun["UploadId"])
        proxy.trouble(
            Trouble(operation=operation, times=times, status=400, body=xml_error("InvalidRequest"))
        )
        upload.complete(send(upload, [b"content"]))
        assert content(shelf, "p/key") == b"content"


@pytest.mark.parametrize("next_marker", [True, False])
def test_listings_come_page_by_page(
    moto_proxy: FaultyProxy, shelf_of: OpenShelf, *, next_marker: bool
) -> None:
    shelf = shelf_of(moto_proxy.server)
    keys = [f"p/{number}" for number in range(5)]
    for key in keys:
        shelf.put(key, b"content")
        upload = shelf.begin(key)
        for number in range(1, 6):
            upload.put(number, 0, b"part", sha256(b"part"))

    def without_marker(body: bytes) -> bytes:
        kept = body.replace(b"NextKeyMarker", b"Other").replace(b"NextUploadIdMarker", b"Other")
        return body if next_marker else kept

    for operation, query in (
        ("ListObjectsV2", "max-keys=2"),
        ("ListMultipartUploads", "max-uploads=2"),
        ("ListParts", "max-parts=2"),
    ):
        moto_proxy.trouble(Trouble(operation=operation, query=query, edit=without_marker))
    assert [thing.key for thing in shelf.objects("p/")] == keys
    uploads = list(shelf.uploads("p/"))
    assert [found.key for found in uploads] == keys
    assert {found.nbytes for found in uploads} == {20}
    assert sorted(shelf.resume(keys[0], uploads[0].upload_id).held()) == [1, 2, 3, 4, 5]


def test_the_region_is_followed_if_the_service_names_it(
    moto_proxy: FaultyProxy, shelf_of: OpenShelf
) -> None:
    shelf = shelf_of(moto_proxy.server, region="us-east-1")
    wrong = xml_error("AuthorizationHeaderMalformed", extra="<Region>eu-central-1</Region>")
    moto_proxy.trouble(
        Trouble(
            when=lambda headers: "/us-east-1/" in headers.get("Authorization", ""),
            status=400,
            body=wrong,
        )
    )
    shelf.put("p/key", b"content")
    assert [thing.key for thing in shelf.objects("p/")] == ["p/key"]


def test_closing_ends_what_is_tried_again_and_again(
    moto_proxy: FaultyProxy, shelf_of: OpenShelf
) -> None:
    shelf = shelf_of(moto_proxy.server, retry_seconds=3600.0)
    shelf.put("p/key", b"content")
    thing = stored(shelf, "p/key")
    moto_proxy.trouble(Trouble(status=503, body=xml_error("SlowDown")))
    errors: list[ButterSinkError] = []
    has_begun = threading.Event()

    def read() -> None:
        has_begun.set()
        try:
            shelf.read(thing, 0, 7)
        except ButterSinkError as error:
            errors.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    has_begun.wait()
    shelf.close()
    thread.join(60)
    assert not thread.is_alive()
    assert len(errors) == 1


def test_an_endpoint_that_never_answered_is_given_up_soon(
    moto_proxy: FaultyProxy, shelf_of: OpenShelf
) -> None:
    moto_proxy.trouble(Trouble(is_dropped=True))
    shelf = shelf_of(moto_proxy.server, bucket="any", retry_seconds=3600.0)
    with pytest.raises(UnavailableError, match="connection broke"):
        list(shelf.objects(""))
    elsewhere = shelf_of(
        moto_proxy.server, bucket="any", retry_seconds=3600.0, endpoint_url="http://127.0.0.1:9"
    )
    with pytest.raises(UnavailableError, match="can't be reached"):
        list(elsewhere.objects(""))


def test_an_endpoint_that_is_no_address_is_wrong_usage(moto: S3Server, shelf_of: OpenShelf) -> None:
    with pytest.raises(UsageError, match="Invalid endpoint"):
        shelf_of(moto, bucket="any", endpoint_url="minio.example:9000")


def _asks_for_encryption(headers: Mapping[str, str]) -> bool:
    return any(name.lower() == "x-amz-server-side-encryption" for name in headers)


def _has_condition(headers: Mapping[str, str]) -> bool:
    return any(name.lower() == "if-none-match" for name in headers)
