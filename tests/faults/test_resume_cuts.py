"""Transfers that are broken off in order, as by a lost link: all that has come is kept at once."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import UnavailableError
from buttersink.model import StreamOptions
from support.demanding import NAMES, Amount, Whole, demanding_snapshots
from support.resuming import (
    LONGEST_COMMAND,
    Errand,
    kept_bytes,
    names,
)

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeFs

KIB = 1 << 10
MIB = 1 << 20
FORMATS = {
    "version 1": StreamOptions(version=1),
    "version 2": StreamOptions(version=2),
    "compressed": StreamOptions(version=2, compressed=True),
}
ENOUGH = 400
"""Cuts after which it is clear that a transfer does not get on."""


@pytest.mark.parametrize("options", FORMATS.values(), ids=FORMATS)
def test_a_transfer_may_be_cut_at_any_byte_many_times(
    make_fs: MakeFs, backup: Path, options: StreamOptions
) -> None:
    fs = make_fs(label="a", mount_options="compress=zstd" if options.compressed else "")
    snaps = demanding_snapshots(fs, Amount(), compressible=options.compressed)
    whole, rng = Whole(snaps), Random(str(options))
    every = 100 * KIB if options.compressed else 600 * KIB
    for errand in Errand.all(snaps, backup, options):
        length, cuts = errand.length(), 0
        while True:
            kept = kept_bytes(backup)
            after = rng.randrange(3 * every)
            if kept + after >= length:
                break
            with pytest.raises(UnavailableError):
                errand.run(after, nbytes=every)
            cuts += 1
            assert cuts < ENOUGH
            at = kept_bytes(backup)
            assert kept <= at <= kept + after
            assert kept + after - at < every + LONGEST_COMMAND
        assert errand.run(nbytes=every) == length - kept
        assert cuts > 3
        whole.check(errand.path, backup / errand.path, flags=options.version > 1)
    assert names(backup) == set(NAMES)
