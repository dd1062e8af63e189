"""A receipt comes back as it was written; whatever else stands in its place is told apart."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.model import Diff
from buttersink.stored.receipt import (
    MAX_RECEIPT_BYTES,
    NoReceipt,
    ObjectFacts,
    PartFacts,
    Receipt,
    SnapshotFacts,
    StreamFacts,
    decode_receipt,
    encode_receipt,
)

DIFF = Diff(UUID(int=5), UUID(int=4))
SHA = "0123456789abcdef" * 4
NOW = datetime(2024, 2, 29, 12, 30, 15, 250_000, tzinfo=UTC)


def receipt(
    *, path: str = "12/snapshot", parts: tuple[PartFacts, ...] = (), nbytes: int = 60
) -> Receipt:
    return Receipt(
        format=1,
        writer="buttersink 1.0",
        written=NOW,
        snapshot=SnapshotFacts(
            uuid=DIFF.to, parent=DIFF.parent, path=path, created=NOW, generation=12
        ),
        stream=StreamFacts(sha256=SHA, nbytes=100, version=1),
        object_=ObjectFacts(
            sha256="f" * 64, nbytes=nbytes, compression="zstd", level=3, frame_bytes=4 << 20
        ),
        parts=parts,
    )


def raw() -> dict[str, object]:
    found = json.loads(encode_receipt(receipt()))
    assert isinstance(found, dict)
    return found


def decoded(changed: object) -> Receipt | NoReceipt:
    return decode_receipt(json.dumps(changed).encode())


bytes_paths = st.binary(min_size=1, max_size=30).map(
    lambda data: data.decode("utf-8", "surrogateescape")
)


class TestAReceipt:
    @given(bytes_paths, st.lists(st.integers(1, 1 << 40), max_size=4))
    def test_comes_back(self, path: str, parts: list[int]) -> None:
        made = receipt(
            path=path,
            parts=tuple(PartFacts(nbytes=nbytes, sha256=SHA) for nbytes in parts),
            nbytes=sum(parts) or 60,
        )
        assert decode_receipt(encode_receipt(made)) == made

    def test_is_plain_json_in_ascii_with_the_documented_names(self) -> None:
        made = receipt(path="f\udcfcr/50%", parts=(PartFacts(nbytes=60, sha256=SHA),))
        assert json.loads(encode_receipt(made).decode("ascii")) == {
            "format": 1,
            "writer": "buttersink 1.0",
            "written": "2024-02-29T12:30:15.250000Z",
            "snapshot": {
                "uuid": str(DIFF.to),
                "path": "f%FCr/50%25",
                "parent": str(DIFF.parent),
                "created": "2024-02-29T12:30:15.250000Z",
                "generation": 12,
            },
            "stream": {"sha256": SHA, "bytes": 100, "version": 1, "compressed": False},
            "object": {
                "sha256": "f" * 64,
                "bytes": 60,
                "compression": "zstd",
                "level": 3,
                "frame_bytes": 4 << 20,
            },
            "parts": [{"bytes": 60, "sha256": SHA}],
            "manifest_sha256": None,
        }

    def test_of_ten_thousand_parts_stays_small(self) -> None:
        part = PartFacts(nbytes=5 << 30, sha256=SHA)
        data = encode_receipt(receipt(parts=(part,) * 10_000, nbytes=10_000 * (5 << 30)))
        assert len(data) < 1_500_000
        assert isinstance(decode_receipt(data), Receipt)

    def test_may_have_fields_that_are_not_known_yet(self) -> None:
        assert decoded(raw() | {"colour": ["blue"]}) == receipt()

    def test_keeps_the_moment_whatever_the_zone(self) -> None:
        zone = timezone(timedelta(hours=2))
        made = msgspec.structs.replace(receipt(), written=NOW.astimezone(zone))
        assert decode_receipt(encode_receipt(made)) == receipt()

    def test_describes_its_own_stream_in_an_object_of_its_size(self) -> None:
        assert receipt().describes(DIFF, 60)
        assert not receipt().describes(DIFF, 61)
        assert not receipt().describes(Diff(DIFF.to), 60)


class TestNoReceipt:
    def test_is_one_of_a_later_format_whatever_else_is_in_it(self) -> None:
        found = decoded({"format": 2, "all": "new"})
        assert isinstance(found, NoReceipt)
        assert "format 2" in found.reason

    def test_is_one_without_what_has_to_be_there(self) -> None:
        for name in raw().keys() - {"parts", "manifest_sha256"}:
            found = decoded({k: v for k, v in raw().items() if k != name})
            assert isinstance(found, NoReceipt)
            assert name in found.reason

    @pytest.mark.parametrize(
        ("where", "what"),
        [
            ("stream", {"sha256": SHA.upper(), "bytes": 100, "version": 1}),
            ("stream", {"sha256": SHA + "\n", "bytes": 100, "version": 1}),
            ("stream", {"sha256": SHA, "bytes": -1, "version": 1}),
            ("stream", {"sha256": SHA, "bytes": 100, "version": 0}),
            ("object", {"sha256": SHA, "bytes": 60, "compression": "gzip"}),
            ("object", {"sha256": SHA, "bytes": 60, "compression": "none"}),
            ("parts", [{"bytes": 1, "sha256": SHA}]),
            ("snapshot", {"uuid": "5", "path": "x"}),
            ("snapshot", {"uuid": str(DIFF.to), "path": "%"}),
            ("written", "2024-02-29T12:30:15"),
            ("manifest_sha256", "x"),
        ],
    )
    def test_is_one_whose_numbers_make_no_sense(self, where: str, what: object) -> None:
        assert isinstance(decoded(raw() | {where: what}), NoReceipt)

    @given(st.binary(max_size=60))
    def test_is_what_is_not_even_json(self, data: bytes) -> None:
        found = decode_receipt(data)
        assert isinstance(found, NoReceipt)
        assert found.reason

    def test_is_what_is_nested_without_end_or_too_large(self) -> None:
        nested = b'{"format":1,"x":' + b"[" * 1_000_000
        assert isinstance(decode_receipt(nested), NoReceipt)
        assert isinstance(decode_receipt(b" " * (MAX_RECEIPT_BYTES + 1)), NoReceipt)
