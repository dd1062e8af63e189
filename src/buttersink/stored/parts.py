"""How large the parts of an upload are: fixed when it begins, so that it can be resumed.

Services limit the number of parts as well as their sizes, and the size of a stream is often only
an estimate. So most parts have one size, in which what is expected fits, and those after them
double in steps, so that a stream fits that turns out to be many times as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Protocol

import msgspec
from msgspec import Meta

from buttersink.text import bytes_text

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIB: Final = 1 << 20

_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Positive = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class Limits(Protocol):
    """What a service takes: bytes of each part but the last, number of parts, bytes in all."""

    @property
    def least(self) -> int: ...  # noqa: D102 - the class says it
    @property
    def most(self) -> int: ...  # noqa: D102 - the class says it
    @property
    def count(self) -> int: ...  # noqa: D102 - the class says it
    @property
    def total(self) -> int: ...  # noqa: D102 - the class says it


class PartSchedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The size of each part of an upload but the last, which is what remains.

    The first `plain` parts have `base` bytes. Each `step` parts after them have twice the bytes
    of those before, up to `most`.

    Attributes:
        base: Bytes.
        plain: Number of parts.
        step: Number of parts.
        most: Bytes.
        count: Number of parts that there can be.
        total: Bytes that there can be in all; the parts suffice for them.
    """

    base: _Positive
    plain: _Count
    step: _Positive
    most: _Positive
    count: _Positive
    total: _Positive

    def size(self, number: int) -> int:
        """Return the bytes of a part; they are numbered from 1.

        Raises:
            ValueError: There is no such part.
        """
        self._check(number)
        if number <= self.plain:
            return self.base
        return self._doubled((number - self.plain - 1) // self.step + 1)

    def offset(self, number: int) -> int:
        """Return the bytes before a part.

        Raises:
            ValueError: There is no such part.
        """
        self._check(number)
        return self._before(number)

    def _check(self, number: int) -> None:
        if not 1 <= number <= self.count:
            raise ValueError(f"there is no part {number} of {self.count}")

    def _before(self, number: int) -> int:
        return sum(parts * nbytes for parts, nbytes in self._runs(number - 1))

    def _runs(self, parts: int) -> Iterator[tuple[int, int]]:
        """Yield how many of the first `parts` parts have which size."""
        yield min(parts, self.plain), self.base
        left, doublings = parts - self.plain, 1
        while left > 0:
            nbytes = self._doubled(doublings)
            # At the largest size the steps end, or there could be one for each part.
            run = left if nbytes == self.most else min(left, self.step)
            yield run, nbytes
            left, doublings = left - run, doublings + 1

    def _doubled(self, times: int) -> int:
        return min(self.most, self.base << min(times, self.most.bit_length()))


def schedule(base_bytes: int, expected_bytes: int | None, limits: Limits) -> PartSchedule:
    """Choose the sizes of parts.

    What is expected fits into parts of one size, and these are 9/10 of the number of parts at
    most, if need be by being larger from the first on (whole MiB). If less or nothing is
    expected, a quarter of the parts has the size asked for.

    The schedule suffices for `limits.total` in any case, if that is not more than half of what
    the largest parts could carry; else for that half at least. (For all of it every part would
    have to be of the largest size.)

    Args:
        base_bytes: The size that parts have if nothing speaks against it.
        expected_bytes: How much there will be, as far as that is known.
        limits: What the service takes.
    """
    ceiling = min(limits.total, limits.count * limits.most)
    wanted = min(limits.total, max(limits.count * limits.most // 2, 1))
    expected = min(expected_bytes or 0, ceiling)
    base = _clamp(base_bytes, limits)
    if expected > base * (limits.count * 9 // 10):
        base = _fitting(expected, limits.count * 9 // 10, limits)
    plain = min(max(limits.count // 4, -(-expected // base)), limits.count)
    wanted = max(wanted, expected)
    while not (step := _slowest_step(base, plain, wanted, limits)):
        # The parts that grow are too few. With fewer of one size these must be larger, too.
        plain = max(plain - limits.count // 10 - 1, 0)
        larger = _fitting(expected, plain, limits) if plain else min(base * 2, limits.most)
        base = max(base, larger)
    made = _make(base, plain, step, limits)
    return msgspec.structs.replace(made, total=min(limits.total, _capacity(made)))


def too_large(nbytes: int, limits: Limits) -> str:
    """Return why an object of so many bytes can't be stored at all; empty if it can."""
    most = min(limits.total, limits.count * limits.most)
    if nbytes <= most:
        return ""
    return f"{bytes_text(nbytes)} are more than an object can have there ({bytes_text(most)})"


def _slowest_step(base: int, plain: int, wanted: int, limits: Limits) -> int:
    """Return the longest step with which the parts suffice; 0 if none does.

    The longer the steps, the smaller is each part: so halving the interval finds it.
    """
    low, high = 0, limits.count
    while low < high:
        middle = (low + high + 1) // 2
        if _capacity(_make(base, plain, middle, limits)) >= wanted:
            low = middle
        else:
            high = middle - 1
    return low


def _capacity(made: PartSchedule) -> int:
    return made._before(made.count + 1)  # noqa: SLF001 - one module, and no part of what it offers


def _make(base: int, plain: int, step: int, limits: Limits) -> PartSchedule:
    return PartSchedule(
        base=base,
        plain=plain,
        step=step,
        most=limits.most,
        count=limits.count,
        total=limits.total,
    )


def _fitting(nbytes: int, count: int, limits: Limits) -> int:
    """Return the size of parts, in whole MiB, with which `count` of them hold `nbytes`."""
    each = -(-nbytes // max(count, 1))
    return _clamp(-(-each // _MIB) * _MIB, limits)


def _clamp(nbytes: int, limits: Limits) -> int:
    return min(max(nbytes, limits.least), limits.most)
