"""A shelf that tells what was sent to another one, and fails on demand."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from buttersink.stores.shelf import Shelf, ShelfObject, Upload


class WatchedShelf:
    """Passes on everything to `shelf`; has all of its methods.

    Attributes:
        parts: The numbers of the parts that were stored, in this order.
        single: The keys of what was put in one request.
        most_at_once: How many parts were on their way at a time.
    """

    def __init__(
        self,
        shelf: Shelf,
        *,
        before_part: Callable[[int], None] = lambda _: None,
        before_single: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Call back with the number of each part, and the key of what is put in one request."""
        self._shelf = shelf
        self._before_part = before_part
        self._before_single = before_single
        self._lock = threading.Lock()
        self._at_once = 0
        self.parts: list[int] = []
        self.single: list[str] = []
        self.most_at_once = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shelf, name)

    def as_shelf(self) -> Shelf:
        return cast("Shelf", self)

    def put(self, key: str, data: bytes, *, replace: bool = True) -> ShelfObject:
        self._before_single(key)
        thing = self._shelf.put(key, data, replace=replace)
        self.single.append(key)
        return thing

    def begin(self, key: str) -> Upload:
        return cast("Upload", _WatchedUpload(self, self._shelf.begin(key)))

    def resume(self, key: str, upload_id: str) -> Upload:
        return cast("Upload", _WatchedUpload(self, self._shelf.resume(key, upload_id)))

    def send_part(self, upload: Upload, number: int, *arguments: Any) -> str:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            self._before_part(number)
            tag = upload.put(number, *arguments)
        finally:
            with self._lock:
                self._at_once -= 1
        with self._lock:
            self.parts.append(number)
        return tag


class _WatchedUpload:
    def __init__(self, watched: WatchedShelf, upload: Upload) -> None:
        self._watched = watched
        self._upload = upload

    def __getattr__(self, name: str) -> Any:
        return getattr(self._upload, name)

    def put(self, number: int, *arguments: Any) -> str:
        return self._watched.send_part(self._upload, number, *arguments)
