"""Servers for the whole run, and shelves in a bucket of their own for each test."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from buttersink.stores.s3 import S3Settings, open_shelf
from support.s3_servers import S3Server, moto_server, seaweed_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buttersink.stores.s3.shelf import S3Shelf


class OpenShelf(Protocol):
    """What the fixtures `shelf_of` and `moto_shelf` give."""

    def __call__(self, server: S3Server, bucket: str = ..., **settings: Any) -> S3Shelf:
        """Return a shelf of a bucket, a new one if none is named."""
        ...


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def seaweed() -> Iterator[S3Server]:
    with seaweed_server() as server:
        yield server


@pytest.fixture(params=["moto", "seaweedfs"])
def server(request: pytest.FixtureRequest) -> S3Server:
    name = {"moto": "moto", "seaweedfs": "seaweed"}[request.param]
    found: S3Server = request.getfixturevalue(name)
    return found


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Take away what the user of this machine may have set up."""
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_CA_BUNDLE",
        "BOTO_CONFIG",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.fixture
def shelf_of(bare_environment: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[OpenShelf]:
    """Return a maker of shelves that are closed after the test."""
    with ExitStack() as stack:

        def open_one(server: S3Server, bucket: str = "", **settings: Any) -> S3Shelf:
            for name, value in server.environment().items():
                bare_environment.setenv(name, value)
            given = {
                "bucket": bucket or server.fresh_bucket(),
                "endpoint_url": server.endpoint_url,
                "state_directory": str(tmp_path / "state"),
                "retry_seconds": 30.0,  # so that what should pass and does not is seen soon
                **settings,
            }
            shelf = open_shelf(S3Settings(**given))
            stack.callback(shelf.close)
            return shelf

        yield open_one


@pytest.fixture
def shelf(server: S3Server, shelf_of: OpenShelf) -> S3Shelf:
    return shelf_of(server)
