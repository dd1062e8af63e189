"""Long questions in portions: what a request, and its frame, can hold, or much less."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_THINGS: Final = 50_000
_BYTES: Final = 4 << 20
_OVERHEAD: Final = 8
"""Bytes that a thing takes besides its own, at most."""

_T = TypeVar("_T")


def portions(things: Iterable[_T], nbytes: Callable[[_T], int]) -> Iterator[tuple[_T, ...]]:
    """Yield things, in order, in portions of which each fits into a request.

    Args:
        things: What is to be asked for.
        nbytes: Tells how many bytes one of them takes.
    """
    portion: list[_T] = []
    total = 0
    for thing in things:
        portion.append(thing)
        total += nbytes(thing) + _OVERHEAD
        if len(portion) >= _THINGS or total >= _BYTES:
            yield tuple(portion)
            portion, total = [], 0
    if portion:
        yield tuple(portion)
