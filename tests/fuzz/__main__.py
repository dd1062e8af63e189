"""Tries inputs on a fuzz target, with the tests' directory on PYTHONPATH.

`python -m fuzz TARGET DIRECTORY [libFuzzer option...]` looks for new ones that break something,
guided by coverage. It begins with the corpus, and with what DIRECTORY has from earlier runs; there
it also leaves what it finds: `crash-*` for an input that breaks a promise.

`python -m fuzz TARGET FILE` tries one input, without more ado: for a debugger.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Final

_MOST_MEMORY_MIB: Final = 512
"""Of the whole process, which takes some 60 MiB by itself; inputs are a few KiB."""

_LONGEST_SECONDS: Final = 60
"""An input that takes longer hangs."""


def main(target: str, path: str, *options: str) -> None:
    """Try one input or look for some."""
    if Path(path).is_file():
        module = importlib.import_module("fuzz.targets")
        module.TARGETS[target](Path(path).read_bytes())
        return

    import atheris  # noqa: PLC0415 - a single input can be tried where there is none

    with atheris.instrument_imports(include=["buttersink"]):
        module = importlib.import_module("fuzz.targets")
    Path(path).mkdir(parents=True, exist_ok=True)
    defaults = (
        f"-artifact_prefix={path}/",
        f"-max_len={module.MAX_INPUT}",
        f"-rss_limit_mb={_MOST_MEMORY_MIB}",
        f"-timeout={_LONGEST_SECONDS}",
    )
    corpus = str(module.corpus_directory(target))
    atheris.Setup([sys.argv[0], *defaults, *options, path, corpus], module.TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
