"""The fuzz targets by name: what each takes, and where its corpus is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from fuzz import applier_target, guard_target, meter_target, wire_target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "applier": applier_target.take,
    "guard": guard_target.take,
    "meter": meter_target.take,
    "wire": wire_target.take,
}
"""Each takes any bytes, and raises only if a promise is broken."""

MAX_INPUT: Final = 4096
"""The longest input that is tried, in bytes: with longer ones there are too few."""


def corpus_directory(target: str) -> Path:
    """Return where the inputs that are checked in for a target are."""
    return Path(__file__).parent / "corpus" / target
