"""What passes between ButterSink and ssh, counted: round trips and bytes.

`python -m bench.ssh_tap FILE COMMAND...` runs a command, passes its standard input and output on,
and at the end writes what it has seen to a file.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buttersink.wire.frames import PREAMBLE, FrameDecoder, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE_BYTES = 1 << 20
_HERE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one connection has seen.

    Attributes:
        round_trips: How often the far side spoke after we had spoken, the greeting included.
        there: Bytes of ours.
        back: Bytes of the far side.
    """

    round_trips: int
    there: int
    back: int


def wrapper(file: Path) -> str:
    """Return the words to put in front of the command of ssh."""
    module = [sys.executable, "-P", "-m", "bench.ssh_tap"]
    return shlex.join(["/usr/bin/env", f"PYTHONPATH={_HERE}", *module, str(file)])


def seen(file: Path) -> Seen:
    """Return what the connection has seen that has just ended."""
    return Seen(**json.loads(file.read_text(encoding="utf-8")))


class _Turns:
    """Counts how often the word passes from us to the far side."""

    def __init__(self) -> None:
        self.count = 0
        self._ours = False
        self._lock = threading.Lock()

    def spoken(self, *, ours: bool) -> None:
        with self._lock:
            self.count += self._ours and not ours
            self._ours = ours


class _Way:
    """One way of the connection: passes bytes on, to their end, and tells who speaks."""

    def __init__(self, source: int, sink: int, spoken: Callable[[], None]) -> None:
        self.passed = 0
        self._source = source
        self._sink = sink
        self._spoken = spoken
        self._decoder = FrameDecoder()
        self._preamble_bytes = len(PREAMBLE)

    def run(self) -> None:
        while data := os.read(self._source, _PIECE_BYTES):
            self.passed += len(data)
            self._look_at(memoryview(data))
            left = memoryview(data)
            while left:
                left = left[os.write(self._sink, left) :]
        os.close(self._sink)

    def _look_at(self, data: memoryview) -> None:
        skipped = min(self._preamble_bytes, len(data))
        self._preamble_bytes -= skipped
        for frame in self._decoder.feed(data[skipped:]):
            if frame.kind is not Kind.ALIVE:
                self._spoken()


def main(file: str, *command: str) -> int:
    """Do it; return the exit status of the command."""
    turns = _Turns()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        inward, outward = os.dup(process.stdin.fileno()), process.stdout.fileno()
        process.stdin.close()
        there = _Way(0, inward, lambda: turns.spoken(ours=True))
        back = _Way(outward, 1, lambda: turns.spoken(ours=False))
        threading.Thread(target=there.run, daemon=True).start()
        back.run()
    result = Seen(round_trips=turns.count, there=there.passed, back=back.passed)
    Path(file).write_text(json.dumps(asdict(result)), encoding="utf-8")
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
