"""What is in a directory of objects, in the order of the keys' bytes.

`trash/` at the top is passed over unless the prefix begins so: it may hold far more than the
rest, and nobody lists all of a bucket to see what was thrown away.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from buttersink.errors import PathTakenError
from buttersink.stores import beneath
from buttersink.stores.directory_files import ABSENT, described, reporting, scanned
from buttersink.stores.directory_names import HIDDEN, TRASH, UploadName, split_prefix
from buttersink.stores.directory_record import read_record
from buttersink.stores.shelf import OpenUpload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buttersink.stores.directory_files import Files
    from buttersink.stores.shelf import ShelfObject


@dataclass(frozen=True, slots=True)
class _Entry:
    """Something in the directory that `parents` lead to."""

    parents: list[str]
    name: str
    status: os.stat_result

    @property
    def path(self) -> str:
        return "/".join([*self.parents, self.name])

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def rank(self) -> bytes:
        """What sorts it so that a directory stands where the keys below it do."""
        return os.fsencode(f"{self.name}/" if self.is_directory else self.name)


def listed_objects(files: Files, prefix: str) -> Iterator[ShelfObject]:
    """Yield what `shelf.Shelf.objects` does; see `directory.DirectoryShelf.objects`."""
    for entry in _walk(files, prefix):
        thing = described(entry.path, entry.status)
        if thing is not None and not entry.name.startswith(HIDDEN):
            yield thing


def listed_uploads(files: Files, prefix: str) -> Iterator[OpenUpload]:
    """Yield what `shelf.Shelf.uploads` does; see `directory.DirectoryShelf.uploads`."""
    # The name of an upload does not begin as that of its object does: hence the whole directory.
    directory = prefix.rpartition("/")[0]
    for entry in _walk(files, f"{directory}/" if directory else ""):
        name = UploadName.parse(entry.name)
        if name is None or not stat.S_ISREG(entry.status.st_mode):
            continue
        with reporting(f"reading the journal of {files.name}{entry.path}"):
            record = read_record(files, entry.parents, name)
        key = entry.path if record.key is None else record.key
        if key.startswith(prefix):
            changed = datetime.fromtimestamp(entry.status.st_mtime, UTC)
            told = sum(extent.nbytes for extent in record.extents.values())
            yield OpenUpload(
                key=key,
                upload_id=name.upload_id,
                started=name.started() or changed,
                nbytes=told or entry.status.st_size,
            )


def _walk(files: Files, prefix: str) -> Iterator[_Entry]:
    """Yield all but directories whose paths begin with `prefix`; no descriptor stays open."""
    parents, start = split_prefix(prefix)
    _refuse_links(files, parents)
    waiting = _entries(files, parents, start)[::-1]
    while waiting:
        entry = waiting.pop()
        if not entry.is_directory:
            yield entry
        elif not (entry.name.startswith(HIDDEN) or entry.path == TRASH):
            waiting += _entries(files, [*entry.parents, entry.name], "")[::-1]


def _entries(files: Files, parents: list[str], start: str) -> list[_Entry]:
    """Return what is in a directory and begins so, in order; nothing if it is gone."""
    found = []
    with reporting(f"listing {files.name}{'/'.join(parents)}"):
        try:
            with beneath.opened(files.fd, parents) as fd, scanned(fd) as entries:
                for entry in entries:
                    if entry.name.startswith(start):
                        try:
                            status = entry.stat(follow_symlinks=False)
                        except FileNotFoundError:
                            continue
                        found.append(_Entry(parents, entry.name, status))
        except ABSENT:
            return []
    return sorted(found, key=lambda entry: entry.rank)


def _refuse_links(files: Files, parents: list[str]) -> None:
    """Check that what a prefix leads through is not taken for empty only as it is a link.

    Raises:
        PathTakenError: It is a link.
    """
    for depth, name in enumerate(parents):
        path = "/".join(parents[: depth + 1])
        with reporting(f"looking at {files.name}{path}"):
            try:
                with beneath.opened(files.fd, parents[:depth]) as fd:
                    status = os.stat(os.fsencode(name), dir_fd=fd, follow_symlinks=False)
            except ABSENT:
                return
        if stat.S_ISLNK(status.st_mode):
            raise PathTakenError(
                f"{files.name}{path} is a symbolic link, which is not followed",
                "name the directory that it leads to",
            )
