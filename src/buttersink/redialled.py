"""An end whose link may be lost and got back while it is used, as `store.Source` or `store.Sink`.

Each verb is done again when the end is back, with one care: what was asked for when the link was
lost may have been done or not. So a second try that fails is judged by what is there then.

Streams are not begun anew here, but by who moves them: they have two ends.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeVar

from buttersink.errors import ButterSinkError
from buttersink.redialling import PASSING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from uuid import UUID

    from buttersink.model import (
        Diff,
        Inventory,
        Measurement,
        Mode,
        Partial,
        Position,
        Size,
        Snapshot,
        StreamOptions,
    )
    from buttersink.redialling import Redialler
    from buttersink.store import Reader, Sink, Source, Writer

_Result = TypeVar("_Result")


class RedialledSource:
    """A source that comes back; implements `store.Source`, where every verb is described."""

    def __init__(self, end: Source, redialler: Redialler) -> None:
        """Use an end, as long as `redialler` has patience with it."""
        self.name = end.name
        self.end = end
        self._redialler = redialler

    def _persist(self, act: Callable[[], _Result]) -> _Result:
        return self._redialler.persist(act, self)

    @property
    def lost(self) -> bool:
        """See `store.Source`."""
        return self.end.lost

    def reconnect(self) -> None:
        """See `store.Source`; without patience."""
        self.end.reconnect()

    def close(self) -> None:
        """See `store.Source`."""
        self.end.close()

    def place(self) -> tuple[object, str]:
        """See `store.Source`."""
        return self.end.place()

    def inventory(self) -> Inventory:
        """See `store.Source`."""
        return self._persist(self.end.inventory)

    def parents(self, uuids: Collection[UUID]) -> tuple[Snapshot, ...]:
        """See `store.Source`."""
        return self._persist(lambda: self.end.parents(uuids))

    def stream_options(self) -> StreamOptions:
        """See `store.Source`."""
        return self._persist(self.end.stream_options)

    def measure(self, diff: Diff, options: StreamOptions, limit: int | None = None) -> Size:
        """See `store.Source`."""
        return self._persist(lambda: self.end.measure(diff, options, limit))

    def measure_each(
        self, measurements: Sequence[Measurement], options: StreamOptions
    ) -> Iterator[Size | ButterSinkError]:
        """See `store.Source`; what was measured when the link was lost is not measured again."""
        attempts, known = self._redialler.attempts(self), 0
        while True:
            try:
                for size in self.end.measure_each(measurements[known:], options):
                    known += 1
                    yield size
            except PASSING as error:
                attempts.after(error, reached=known)
            else:
                return

    def estimate(self, diff: Diff) -> Size:
        """See `store.Source`."""
        return self._persist(lambda: self.end.estimate(diff))

    def recorded_sizes(self, snapshots: Iterable[Snapshot]) -> Mapping[Diff, Size]:
        """See `store.Source`."""
        wanted = tuple(snapshots)
        return self._persist(lambda: self.end.recorded_sizes(wanted))

    def notes(self) -> Sequence[str]:
        """See `store.Source`."""
        return self.end.notes()

    def unready(self, diffs: Iterable[Diff]) -> Mapping[Diff, str]:
        """See `store.Source`."""
        wanted = tuple(diffs)
        return self._persist(lambda: self.end.unready(wanted))

    def thaw(self, diffs: Iterable[Diff], days: int) -> None:
        """See `store.Source`."""
        wanted = tuple(diffs)
        self._persist(lambda: self.end.thaw(wanted, days))

    def send(
        self, diff: Diff, options: StreamOptions, *, resume: Position | None = None
    ) -> AbstractContextManager[Reader]:
        """See `store.Source`; it is not begun anew."""
        return self.end.send(diff, options, resume=resume)

    def outline(self, diff: Diff, version: int) -> AbstractContextManager[Reader]:
        """See `store.Source`; it is not begun anew."""
        return self.end.outline(diff, version)


class RedialledSink(RedialledSource):
    """A sink that comes back; implements `store.Sink`, where every verb is described."""

    def __init__(self, end: Sink, redialler: Redialler) -> None:
        """Use an end, as long as `redialler` has patience with it."""
        super().__init__(end, redialler)
        self._sink = end

    @property
    def mode(self) -> Mode:
        """See `store.Sink`."""
        return self._sink.mode

    def accepts(self) -> StreamOptions:
        """See `store.Sink`."""
        return self._persist(self._sink.accepts)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `store.Sink`; an end that comes back takes the lock again by itself."""
        with ExitStack() as held:
            self._persist(lambda: held.enter_context(self._sink.lock()))
            yield

    def taken(self, paths: Iterable[str]) -> frozenset[str]:
        """See `store.Sink`."""
        wanted = tuple(paths)
        return self._persist(lambda: self._sink.taken(wanted))

    def free_bytes(self) -> int | None:
        """See `store.Sink`."""
        return self._persist(self._sink.free_bytes)

    def stored_fraction(self) -> float | None:
        """See `store.Sink`."""
        return self._persist(self._sink.stored_fraction)

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
    ) -> AbstractContextManager[Writer]:
        """See `store.Sink`; it is not begun anew."""
        return self._sink.receive(
            diff, path, options, expected=expected, link=link, snapshot=snapshot, fresh=fresh
        )

    def copy(self, source: Source, diff: Diff, path: str, *, link: bool = False) -> int | None:
        """See `store.Sink`; it is not begun anew."""
        other = source.end if isinstance(source, RedialledSource) else source
        return self._sink.copy(other, diff, path, link=link)

    def release(self, uuid: UUID) -> None:
        """See `store.Sink`."""
        self._settle(
            lambda: self._sink.release(uuid),
            lambda held: not any(p.link and p.uuid == uuid for p in held.partials),
        )

    def adopt(self, snapshot: Snapshot, path: str) -> None:
        """See `store.Sink`."""
        self._settle(
            lambda: self._sink.adopt(snapshot, path),
            lambda held: _is_at(held, snapshot.uuid, path),
        )

    def delete(self, uuid: UUID, path: str) -> None:
        """See `store.Sink`."""
        self._settle(
            lambda: self._sink.delete(uuid, path), lambda held: not _is_at(held, uuid, path)
        )

    def hide(self, uuid: UUID, path: str) -> None:
        """See `store.Sink`."""
        self._settle(lambda: self._sink.hide(uuid, path), lambda held: not _is_at(held, uuid, path))

    def discard(self, diff: Diff, path: str) -> None:
        """See `store.Sink`."""
        self._settle(
            lambda: self._sink.discard(diff, path), lambda held: diff not in dict(held.stored)
        )

    def clean(self, partial: Partial) -> None:
        """See `store.Sink`."""
        self._settle(
            lambda: self._sink.clean(partial),
            lambda held: (
                not any((p.path, p.uuid) == (partial.path, partial.uuid) for p in held.partials)
            ),
        )

    def flush(self) -> None:
        """See `store.Sink`."""
        self._persist(self._sink.flush)

    def arrived(self, diff: Diff, path: str, *, link: bool) -> bool:
        """Return whether a `receive`, in whose middle the link was lost, has done its work."""
        held = self.inventory()
        if not held.makes_any_diff:
            return diff in dict(held.stored)
        if link:
            return any(p.link and p.uuid == diff.to for p in held.partials)
        return _is_at(held, diff.to, path)

    def _settle(self, act: Callable[[], None], settled: Callable[[Inventory], bool]) -> None:
        """Change something, once.

        Args:
            act: What changes it.
            settled: Tells by what is there then whether that was done.
        """

        def again() -> None:
            try:
                act()
            except PASSING:
                raise
            except ButterSinkError:
                if not settled(self._sink.inventory()):
                    raise

        self._redialler.persist(act, self, again=again)


def _is_at(held: Inventory, uuid: UUID, path: str) -> bool:
    return any(s.uuid == uuid and path in s.paths for s in held.snapshots)
