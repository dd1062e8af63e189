"""What an end that holds subvolumes has to say to questions about stored streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buttersink.errors import MissingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from buttersink.model import Diff
    from buttersink.store import Source


class SubvolumeEnd:
    """The verbs of `store.Sink` that are about stored streams, of which it has none."""

    def notes(self) -> tuple[str, ...]:
        """See `store.Source`."""
        return ()

    def unready(self, diffs: Iterable[Diff]) -> Mapping[Diff, str]:
        """See `store.Source`; nothing on a file system is archived."""
        del diffs
        return {}

    def thaw(self, diffs: Iterable[Diff], days: int) -> None:
        """See `store.Source`; nothing on a file system is archived."""

    def stored_fraction(self) -> None:
        """See `store.Sink`."""

    def copy(self, source: Source, diff: Diff, path: str, *, link: bool = False) -> None:
        """See `store.Sink`; there are no stored streams to copy."""
        del source, diff, path, link

    def hide(self, uuid: UUID, path: str) -> None:
        """See `store.Sink`."""
        del uuid
        raise MissingError(f"{path} is no stored stream")

    def discard(self, diff: Diff, path: str) -> None:
        """See `store.Sink`."""
        del diff
        raise MissingError(f"{path} is no stored stream")
