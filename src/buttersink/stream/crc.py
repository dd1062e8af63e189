"""CRC-32C in hardware: the extension module of the package `crc32c`, without the rest of it.

The package's own `__init__` imports a command line, and to know its version email, zip archives
and some forty modules more: a quarter of what it takes to start, and nothing to run as root for.
"""

from __future__ import annotations

from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["crc32c"]


def _load() -> Callable[[bytes | memoryview, int], int]:
    package = find_spec("crc32c")  # finds it, and imports nothing
    places = package and package.submodule_search_locations
    found = PathFinder.find_spec("_crc32c", places) if places else None
    if found is None or found.loader is None:  # arranged in another way than by now
        from crc32c import crc32c  # noqa: PLC0415 - only here is it needed

        return crc32c
    module = module_from_spec(found)
    found.loader.exec_module(module)
    function: Callable[[bytes | memoryview, int], int] = module.crc32c
    return function


crc32c: Final = _load()
"""Goes on from a crc (the second argument) with more data."""
