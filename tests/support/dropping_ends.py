"""Stores in memory whose link drops at chosen moments, and comes back when it is dialled again."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from buttersink.errors import UnavailableError
from buttersink.linking import Patience
from buttersink.redialled import RedialledSink
from buttersink.redialling import Redialler
from contract.carrying import FailingReader
from contract.memory_store import MemoryStore
from support.sync_ends import Told

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

    from buttersink.errors import ButterSinkError
    from buttersink.model import (
        Diff,
        Inventory,
        Measurement,
        Partial,
        Position,
        Size,
        Snapshot,
        StreamOptions,
    )
    from buttersink.store import Reader, Writer
    from contract.memory_disk import MemoryDisk

_Result = TypeVar("_Result")


class When(Enum):
    """At which moment of a verb a link drops."""

    ASKING = "before it is done"
    ANSWERING = "when it is done, but nobody has heard of that"


@dataclass(frozen=True, slots=True)
class Drop:
    """A loss of the link: the next time that a verb is used.

    Attributes:
        verb: Its name in `store.Sink`.
        when: At which moment of it.
        after: Of what comes in pieces, behind how many: sizes, or bytes of a stream that is sent.
    """

    verb: str
    when: When = When.ASKING
    after: int = 0


class DroppingStore(MemoryStore):
    """A store behind a link that drops.

    Args:
        disk: What it is on.
        directory: Path from the top of the disk.
        drops: When the link drops; each once, those of one verb in order.
        refusals: What the first dialling attempts come to; all later ones are a success.
        is_down_for_ever: After the first drop nothing answers any more.

    Attributes:
        dials: How often it was dialled again.
        measured: All that was ever measured.
        done: The verbs that have changed something, in order.
    """

    def __init__(
        self,
        disk: MemoryDisk,
        directory: str,
        *drops: Drop,
        refusals: Iterable[ButterSinkError] = (),
        is_down_for_ever: bool = False,
    ) -> None:
        super().__init__(disk, directory)
        self._drops = list(drops)
        self._refusals = list(refusals)
        self._is_down_for_ever = is_down_for_ever
        self._lost = False
        self.dials = 0
        self.measured: list[Diff] = []
        self.done: list[str] = []

    @property
    def drops_left(self) -> int:
        """How many drops have not happened."""
        return len(self._drops)

    @property
    def lost(self) -> bool:
        """See `store.Source`."""
        return self._lost

    def reconnect(self) -> None:
        """See `store.Source`."""
        assert self._lost
        self.dials += 1
        if self._is_down_for_ever:
            raise UnavailableError("connection refused")
        if self._refusals:
            raise self._refusals.pop(0)
        self._lost = False

    def _lose(self, verb: str) -> UnavailableError:
        self._lost = True
        return UnavailableError(f"{verb}: the connection was lost")

    def _take(self, verb: str) -> Drop | None:
        if self._lost:
            raise UnavailableError(f"{verb}: the connection is lost")
        drop = next((drop for drop in self._drops if drop.verb == verb), None)
        if drop is not None:
            self._drops.remove(drop)
        return drop

    def _ask(self, verb: str, act: Callable[[], _Result]) -> _Result:
        drop = self._take(verb)
        if drop is not None and drop.when is When.ASKING:
            raise self._lose(verb)
        result = act()
        if drop is not None:
            raise self._lose(verb)
        return result

    def _change(self, verb: str, act: Callable[[], None]) -> None:
        def change() -> None:
            act()
            self.done.append(verb)

        self._ask(verb, change)

    def inventory(self) -> Inventory:
        return self._ask("inventory", super().inventory)

    def parents(self, uuids: Collection[UUID]) -> tuple[Snapshot, ...]:
        return self._ask("parents", lambda: super(DroppingStore, self).parents(uuids))

    def taken(self, paths: Iterable[str]) -> frozenset[str]:
        return self._ask("taken", lambda: super(DroppingStore, self).taken(paths))

    def recorded_sizes(self, snapshots: Iterable[Snapshot]) -> Mapping[Diff, Size]:
        return self._ask(
            "recorded_sizes", lambda: super(DroppingStore, self).recorded_sizes(snapshots)
        )

    def free_bytes(self) -> int | None:
        return self._ask("free_bytes", super().free_bytes)

    def measure_each(
        self, measurements: Sequence[Measurement], options: StreamOptions
    ) -> Iterator[Size | ButterSinkError]:
        drop = self._take("measure_each")
        for number, size in enumerate(super().measure_each(measurements, options)):
            if drop is not None and number == drop.after:
                raise self._lose("measure_each")
            self.measured.append(measurements[number].diff)
            yield size
        if drop is not None:
            raise self._lose("measure_each")

    @contextmanager
    def send(
        self, diff: Diff, options: StreamOptions, *, resume: Position | None = None
    ) -> Iterator[Reader]:
        drop = self._take("send")
        if drop is None:
            with super().send(diff, options, resume=resume) as reader:
                yield reader
            return
        error = self._lose("send")
        with super().send(diff, options, resume=resume) as reader:
            yield FailingReader(reader, error, after=drop.after)
        raise error

    @contextmanager
    def receive(
        self,
        diff: Diff,
        path: str,
        options: StreamOptions,
        *,
        expected: Size | None = None,
        link: bool = False,
        snapshot: Snapshot | None = None,
        fresh: bool = False,
    ) -> Iterator[Writer]:
        drop = self._take("receive")
        with super().receive(
            diff, path, options, expected=expected, link=link, snapshot=snapshot, fresh=fresh
        ) as writer:
            yield writer
            if drop is not None and drop.when is When.ASKING:
                raise self._lose("receive")
        self.done.append("receive")
        if drop is not None:
            raise self._lose("receive")

    @contextmanager
    def lock(self) -> Iterator[None]:
        if (drop := self._take("lock")) is not None and drop.when is When.ASKING:
            raise self._lose("lock")
        with super().lock():
            if drop is not None:
                raise self._lose("lock")
            yield

    def adopt(self, snapshot: Snapshot, path: str) -> None:
        self._change("adopt", lambda: super(DroppingStore, self).adopt(snapshot, path))

    def release(self, uuid: UUID) -> None:
        self._change("release", lambda: super(DroppingStore, self).release(uuid))

    def delete(self, uuid: UUID, path: str) -> None:
        self._change("delete", lambda: super(DroppingStore, self).delete(uuid, path))

    def clean(self, partial: Partial) -> None:
        self._change("clean", lambda: super(DroppingStore, self).clean(partial))

    def flush(self) -> None:
        self._change("flush", super().flush)


class Retrying:
    """An end that is dialled again, and what is told and slept meanwhile."""

    def __init__(self, far: DroppingStore, *, retries: int = 8) -> None:
        self.told, self.pauses = Told(), list[float]()
        self.redialler = Redialler(
            Patience(retries=retries), self.told.append, sleep=self.pauses.append
        )
        self.end = RedialledSink(far, self.redialler)
