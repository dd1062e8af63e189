"""The kinds of shelves that the contract is tested on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol, Self

from buttersink.stores.directory import DirectoryShelf
from buttersink.stores.s3 import S3Settings, open_shelf

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from buttersink.stores.shelf import Shelf
    from support.s3_servers import S3Server


class ShelfWorld(Protocol):
    """One place for objects, empty at first.

    Attributes:
        misses_uploads: Whether it says so when parts come for an upload that is gone.
        keeps_backslashes: Whether they are characters like others.
    """

    misses_uploads: bool
    keeps_backslashes: bool

    def open(self) -> Shelf:
        """Return a new handle, as another run would have; it is closed with the world."""


class _World(ABC):
    """What closes all handles at the end."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def open(self) -> Shelf:
        shelf = self._open()
        self._stack.callback(shelf.close)
        return shelf

    @abstractmethod
    def _open(self) -> Shelf: ...


class DirectoryWorld(_World):
    """A directory of files."""

    misses_uploads = True
    keeps_backslashes = True

    def __init__(self, path: Path) -> None:
        super().__init__()
        path.mkdir()
        self._path = path

    def _open(self) -> Shelf:
        return DirectoryShelf(str(self._path))


class S3World(_World):
    """A new bucket; the credentials are in the environment."""

    def __init__(self, server: S3Server, state: Path) -> None:
        super().__init__()
        self.misses_uploads = server.name != "moto"  # which answers 500
        self.keeps_backslashes = server.name != "seaweedfs"  # which makes slashes of them
        self._settings = S3Settings(
            bucket=server.fresh_bucket(),
            endpoint_url=server.endpoint_url,
            state_directory=str(state),
        )

    def _open(self) -> Shelf:
        return open_shelf(self._settings)
