"""The digest by which a stream is recognised when a transfer goes on: XXH3-128.

It has to tell a stream from another one that the same kernel makes of the same snapshots, as
after a balance or deduplication; nobody gains by forging it, since who sends can send anything.
So it need not be cryptographic, but must cost nothing: it is made of every stream received.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    from buttersink.model import Position


class StreamDigest:
    """Of the bytes of a stream that have come so far."""

    def __init__(self) -> None:
        self._hash = xxhash.xxh3_128()
        self.nbytes = 0
        """How many those are."""

    def update(self, data: memoryview) -> None:
        """Take the next bytes."""
        self._hash.update(data)
        self.nbytes += len(data)

    def digest(self) -> bytes:
        """Return 16 bytes."""
        return self._hash.digest()

    def agrees_with(self, position: Position) -> bool:
        """Return whether these bytes are all that were received up to there."""
        return self.nbytes == position.offset and self.digest() == position.digest
