"""Going on with a stream that has come in part: its beginning is recognised and left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buttersink.errors import RestartError
from buttersink.stream.digest import SpanDigest

if TYPE_CHECKING:
    from buttersink.model import Position
    from buttersink.store import Reader

_OTHER: Final = (
    "the stream is not the one that was interrupted, as after a balance or deduplication of what "
    "is sent"
)
_BUFFER_BYTES: Final = 1 << 20


class EndsEarlyError(RestartError):
    """The stream has ended before the position; what makes it may have failed."""


def drop_beginning(stream: Reader, position: Position | None) -> None:
    """Read a stream, from its start, up to a position; nothing if that is None.

    This is done at the sending end: the beginning need not pass to the other one again.

    Raises:
        RestartError: It is not the stream of which so much was received.
        EndsEarlyError: As far as it goes it may be.
    """
    if position is None:
        return
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    offset = 0
    for span in position.spans:
        digest = SpanDigest()
        while missing := span.end - offset:
            count = stream.readinto(buffer[:missing])
            if count == 0:
                raise EndsEarlyError(_OTHER)
            digest.update(buffer[:count])
            offset += count
        if digest.digest() != span.digest:
            raise RestartError(_OTHER)
