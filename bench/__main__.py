"""`python -m bench [--quick] [NAME...]`: run the benchmarks and print their figures."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from bench import (
    checking,
    measuring,
    planning,
    receiving,
    ssh,
    storing,
    streams,
    syncing,
    transfers,
)
from bench.comparing import DEFAULT, QUICK
from bench.ground import Ground

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bench.comparing import Extent, Figure

BENCHMARKS: Mapping[str, Callable[[Ground, Extent], Iterator[Figure]]] = {
    "startup": syncing.startup,
    "planning": planning.planning,
    "storing": storing.storing,
    "noop": syncing.noop,
    "measuring": measuring.measuring,
    "full": transfers.full,
    "incremental": transfers.incremental,
    "compressed": transfers.compressed,
    "receive": receiving.receiving,
    "checksumdir": checking.checksumdir,
    "streams": streams.streams,
    "ssh": ssh.ssh,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Compare ButterSink with the plain tools; see docs/benchmarks.md.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which ones: {', '.join(BENCHMARKS)} (all)"
    )
    parser.add_argument("--quick", action="store_true", help="less data, one pair: a rough idea")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {', '.join(unknown)}")
    if os.geteuid() != 0:
        parser.error("needs root, to mount file systems")
    # As for a program that is installed, which finds itself compiled.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    extent = QUICK if options.quick else DEFAULT
    print("median ratio, ours / theirs (least to greatest); below 1 is faster or less")
    for name in options.names or BENCHMARKS:
        with Ground.opened() as ground:
            for figure in BENCHMARKS[name](ground, extent):
                print(figure.line(), flush=True)


main()
