"""What runs as root at the far end of a link has little in it that could go wrong."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

_SERVE: Final = """\
import sys
before = set(sys.modules)
from buttersink.__main__ import main
sys.argv = ["buttersink", "--server", "--mode", "w", "/"]
status = main()
print(*sorted(set(sys.modules) - before), sep="\\n")
sys.exit(status)
"""
"""Serves a client that has gone before it has said anything."""


@pytest.fixture(scope="module")
def imported() -> frozenset[str]:
    """Return the modules that a server imports, which is all before it hears of its client."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", _SERVE],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return frozenset(done.stdout.split())


def test_a_server_imports_what_it_serves_with(imported: frozenset[str]) -> None:
    assert {"buttersink.server.session", "buttersink.stores.btrfs", "msgspec"} <= imported


@pytest.mark.parametrize(
    "package",
    [
        "argparse",
        "boto3",
        "botocore",
        "crc32c",
        "email",
        "http",
        "importlib.metadata",
        "json",
        "logging",
        "rich",
        "urllib",
        "zipfile",
        "zstandard",
        "buttersink.chains",
        "buttersink.cli",
        "buttersink.ends",
        "buttersink.execution",
        "buttersink.listing",
        "buttersink.location",
        "buttersink.options",
        "buttersink.plan",
        "buttersink.planning",
        "buttersink.preparing",
        "buttersink.program",
        "buttersink.report",
        "buttersink.stores.directory",
        "buttersink.stores.s3",
        "buttersink.stores.ssh",
        "buttersink.stores.streams",
        "buttersink.sync",
        "buttersink.transfer",
    ],
)
def test_a_server_does_not_import(imported: frozenset[str], package: str) -> None:
    inside = {name for name in imported if f"{name}.".startswith(f"{package}.")}
    assert not inside
