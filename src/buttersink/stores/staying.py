"""An end that can't get lost, as there is no link to it that lasts."""

from __future__ import annotations


class StayingEnd:
    """What `store.Source` says of links, where each request stands for itself."""

    @property
    def lost(self) -> bool:
        """See `store.Source`."""
        return False

    def reconnect(self) -> None:
        """See `store.Source`; never needed."""
