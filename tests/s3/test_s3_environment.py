"""Where credentials, region and endpoint come from, and what if boto3 or trust is missing."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import NotPermittedError, TransferError, UsageError
from buttersink.stores.s3 import S3Settings, open_shelf
from s3.samples import LEAST_PART, content, noise, store
from support.s3_servers import S3Server, seaweed_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buttersink.stores.s3.shelf import S3Shelf
    from s3.conftest import OpenShelf


def listed(shelf: S3Shelf) -> list[str]:
    try:
        return [thing.key for thing in shelf.objects("")]
    finally:
        shelf.close()


@pytest.fixture
def home(bare_environment: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    assert bare_environment is not None
    return tmp_path


@pytest.fixture
def bucket(seaweed: S3Server) -> str:
    name = seaweed.fresh_bucket()
    seaweed.client().put_object(Bucket=name, Key="key", Body=b"content")
    return name


def test_the_file_of_old_users_is_read(seaweed: S3Server, bucket: str, home: Path) -> None:
    (home / ".boto").write_text(
        f"[Credentials]\naws_access_key_id = {seaweed.access_key}\n"
        f"aws_secret_access_key = {seaweed.secret_key}\n"
    )
    settings = S3Settings(
        bucket=bucket, endpoint_url=seaweed.endpoint_url, state_directory=str(home)
    )
    assert listed(open_shelf(settings)) == ["key"]


def test_a_profile_has_credentials_and_endpoint(seaweed: S3Server, bucket: str, home: Path) -> None:
    (home / ".aws").mkdir()
    (home / ".aws" / "credentials").write_text(
        f"[backup]\naws_access_key_id = {seaweed.access_key}\n"
        f"aws_secret_access_key = {seaweed.secret_key}\n"
    )
    (home / ".aws" / "config").write_text(
        f"[profile backup]\nendpoint_url = {seaweed.endpoint_url}\nregion = eu-central-1\n"
    )
    settings = S3Settings(bucket=bucket, profile="backup", state_directory=str(home))
    assert listed(open_shelf(settings)) == ["key"]


def test_the_environment_has_credentials_and_endpoint(
    seaweed: S3Server, bucket: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in seaweed.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", seaweed.endpoint_url)
    assert listed(open_shelf(S3Settings(bucket=bucket, state_directory=str(home)))) == ["key"]


def test_without_credentials_a_user_is_told_where_they_go(
    seaweed: S3Server, bucket: str, home: Path
) -> None:
    settings = S3Settings(
        bucket=bucket, endpoint_url=seaweed.endpoint_url, state_directory=str(home)
    )
    with pytest.raises(NotPermittedError, match=r"no credentials found.*AWS_ACCESS_KEY_ID"):
        listed(open_shelf(settings))


def test_a_profile_that_is_not_there_is_named(home: Path) -> None:
    settings = S3Settings(bucket="any", profile="nobody", state_directory=str(home))
    with pytest.raises(UsageError, match="nobody"):
        open_shelf(settings)


def test_without_boto3_a_user_is_told_what_to_install() -> None:
    program = (
        "import sys; sys.modules['boto3'] = None\n"
        "from buttersink.errors import UsageError\n"
        "from buttersink.stores.s3 import S3Settings, open_shelf\n"
        "try: open_shelf(S3Settings(bucket='b', state_directory='/nowhere'))\n"
        "except UsageError as error: print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert run.stdout == (
        "s3://b/: the library boto3 is not installed (pip install buttersink[s3])\n"
    )


def test_boto3_is_not_loaded_before_a_shelf_is_opened() -> None:
    program = "import sys, buttersink.stores.s3; print({'boto3', 'botocore'} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert run.stdout == "set()\n"


@pytest.fixture(scope="module")
def secure() -> Iterator[S3Server]:
    with seaweed_server(tls=True) as server:
        yield server


def test_all_works_over_tls(secure: S3Server, shelf_of: OpenShelf) -> None:
    assert secure.endpoint_url.startswith("https://")
    shelf = shelf_of(secure)
    pieces = [noise(LEAST_PART), b"end"]
    store(shelf, "p/key", pieces)
    shelf.put("p/small", b"content")
    assert content(shelf, "p/key") == b"".join(pieces)
    assert [thing.key for thing in shelf.objects("p/")] == ["p/key", "p/small"]


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(
    secure: S3Server, shelf_of: OpenShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf_of(secure)
    monkeypatch.delenv("AWS_CA_BUNDLE")
    settings = S3Settings(
        bucket="any", endpoint_url=secure.endpoint_url, state_directory="/nowhere"
    )
    with pytest.raises(TransferError, match=r"can't be made secure.*AWS_CA_BUNDLE"):
        listed(open_shelf(settings))
