"""Snapshots to move to another host or from there, by ButterSink and by the plain pipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.comparing import timed
from bench.ground import drop_caches, run, words
from bench.transfers import steps_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bench.far import Far, Synced


@dataclass(frozen=True, slots=True, kw_only=True)
class Piped:
    """What the plain pipe took.

    Attributes:
        whole: Seconds of all of it.
        sync: Seconds of a sync afterwards.
        login: Seconds to log in and do nothing, at about the same time.
        cpu: Seconds of the processor, on both hosts.
    """

    whole: float
    sync: float
    login: float
    cpu: float

    @property
    def moving(self) -> float:
        """Seconds in which it moved streams, and made them durable."""
        return self.whole - self.login + self.sync


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Snapshots to move, one way.

    Attributes:
        name: What to call it.
        snapshots: All but a lone first one are sent as diffs, to where the one before it is.
        fresh: Makes a destination.
        there: Whether they go to the other host, or come from there.
    """

    name: str
    snapshots: list[Path]
    fresh: Callable[[], AbstractContextManager[Path]]
    there: bool

    def synced(self, far: Far, *, wrapper: str = "") -> Synced:
        """Run ButterSink; with words in front of the command of ssh, if there are any."""
        source = self.snapshots[0].parent
        with self.fresh() as destination:
            ends = (
                (f"{source}/", far.url(destination))
                if self.there
                else (far.url(source), f"{destination}/")
            )
            drop_caches()
            return far.synced(*ends, wrapper=wrapper)

    def piped(self, far: Far) -> Piped:
        """Run what a plain user types."""
        with self.fresh() as destination:
            text = "\n".join(
                self._pipe(far, parent, snapshot, destination)
                for parent, snapshot in steps_of(self.snapshots)
            )
            drop_caches()
            done = far.run(text)
            sync = timed(lambda: run("sync", "--file-system", destination))
        return Piped(whole=done.seconds, sync=sync, login=far.logged_in(), cpu=done.cpu_seconds)

    def _pipe(self, far: Far, parent: Path | None, snapshot: Path, destination: Path) -> str:
        sender = send(snapshot, parent)
        receiver = words("btrfs", "receive", "--quiet", destination)
        if self.there:
            return f"{sender} | {far.ssh(receiver)}"
        return f"{far.ssh(sender)} | {receiver}"


def send(snapshot: Path, parent: Path | None = None) -> str:
    """Return the words that send, for a shell."""
    base = ("-p", parent) if parent else ()
    return words("btrfs", "send", "--quiet", *base, snapshot)
