"""The policies in the documentation allow what they should, and no more."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import ButterSinkError, NotPermittedError
from buttersink.stores.s3 import S3Settings, open_shelf
from s3.samples import content, send, store, stored
from support.s3_servers import S3Server, moto_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buttersink.stores.s3.shelf import S3Shelf

DOCUMENT = Path(__file__).parents[2] / "docs" / "s3.md"
MODES = ("Read", "Append", "Write")
BUCKET = "guarded"
_REQUESTS_TO_SET_UP = 2 + 3 * len(MODES)


def documented_policy(mode: str) -> str:
    section = DOCUMENT.read_text(encoding="utf-8").split(f"\n### {mode}: ")[1]
    block = re.search(r"```json\n(.*?)```", section, re.DOTALL)
    assert block is not None
    policy = json.loads(block[1].replace("BUCKET", BUCKET))
    assert policy["Version"] == "2012-10-17"
    return json.dumps(policy)


@pytest.fixture(scope="module")
def users() -> Iterator[dict[str, S3Server]]:
    """Return the server as users see it who are held to a policy each."""
    with moto_server(INITIAL_NO_AUTH_ACTION_COUNT=str(_REQUESTS_TO_SET_UP)) as server:
        iam = server.client(service="iam")
        server.client().create_bucket(Bucket=BUCKET)
        server.client().put_object(Bucket=BUCKET, Key="p/old", Body=b"old")
        found = {}
        for mode in MODES:
            iam.create_user(UserName=mode)
            key = iam.create_access_key(UserName=mode)["AccessKey"]
            iam.put_user_policy(
                UserName=mode, PolicyName=mode, PolicyDocument=documented_policy(mode)
            )
            found[mode] = S3Server(
                mode, server.endpoint_url, key["AccessKeyId"], key["SecretAccessKey"]
            )
        yield found


@contextmanager
def shelf_as(
    server: S3Server, environment: pytest.MonkeyPatch, directory: Path
) -> Iterator[S3Shelf]:
    for name, value in server.environment().items():
        environment.setenv(name, value)
    settings = S3Settings(
        bucket=BUCKET, endpoint_url=server.endpoint_url, state_directory=str(directory)
    )
    shelf = open_shelf(settings)
    try:
        yield shelf
    finally:
        shelf.close()


def test_who_may_read_can_list_and_read_and_nothing_else(
    users: dict[str, S3Server], bare_environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with shelf_as(users["Read"], bare_environment, tmp_path) as shelf:
        assert "p/old" in [thing.key for thing in shelf.objects("p/")]
        assert list(shelf.uploads("p/")) == []
        assert content(shelf, "p/old") == b"old"
        assert shelf.stat("p/none") is None
        with pytest.raises(NotPermittedError, match=r"s3:PutObject"):
            shelf.begin("p/key")
        with pytest.raises(NotPermittedError, match=r"s3:PutObject"):
            shelf.put("p/key", b"content")
        with pytest.raises(NotPermittedError, match=r"s3:DeleteObject"):
            shelf.remove("p/old")
        assert content(shelf, "p/old") == b"old"


def test_who_may_append_can_store_but_not_remove(
    users: dict[str, S3Server], bare_environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with shelf_as(users["Append"], bare_environment, tmp_path) as shelf:
        assert store(shelf, "p/large", [b"content"]) == stored(shelf, "p/large")
        shelf.put("p/small", b"content", replace=False)
        upload = shelf.begin("p/given-up")
        send(upload, [b"part"])
        assert [(found.key, found.nbytes) for found in shelf.uploads("p/")] == [("p/given-up", 4)]
        upload.abort()
        assert list(shelf.uploads("")) == []
        with pytest.raises(NotPermittedError, match=r"s3:DeleteObject"):
            shelf.remove("p/old")
        with pytest.raises(NotPermittedError, match=r"s3:DeleteObject"):
            shelf.move(stored(shelf, "p/old"), "trash/p/old")
        assert content(shelf, "p/old") == b"old"
        shelf.put("p/small.hidden", b"")
        shelf.remove("p/small.hidden")
        assert shelf.stat("p/small.hidden") is None


def test_who_may_write_can_also_remove(
    users: dict[str, S3Server], bare_environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with shelf_as(users["Write"], bare_environment, tmp_path) as shelf:
        store(shelf, "q/large", [b"content"])
        shelf.move(stored(shelf, "q/large"), "trash/q/large")
        shelf.remove("trash/q/large")
        assert list(shelf.objects("q/")) == []


def test_who_is_unknown_may_nothing(
    users: dict[str, S3Server], bare_environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stranger = S3Server("stranger", users["Read"].endpoint_url, "AKIASTRANGER", "wrong")
    with (
        shelf_as(stranger, bare_environment, tmp_path) as shelf,
        pytest.raises(ButterSinkError, match="access key is unknown"),
    ):
        list(shelf.objects(""))
