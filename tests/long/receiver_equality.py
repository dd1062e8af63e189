"""Many histories, each received by our receiver and by `btrfs receive`: are they equal?

Run it as `python -m long.receiver_equality --seeds 0-199` in the directory of the tests.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from buttersink.model import Receiver
from buttersink.stores.btrfs import BtrfsStore
from support.loopfs import scratch_root
from support.receiver_equality import Comparison, Leg
from support.receiver_history import SETTINGS
from support.receiver_streams import FORMATS, Route
from support.receivers import StoreReceive

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from support.receiver_equality import Tally
    from support.receiver_history import Setting

SNAPSHOTS = 6
STEPS = 120
"""Before each snapshot, about."""


def legs(seed: int) -> list[Leg]:
    """Return every route, in formats that come round with the seeds."""
    return [
        Leg(route, FORMATS[(seed + number) % len(FORMATS)]) for number, route in enumerate(Route)
    ]


def our_receiver(directory: Path, rng: Random) -> StoreReceive:
    """Return the receiver that is to be equal to `btrfs receive`."""
    return StoreReceive(lambda: BtrfsStore(f"{directory}/", receiver=Receiver.OWN), rng)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, report as it goes; return 1 if anything differs that must not."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and unmount
    streams = 0
    kernel: Counter[str] = Counter()
    better: Counter[str] = Counter()
    failures: list[str] = []
    for seed in options.seeds:
        setting = SETTINGS[seed % len(SETTINGS)]
        start = time.monotonic()
        tally = compare(seed, setting)
        streams += tally.streams
        kernel += tally.kernel
        better += tally.better
        failures += tally.failures
        seconds = time.monotonic() - start
        _say(
            f"seed {seed} ({setting.name}): {tally.streams} streams, "
            f"{len(tally.failures)} failures, {seconds:.0f} s"
        )
        for failure in tally.failures:
            _say(f"  {failure}")
        for refusal in tally.inapplicable:
            _say(f"  can't be applied: {refusal}")
    _say(f"{len(options.seeds)} histories, {streams} streams, {len(failures)} failures")
    for title, counter in (("the kernel", kernel), ("btrfs receive", better)):
        for what, count in counter.most_common():
            _say(f"  streams that {title} got wrong: {count}: {what}")
    return 1 if failures else 0


def compare(seed: int, setting: Setting) -> Tally:
    """Make one history, and send it by all routes."""
    with tempfile.TemporaryDirectory(prefix="buttersink-long-", dir=scratch_root()) as scratch:
        comparison = Comparison(seed, setting, Path(scratch), count=SNAPSHOTS, steps=STEPS)
        return comparison.run(legs(seed), our_receiver)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seeds",
        type=_seeds,
        default=range(200),
        metavar="FIRST-LAST",
        help="which histories (default: 0-199)",
    )
    return parser


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


if __name__ == "__main__":
    sys.exit(main())
