from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tracemalloc
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.wire.frames import MAX_MESSAGE
from fuzz.parts import FuzzInput
from fuzz.seeds import seeds
from fuzz.targets import MAX_INPUT, TARGETS, corpus_directory

if TYPE_CHECKING:
    from pathlib import Path

RUNS = {"applier": 3_000, "guard": 10_000, "meter": 15_000, "wire": 10_000}
"""Inputs tried on each target: some seconds."""

LEAST_COVERAGE = 80
"""Edges that the corpus alone reaches; far fewer if the code is not instrumented."""

MOST_MEMORY = MAX_MESSAGE + (1 << 20)
"""What any input may take, in bytes: little but for the longest message."""

CORPUS = [
    pytest.param(target, path, id=f"{target}-{path.name}")
    for target in TARGETS
    for path in sorted(corpus_directory(target).iterdir())
]
EACH_TARGET = pytest.mark.parametrize("target", TARGETS)


@pytest.mark.parametrize(("target", "path"), CORPUS)
def test_every_input_of_the_corpus_keeps_the_promises_in_little_memory(
    target: str, path: Path
) -> None:
    data = path.read_bytes()
    tracemalloc.start()
    try:
        TARGETS[target](data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST_MEMORY


@EACH_TARGET
def test_the_corpus_has_the_seeds_as_they_are_made_now(target: str) -> None:
    written = {path.name: path.read_bytes() for path in corpus_directory(target).iterdir()}
    made = seeds(target)
    assert {name: written.get(name) for name in made} == made, "run `python -m fuzz.seeds`"
    assert max(map(len, written.values())) <= MAX_INPUT


@given(st.binary(max_size=20))
def test_any_bytes_are_an_input_and_its_parts_make_it_up(raw: bytes) -> None:
    given_input = FuzzInput.decode(raw)
    assert given_input.encode() == raw.ljust(2, b"\0")
    parts = [bytes(part) for part in given_input.parts()]
    assert b"".join(parts) == given_input.data
    assert all(len(part) == given_input.part_bytes for part in parts[:-1])


@pytest.mark.skipif(
    find_spec("atheris") is None and platform.machine() != "x86_64",
    reason="there is no atheris for this machine",
)
@EACH_TARGET
def test_new_inputs_keep_the_promises(target: str, tmp_path: Path) -> None:
    run = subprocess.run(
        [
            # By way of a shell, because a program inherits the peak of what it was started from
            # (fs/exec.c, setmax_mm_hiwater_rss), and its own is limited.
            *("/bin/sh", "-c", '"$@"; exit $?', "sh"),
            *(sys.executable, "-m", "fuzz", target, str(tmp_path)),
            *(f"-runs={RUNS[target]}", "-seed=1", "-verbosity=1"),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "0"},
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
    )
    broken_by = [
        f"{path.name}: {path.read_bytes()!r}"
        for path in tmp_path.iterdir()
        if path.name.startswith(("crash-", "oom-", "timeout-"))
    ]
    assert not broken_by, run.stdout + run.stderr
    assert run.returncode == 0, run.stdout + run.stderr
    done = re.search(r"DONE +cov: (\d+)", run.stderr)
    assert done, run.stderr
    assert int(done[1]) >= LEAST_COVERAGE
