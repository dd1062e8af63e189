"""However much there is to ask for or to tell, each message of it fits into a frame."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import ProtocolError
from buttersink.model import Snapshot
from buttersink.wire.facts import as_snapshots, snapshot_messages
from buttersink.wire.frames import MAX_MESSAGE
from buttersink.wire.messages import FindTaken, Found, decode_request, encode
from buttersink.wire.portions import portions
from buttersink.wire.values import MAX_ASKED

UUIDS = st.integers(1, 5).map(lambda number: UUID(int=number))


def snapshot(uuid: UUID, paths: tuple[str, ...]) -> Snapshot:
    return Snapshot(uuid=uuid, paths=paths, created=datetime(2020, 2, 20, tzinfo=UTC))


@given(lengths=st.lists(st.sampled_from([0, 1, 4096, 1 << 16, 1 << 20]), max_size=200))
def test_portions_are_all_there_is_in_order(lengths: list[int]) -> None:
    told = list(portions(lengths, lambda length: length))
    assert [length for portion in told for length in portion] == lengths
    assert all(0 < sum(portion) <= MAX_MESSAGE - (1 << 20) for portion in told if any(portion))


@pytest.mark.parametrize(("count", "length"), [(250_000, 1), (5000, 4095), (300, 65536)])
def test_portions_of_paths_are_requests_that_a_server_takes(count: int, length: int) -> None:
    for portion in portions([b"x" * length] * count, len):
        request = encode(FindTaken(paths=portion))
        assert len(request) <= MAX_MESSAGE
        decode_request(request)


@pytest.mark.parametrize(
    ("verb", "field", "thing"),
    [
        ("taken", "paths", b"x"),
        ("parents", "uuids", bytes(16)),
        ("recorded_sizes", "uuids", bytes(16)),
    ],
)
def test_a_request_for_too_much_makes_no_sense(verb: str, field: str, thing: bytes) -> None:
    def request(count: int) -> bytes:
        return msgspec.msgpack.encode({"verb": verb, field: [thing] * count})

    decode_request(request(MAX_ASKED))
    with pytest.raises(ProtocolError, match="length <= 100000"):
        decode_request(request(MAX_ASKED + 1))


def test_a_snapshot_with_very_many_paths_is_told_in_several_messages() -> None:
    paths = tuple(f"{number:04}{'x' * 4000}" for number in range(3000))
    several = (snapshot(UUID(int=1), paths), snapshot(UUID(int=2), ("y",)))
    told = [message for one in several for message in snapshot_messages(one)]
    assert all(len(encode(Found(snapshots=(message,)))) < 1 << 20 for message in told)
    assert as_snapshots(told) == list(several)


@given(found=st.lists(st.tuples(UUIDS, st.lists(st.sampled_from("abc"), max_size=3).map(tuple))))
def test_snapshots_are_unique_and_no_path_is_lost(
    found: list[tuple[UUID, tuple[str, ...]]],
) -> None:
    told = [message for one in found for message in snapshot_messages(snapshot(*one))]
    heard = as_snapshots(told)
    assert len({s.uuid for s in heard}) == len(heard)
    assert {(s.uuid, p) for s in heard for p in s.paths} == {(u, p) for u, ps in found for p in ps}
