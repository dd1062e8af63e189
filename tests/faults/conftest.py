"""A server of S3 for the whole run; what makes snapshots of streams; ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buttersink.model import Receiver
from support.s3_servers import S3Server, seaweed_server
from support.ssh_ends import piped
from support.stored_ends import set_up_s3

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.command import Ends
    from support.loopfs import LoopFs


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


@pytest.fixture
def backup(fs_b: LoopFs) -> Path:
    path = fs_b.path / "backup"
    path.mkdir()
    return path


@pytest.fixture(params=["local", "to ssh", "from ssh"])
def ends(request: pytest.FixtureRequest, snaps: Path, backup: Path, tmp_path: Path) -> Ends:
    """Return the arguments of a run between the two directories."""
    shell = piped(tmp_path)
    match request.param:
        case "to ssh":
            return *shell.options, f"{snaps}/", shell.end(backup).url
        case "from ssh":
            return *shell.options, shell.end(snaps).url, f"{backup}/"
        case _:
            return f"{snaps}/", f"{backup}/"
