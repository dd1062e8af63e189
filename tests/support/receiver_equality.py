"""Whether two receivers make the same of the streams of a history, and what the source has.

The kernel sends some things wrongly (see `buttersink.stream.losses`): then both receivers differ
from the source, and are compared with each other. Where `btrfs receive` is known to be wrong,
what it makes may differ from the source where the other receiver's does not.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from support.loopfs import LoopFs, run
from support.receiver_flags import FREE, all_layouts, changed_flags, get_flags
from support.receiver_history import ReceiverHistory
from support.receiver_judge import Circumstances, Made, judge
from support.receiver_streams import PLAIN, Step, steps, write_stream
from support.receivers import Arrival, PlainBtrfsReceive, ReceiveError
from support.subvolume_facts import identity, own_uuid, show
from support.tree import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from support.receiver_history import Setting
    from support.receiver_streams import Format, Route
    from support.receivers import Receiver

_INAPPLICABLE = "a stream can't be applied"
_SHOWN = 8
_LONGEST = 400


class Leg(NamedTuple):
    """A way to send a whole history."""

    route: Route
    form: Format


@dataclass(slots=True)
class Tally:
    """What came of the comparisons so far.

    Attributes:
        streams: Those that were received by both.
        kernel: Streams that the kernel made wrongly, by what was wrong.
        better: Streams that `btrfs receive` alone made something wrong of, by what was wrong.
        inapplicable: Streams of which neither could make anything, each with what `btrfs receive`
            said.
        failures: What must not be, each with where it was.
    """

    streams: int = 0
    kernel: Counter[str] = field(default_factory=Counter)
    better: Counter[str] = field(default_factory=Counter)
    inapplicable: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _End:
    """One receiver and what it has made."""

    name: str
    top: Path
    receiver: Receiver

    def path(self, number: int) -> Path:
        return self.top / str(number)


class Comparison:
    """One history, sent as often as wanted to two receivers.

    Args:
        seed: Makes the history, and all else that is chosen.
        setting: Where it takes place.
        scratch: An existing directory.
        count: Number of snapshots.
        steps: Changes before each, about.
    """

    def __init__(
        self, seed: int, setting: Setting, scratch: Path, *, count: int, steps: int
    ) -> None:
        self.tally = Tally()
        self._seed = seed
        self._setting = setting
        self._scratch = scratch
        self._count = count
        self._steps = steps

    def run(self, legs: Sequence[Leg], ours: Callable[[Path, Random], Receiver]) -> Tally:
        """Make the history and send it; return what came of it.

        Args:
            legs: Each goes to a pair of empty file systems.
            ours: Makes the receiver that is compared with `btrfs receive`, for a directory.
        """
        with self._fs(self._setting.source) as source:
            history = ReceiverHistory(self._seed, source, top_inherits=self._setting.top_inherits)
            if self._seed % 3 == 0:
                history.take_empty()
            history.make_snapshots(self._count - len(history.snapshots), steps=self._steps)
            for number, leg in enumerate(legs):
                rng = Random(f"{self._seed} {number}")
                with ExitStack() as stack:
                    tops = [
                        stack.enter_context(self._fs(self._setting.destination)).path
                        for _ in range(2)
                    ]
                    ends = (
                        _End("ours", tops[0], ours(tops[0], rng)),
                        _End("btrfs receive", tops[1], PlainBtrfsReceive(tops[1])),
                    )
                    _Leg(self, leg, history.snapshots, ends, rng).run()
        return self.tally

    @property
    def setting(self) -> Setting:
        """Where the history takes place."""
        return self._setting

    @property
    def stream_file(self) -> Path:
        """Where to put a stream."""
        return self._scratch / "stream"

    def place(self, leg: Leg, step: Step) -> str:
        """Return in words which stream it is."""
        where = f"seed {self._seed}, {self._setting.name}, {leg.form}, {leg.route.value}"
        return f"{where}: stream of {step}"

    def fail(self, leg: Leg, step: Step, what: str, lines: Sequence[str] = ()) -> None:
        """Note what must not be."""
        more = [f"... and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        heading = f"{self.place(leg, step)}: {what}"
        shown = [f"{line[:_LONGEST]}..." if len(line) > _LONGEST else line for line in lines]
        self.tally.failures.append("\n    ".join([heading, *shown[:_SHOWN], *more]))

    def _fs(self, options: str) -> LoopFs:
        return LoopFs.create(self._scratch, mount_options=options)


class _Leg:
    """A history on its way to two receivers."""

    def __init__(
        self,
        comparison: Comparison,
        leg: Leg,
        snapshots: Sequence[Path],
        ends: tuple[_End, _End],
        rng: Random,
    ) -> None:
        self._comparison = comparison
        self._tally = comparison.tally
        self._leg = leg
        self._snapshots = snapshots
        self._ends = ends
        self._rng = rng

    def run(self) -> None:
        for step in steps(self._leg.route, len(self._snapshots), self._rng):
            if self._send(step, self._leg.form):
                continue
            # What follows is to build on what is right.
            for end in self._ends:
                if end.path(step.to).exists():
                    run("btrfs", "--quiet", "subvolume", "delete", end.path(step.to))
            if not self._send(Step(step.to), PLAIN):
                return

    def _send(self, step: Step, form: Format) -> bool:
        """Send once; return whether both have now what the source has, or should have."""
        stream = self._comparison.stream_file
        write_stream(stream, self._snapshots, step, form)
        parent = None if step.parent is None else UUID(identity(self._snapshots[step.parent]))
        arrival = Arrival(
            stream=stream,
            name=str(step.to),
            identity=UUID(identity(self._snapshots[step.to])),
            parent=parent,
            form=form,
        )
        failed = []
        for end in self._ends:
            try:
                end.receiver.receive(arrival)
            except ReceiveError as error:
                failed.append(f"{end.name}: {error}")
        if failed:
            if len(failed) == len(self._ends):
                self._tally.kernel[_INAPPLICABLE] += 1
                self._tally.inapplicable.append(
                    f"{self._comparison.place(self._leg, step)}: {failed[1]}"
                )
            else:
                self._comparison.fail(self._leg, step, "only one receiver failed", failed)
            return False
        self._tally.streams += 1
        self._compare_identity(step, arrival)
        return self._compare(step, form)

    def _compare_identity(self, step: Step, arrival: Arrival) -> None:
        fields = ("Received UUID", "Send transid", "Flags")
        facts = [[show(end.path(step.to), field) for field in fields] for end in self._ends]
        ours = self._ends[0]
        if (
            facts[0] != facts[1]
            or facts[0][0] != str(arrival.identity)
            or facts[0][2] != "readonly"
        ):
            lines = [f"{end.name}: {fact}" for end, fact in zip(self._ends, facts, strict=True)]
            self._comparison.fail(self._leg, step, "the identities differ", lines)
        parent = "-" if step.parent is None else own_uuid(ours.path(step.parent))
        found = show(ours.path(step.to), "Parent UUID")
        if found != parent:
            self._comparison.fail(self._leg, step, f"the parent is {found} instead of {parent}")

    def _compare(self, step: Step, form: Format) -> bool:
        source, *received = self._snapshots[step.to], *(end.path(step.to) for end in self._ends)
        sent, ours, theirs = (Made(path, describe(path)) for path in (source, *received))
        top_inherits = self._comparison.setting.top_inherits
        circumstances = Circumstances(
            incremental=step.parent is not None,
            compressed=form.compressed,
            top_inherits=top_inherits,
        )
        verdict = judge(sent, ours, theirs, circumstances)
        self._tally.kernel.update(verdict.kernel)
        self._tally.better.update(verdict.better)
        problems = {
            "the receivers differ": verdict.apart,
            "it is not what was sent": verdict.wrong,
        }
        if not verdict.apart:
            layouts = (all_layouts(made.path, made.tree) for made in (ours, theirs))
            problems["the receivers' data lies elsewhere"] = _unequal(*layouts)
        if form.version > 1 and step.parent is not None and not verdict.wrong:
            parent = self._snapshots[step.parent]
            told = changed_flags(parent, sent.path, describe(parent).keys() & sent.tree.keys())
            flags = {path: get_flags(os.path.join(os.fsencode(ours.path), path)) for path in told}
            problems["the flags are not those of the source"] = _unequal(
                *({path: each[path] & FREE for path in told} for each in (told, flags))
            )
        for problem, lines in problems.items():
            if lines:
                self._comparison.fail(self._leg, step, problem, lines)
        return not (
            verdict.kernel
            or verdict.apart
            or verdict.wrong
            or (verdict.better and not top_inherits)
        )


def _unequal(one: Mapping[bytes, object], two: Mapping[bytes, object]) -> list[str]:
    return [
        f"{path!r}: {one[path]} != {two.get(path)}" for path in one if one[path] != two.get(path)
    ]
