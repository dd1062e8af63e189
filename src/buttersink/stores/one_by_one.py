"""Measuring several diffs at an end that is near: one after another costs nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buttersink.errors import ButterSinkError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from buttersink.model import Measurement, Size, StreamOptions
    from buttersink.store import Source


def measure_one_by_one(
    source: Source, measurements: Iterable[Measurement], options: StreamOptions
) -> Iterator[Size | ButterSinkError]:
    """Yield what `source.measure` returns or raises for each; see `store.Source.measure_each`."""
    for measurement in measurements:
        try:
            yield source.measure(measurement.diff, options, measurement.limit)
        except ButterSinkError as error:
            yield error
