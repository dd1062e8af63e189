"""The digest by which a stream is recognised when a transfer goes on: XXH3-128.

It has to tell a stream from another one that the same kernel makes of the same snapshots, as
after a balance or deduplication; nobody gains by forging it, since who sends can send anything.
So it need not be cryptographic, but must cost nothing: it is made of every stream received.
"""

from __future__ import annotations

import xxhash


class SpanDigest:
    """Of bytes of a stream, from where it was begun on."""

    def __init__(self) -> None:
        self._hash = xxhash.xxh3_128()

    def update(self, data: memoryview) -> None:
        """Take the next bytes."""
        self._hash.update(data)

    def digest(self) -> bytes:
        """Return 16 bytes."""
        return self._hash.digest()
