"""Extents as the kernel sends them, compressed as they are on disk."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buttersink.btrfs import ioctl
from buttersink.stream.format import Attribute, Command, decode_attributes
from support.loopfs import run
from support.streams import commands

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 2


@dataclass(frozen=True, slots=True)
class Extent:
    """An ENCODED_WRITE command."""

    path: bytes
    offset: int
    data: bytes
    file_length: int
    unencoded_length: int
    unencoded_offset: int
    compression: int


def snapshot(live: Path, name: str) -> Path:
    """Return a read-only snapshot beside a subvolume."""
    path = live.parent / name
    run("btrfs", "--quiet", "subvolume", "snapshot", "-r", live, path)
    return path


def extents(path: Path) -> list[Extent]:
    """Return all compressed extents of a snapshot."""
    found = []
    for number, body in commands(compressed_stream(path)):
        if number == Command.ENCODED_WRITE:
            attributes = decode_attributes(memoryview(body), VERSION)

            def count(
                attribute: Attribute, attributes: dict[Attribute, memoryview] = attributes
            ) -> int:
                return int.from_bytes(attributes.get(attribute, b""), "little")

            found.append(
                Extent(
                    path=bytes(attributes[Attribute.PATH]),
                    offset=count(Attribute.FILE_OFFSET),
                    data=bytes(attributes[Attribute.DATA]),
                    file_length=count(Attribute.UNENCODED_FILE_LEN),
                    unencoded_length=count(Attribute.UNENCODED_LEN),
                    unencoded_offset=count(Attribute.UNENCODED_OFFSET),
                    compression=count(Attribute.COMPRESSION),
                )
            )
    return found


def compressed_stream(path: Path) -> bytes:
    """Return the stream of a snapshot, its extents compressed as they are on disk."""
    read_fd, write_fd = os.pipe()
    snapshot_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def send() -> None:
        try:
            ioctl.SendRequest(
                write_fd=write_fd, parent_id=None, flags=ioctl.SEND_COMPRESSED, version=VERSION
            ).run(snapshot_fd)
        finally:
            os.close(write_fd)

    sender = threading.Thread(target=send)
    sender.start()
    with open(read_fd, "rb") as pipe:
        stream = pipe.read()
    sender.join()
    os.close(snapshot_fd)
    return stream
