"""Storage classes, archives and encryption, as AWS has them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import MissingError, RefusedError, TransferError
from buttersink.stores.s3.objects import why_unreadable
from s3.faulty_proxy import Trouble, proxy_before, xml_error
from s3.samples import LEAST_PART, content, noise, store, stored

if TYPE_CHECKING:
    from s3.conftest import OpenShelf
    from support.s3_servers import S3Server


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_an_archived_object_is_read_once_it_is_thawed(
    moto: S3Server, shelf_of: OpenShelf, storage_class: str
) -> None:
    shelf = shelf_of(moto, storage_class=storage_class)
    thing = store(shelf, "p/key", [b"content"])
    assert thing.archived
    assert [found.archived for found in shelf.objects("p/")] == [True]
    assert shelf.readable(thing) == f"it is archived ({storage_class})"
    with pytest.raises(TransferError, match="archived"):
        shelf.read(thing, 0, 7)

    shelf.unarchive(thing, 3)
    shelf.unarchive(thing, 3)
    assert shelf.readable(thing) == ""
    assert stored(shelf, "p/key").archived
    assert shelf.read(thing, 0, 7) == b"content"


def test_an_archived_object_is_neither_copied_nor_moved(
    moto: S3Server, shelf_of: OpenShelf
) -> None:
    shelf = shelf_of(moto, storage_class="GLACIER")
    thing = store(shelf, "p/key", [b"content"])
    with pytest.raises(RefusedError, match="archived"):
        shelf.move(thing, "trash/p/key")
    with pytest.raises(RefusedError, match="archived"):
        shelf_of(moto).copy(thing, shelf, "p/key")
    assert [found.key for found in shelf.objects("")] == ["p/key"]

    shelf.unarchive(thing, 1)
    shelf.move(thing, "trash/p/key")
    assert [(found.key, found.archived) for found in shelf.objects("")] == [("trash/p/key", True)]


def test_an_object_that_is_being_thawed_is_left_to_that(
    moto: S3Server, shelf_of: OpenShelf
) -> None:
    with proxy_before(moto) as proxy:
        shelf = shelf_of(proxy.server, storage_class="GLACIER")
        thing = store(shelf, "p/key", [b"content"])
        proxy.trouble(
            Trouble(
                operation="RestoreObject", status=409, body=xml_error("RestoreAlreadyInProgress")
            )
        )
        shelf.unarchive(thing, 1)


def test_a_service_without_archives_says_so(seaweed: S3Server, shelf_of: OpenShelf) -> None:
    shelf = shelf_of(seaweed, storage_class="GLACIER")
    thing = store(shelf, "p/key", [b"content"])
    with pytest.raises(TransferError, match="can't do that"):
        shelf.unarchive(thing, 1)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({}, ""),
        ({"StorageClass": "GLACIER_IR"}, ""),
        ({"StorageClass": "INTELLIGENT_TIERING"}, ""),
        ({"StorageClass": "GLACIER"}, "it is archived (GLACIER)"),
        ({"StorageClass": "GLACIER", "Restore": 'ongoing-request="true"'}, "it is being thawed"),
        (
            {
                "StorageClass": "DEEP_ARCHIVE",
                "Restore": 'ongoing-request="false", expiry-date="Fri, 21 Dec 2026 00:00:00 GMT"',
            },
            "",
        ),
        (
            {"StorageClass": "INTELLIGENT_TIERING", "ArchiveStatus": "DEEP_ARCHIVE_ACCESS"},
            "it is archived (DEEP_ARCHIVE_ACCESS)",
        ),
    ],
)
def test_archives_are_known_by_what_the_service_tells(answer: dict[str, str], why: str) -> None:
    assert why_unreadable(answer) == why


@pytest.mark.parametrize("sse", ["AES256", "aws:kms", "aws:kms:alias/backup"])
def test_all_that_is_stored_is_encrypted_as_asked(
    moto: S3Server, shelf_of: OpenShelf, sse: str
) -> None:
    shelf = shelf_of(moto, sse=sse)
    store(shelf, "p/large", [b"content"])
    shelf.put("p/small", b"content")
    shelf.copy(stored(shelf, "p/large"), shelf, "p/copy")
    wanted, _, key = (sse, "", "") if sse == "AES256" else ("aws:kms", "", sse[8:])
    for name in ("p/large", "p/small", "p/copy"):
        answer = moto.client().head_object(Bucket=shelf.name[5:-1], Key=name)
        assert answer["ServerSideEncryption"] == wanted
        assert answer.get("SSEKMSKeyId", "").endswith(key)


def test_nothing_is_asked_for_if_encryption_is_left_to_the_bucket(
    server: S3Server, shelf_of: OpenShelf
) -> None:
    shelf = shelf_of(server, sse="none")
    shelf.put("p/key", b"content")
    store(shelf, "p/large", [b"content"])
    for name in ("p/key", "p/large"):
        answer = server.client().head_object(Bucket=shelf.name[5:-1], Key=name)
        assert "ServerSideEncryption" not in answer


@pytest.mark.parametrize("limit", [LEAST_PART, 1 << 30])
def test_a_move_keeps_encryption_and_storage_class(
    moto: S3Server, shelf_of: OpenShelf, limit: int
) -> None:
    bucket = moto.fresh_bucket()
    before = shelf_of(moto, bucket, sse="aws:kms:alias/backup", storage_class="STANDARD_IA")
    store(before, "p/key", [noise(LEAST_PART), b"end"])
    shelf = shelf_of(moto, bucket, copy_limit=limit)
    shelf.move(stored(shelf, "p/key"), "trash/p/key")
    answer = moto.client().head_object(Bucket=bucket, Key="trash/p/key")
    assert answer["ServerSideEncryption"] == "aws:kms"
    assert answer["SSEKMSKeyId"].endswith("alias/backup")
    assert answer["StorageClass"] == "STANDARD_IA"
    assert content(shelf, "trash/p/key") == noise(LEAST_PART) + b"end"


def test_small_objects_stay_readable_whatever_the_class_of_the_large(
    server: S3Server, shelf_of: OpenShelf
) -> None:
    shelf = shelf_of(server, storage_class="DEEP_ARCHIVE")
    shelf.put("p/key", b"content")
    assert not stored(shelf, "p/key").archived
    assert content(shelf, "p/key") == b"content"


def test_an_object_that_was_replaced_is_not_moved(server: S3Server, shelf_of: OpenShelf) -> None:
    shelf = shelf_of(server)
    shelf.put("p/key", b"before")
    thing = replace(stored(shelf, "p/key"), etag="0" * 32)
    with pytest.raises(MissingError, match="was replaced"):
        shelf.move(thing, "trash/p/key")
    assert content(shelf, "p/key") == b"before"
