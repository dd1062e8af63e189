"""The verbs of an end that comes back: what a second try means, and that nothing else differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buttersink.errors import MissingError, PathTakenError
from buttersink.linking import Patience
from buttersink.model import Diff, Measurement, StreamOptions
from buttersink.redialled import RedialledSink
from buttersink.redialling import Redialler
from contract.memory_store import MemoryStore
from support.dropping_ends import Drop, DroppingStore, Retrying, When
from support.sync_ends import Told, source_disk

if TYPE_CHECKING:
    from collections.abc import Callable

    from buttersink.store import Sink


def test_what_is_missing_without_a_loss_is_missing() -> None:
    retrying = Retrying(DroppingStore(source_disk(), "snaps"))
    (first, second, _) = retrying.end.inventory().snapshots
    with pytest.raises(MissingError):
        retrying.end.delete(first.uuid, second.path)


class TestASecondTry:
    def test_that_fails_for_a_reason_of_its_own_says_so(self) -> None:
        disk = source_disk()
        retrying = Retrying(DroppingStore(disk, "snaps", Drop("adopt")))
        (first, second, _) = retrying.end.inventory().snapshots
        with pytest.raises(PathTakenError):
            retrying.end.adopt(first, second.path)

    def test_may_be_cut_off_as_well(self) -> None:
        disk = source_disk()
        far = DroppingStore(
            disk,
            "snaps",
            Drop("delete", When.ANSWERING),
            Drop("delete"),
            Drop("inventory"),
        )
        (first, *_) = MemoryStore(disk, "snaps").inventory().snapshots
        retrying = Retrying(far)
        retrying.end.delete(first.uuid, first.path)
        assert far.done == ["delete"]
        assert retrying.pauses == [1, 2, 4]


@pytest.mark.parametrize(
    "ask",
    [
        lambda end: end.measure(Diff(end.inventory().snapshots[0].uuid), StreamOptions()),
        lambda end: [
            *end.measure_each(
                [Measurement(diff=Diff(s.uuid), limit=None) for s in end.inventory().snapshots],
                StreamOptions(),
            )
        ],
        lambda end: end.estimate(Diff(end.inventory().snapshots[0].uuid)),
        lambda end: end.stream_options(),
        lambda end: end.accepts(),
        lambda end: end.place(),
        lambda end: end.mode,
        lambda end: end.name,
        lambda end: end.notes(),
        lambda end: end.unready([Diff(s.uuid) for s in end.inventory().snapshots]),
        lambda end: end.stored_fraction(),
        lambda end: end.taken(["1", "9"]),
    ],
)
def test_an_end_that_stays_answers_as_it_would(ask: Callable[[Sink], object]) -> None:
    plain = MemoryStore(source_disk(), "snaps")
    redialler = Redialler(Patience(), Told().append)
    assert ask(RedialledSink(plain, redialler)) == ask(plain)
