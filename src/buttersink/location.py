"""What a user writes to name an end ⇄ `Location`. Pure: nothing is looked up.

A slash at the end means a directory of snapshots; without it the last part names one snapshot in
the directory before it. A destination is always a directory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from buttersink.errors import UsageError


class Scheme(Enum):
    """The kinds of ends."""

    BTRFS = "btrfs"
    SSH = "ssh"
    S3 = "s3"
    DIR = "dir"


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """An end, taken apart.

    Attributes:
        scheme: Which kind of end.
        text: What the user wrote.
        directory: The directory of snapshots, ending in a slash. For S3 the prefix: without a
            slash in front, and empty for the whole bucket.
        snapshot: The one snapshot that was named; None for all in the directory.
        host: Of ssh; for S3 the bucket.
        user: Of ssh, if one was named.
        port: Of ssh, if one was named.
    """

    scheme: Scheme
    text: str
    directory: str
    snapshot: str | None = None
    host: str = ""
    user: str | None = None
    port: int | None = None


_URL: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_LOCAL: Final = frozenset({"btrfs", "file"})
_SSH_HOST: Final = re.compile(
    r"(?:(?P<user>[^-@/][^@/]*)@)?"  # with a dash in front ssh would take it for an option
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[^-@/:\[\]][^@/:\[\]]*))"
    r"(?::(?P<port>\d+))?"
)
_NEITHER: Final = re.compile(r"[^/]*:/")
"""As scp names other hosts, or a URL with a slash too few or a space too many in front."""
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_MAX_PORT: Final = 65535
_FORMS: Final = (
    "ends are [btrfs://]/path/to/directory/[snapshot], s3://bucket/prefix/[snapshot], "
    "dir:///path/to/directory/[snapshot], ssh://[user@]host[:port]/path/to/directory/[snapshot]"
)


def parse_location(text: str, *, is_destination: bool) -> Location:
    """Take apart what a user wrote.

    Raises:
        UsageError: It names no end; the message shows what does.
    """
    if not text or "\0" in text:
        raise UsageError(f"{text!r} names no place", _FORMS)
    match = _URL.fullmatch(text)
    if match is None and _NEITHER.match(text):
        raise UsageError(
            f"{text!r} is neither a URL nor plainly a directory",
            f"another host is ssh://[user@]host/path/, a directory here ./{text}",
        )
    if match is None or match["scheme"].lower() in _LOCAL:
        path = text if match is None else match["rest"]
        if not path:
            raise UsageError(f"{text} names no directory", _FORMS)
        directory, snapshot = _split(path, text, is_destination=is_destination)
        return Location(scheme=Scheme.BTRFS, text=text, directory=directory, snapshot=snapshot)
    scheme, rest = match["scheme"].lower(), match["rest"]
    if scheme == "dir":
        if not rest:
            raise UsageError(f"{text} names no directory", _FORMS)
        directory, snapshot = _split(rest, text, is_destination=is_destination)
        return Location(scheme=Scheme.DIR, text=text, directory=directory, snapshot=snapshot)
    host, slash, path = rest.partition("/")
    if scheme == "ssh":
        return _ssh(text, host, slash + path, is_destination=is_destination)
    if scheme == "s3":
        return _s3(text, host, path, is_destination=is_destination)
    raise UsageError(f"{text}: there are no {scheme}:// ends", _FORMS)


def _ssh(text: str, host: str, path: str, *, is_destination: bool) -> Location:
    match = _SSH_HOST.fullmatch(host)
    if match is None:
        raise UsageError(f"{text}: {host!r} is no host to reach by ssh", _FORMS)
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port <= _MAX_PORT:
        raise UsageError(f"{text}: {port} is no port", "ports are 1 to 65535")
    if not path:
        raise UsageError(f"{text} names no directory on {host}", "it starts with the first /")
    directory, snapshot = _split(path, text, is_destination=is_destination)
    return Location(
        scheme=Scheme.SSH,
        text=text,
        directory=directory,
        snapshot=snapshot,
        host=match["ipv6"] or match["host"],
        user=match["user"],
        port=port,
    )


def _s3(text: str, bucket: str, path: str, *, is_destination: bool) -> Location:
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(f"{text}: {bucket!r} is no name of a bucket", _FORMS)
    prefix, snapshot = "", None
    if path.strip("/"):
        directory, snapshot = _split("/" + path, text, is_destination=is_destination)
        prefix = directory[1:]
    return Location(scheme=Scheme.S3, text=text, directory=prefix, snapshot=snapshot, host=bucket)


def _split(path: str, text: str, *, is_destination: bool) -> tuple[str, str | None]:
    """Split a path into its directory, with a slash at the end, and the snapshot it names."""
    path = re.sub("/{2,}", "/", path)
    if path.endswith("/") or is_destination:
        return path.rstrip("/") + "/", None
    directory, _, name = path.rpartition("/")
    if name in {".", ".."}:
        raise UsageError(
            f"{text} names no snapshot", f"for all snapshots in a directory, write {text}/"
        )
    return (directory + "/" if directory or path.startswith("/") else "./"), name
