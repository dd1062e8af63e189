"""A server of S3 for the whole run; what makes snapshots of streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buttersink.model import Receiver
from support.s3_servers import S3Server, seaweed_server
from support.stored_ends import set_up_s3

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def seaweed_process() -> Iterator[S3Server]:
    with seaweed_server() as server:
        yield server


@pytest.fixture(scope="module")
def seaweed(seaweed_process: S3Server) -> Iterator[S3Server]:
    """Return a server to which the environment has the credentials."""
    with pytest.MonkeyPatch.context() as environment:
        set_up_s3(environment, seaweed_process)
        yield seaweed_process


@pytest.fixture(params=list(Receiver), ids=lambda receiver: receiver.value)
def receiver(request: pytest.FixtureRequest) -> Receiver:
    """Return each of the two receivers: what is promised does not depend on it."""
    chosen: Receiver = request.param
    return chosen
