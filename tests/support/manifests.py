"""Trees that manifests are taken of, and what comes of them."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from buttersink.tools.manifest import (
    Entry,
    write,
)
from buttersink.tools.tree import scan

if TYPE_CHECKING:
    from collections.abc import Sequence

MOMENT = 1_000_000_000_123_456_789


def manifest(entries: Sequence[Entry]) -> bytes:
    out = io.BytesIO()
    write(entries, out.write)
    return out.getvalue()


def digest(directory: Path) -> str:
    return write(scan(os.fspath(directory)), lambda _: None)


def set_times(top: Path) -> None:
    """Give everything below `top` the same time, the deepest first."""
    for directory, subdirectories, files in os.walk(top, topdown=False):
        for name in (*files, *subdirectories):
            os.utime(Path(directory, name), ns=(MOMENT, MOMENT), follow_symlinks=False)


def make_tree(top: Path) -> Path:
    (top / "dir" / "inner").mkdir(parents=True)
    (top / "dir" / "file").write_bytes(b"content")
    (top / "dir" / "inner" / "twin").hardlink_to(top / "dir" / "file")
    (top / "plain").write_bytes(b"plain")
    (top / "link").symlink_to("target")
    os.mkfifo(top / "pipe")
    for path in (top, top / "dir", top / "dir" / "inner"):
        path.chmod(0o755)
    for path in (top / "dir" / "file", top / "plain", top / "pipe"):
        path.chmod(0o644)
    set_times(top)
    return top
