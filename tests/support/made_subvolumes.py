"""Subvolumes made by hand, and the catalogue of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from buttersink.btrfs.subvolumes import Subvolume
from buttersink.stores.catalogue import make_catalogue

if TYPE_CHECKING:
    from collections.abc import Collection

    from buttersink.model import Snapshot
    from buttersink.stores.catalogue import Catalogue

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


def own(number: int) -> UUID:
    """Return the uuid of the subvolume with this id."""
    return UUID(int=number)


def foreign(number: int) -> UUID:
    """Return the uuid of a snapshot on another machine."""
    return UUID(int=1 << 64 | number)


def subvolume(
    number: int,
    path: str,
    *,
    readonly: bool = True,
    received: UUID | None = None,
    parent: int | None = None,
) -> Subvolume:
    """Return a subvolume whose facts are all told by its number."""
    return Subvolume(
        treeid=number,
        path=path,
        uuid=own(number),
        parent_uuid=None if parent is None else own(parent),
        received_uuid=received,
        generation=1000 + number,
        ctransid=2000 + number,
        otransid=3000 + number,
        stransid=4000 + number if received else 0,
        rtransid=5000 + number if received else 0,
        flags=int(readonly),
        bytes_used=6000 + number,
        ctime=EPOCH + timedelta(days=number),
        otime=EPOCH + timedelta(hours=number),
        stime=EPOCH,
        rtime=EPOCH,
    )


def without_uuid(number: int, path: str) -> Subvolume:
    """Return a snapshot as Linux before 3.6 made them."""
    made = subvolume(number, path)
    names = set(Subvolume.__dataclass_fields__) - {"uuid"}
    return Subvolume(uuid=None, **{name: getattr(made, name) for name in names})


def catalogue(
    *subvolumes: Subvolume, directory: str = "", changed: Collection[int] = ()
) -> Catalogue:
    """Return the catalogue of these, seen from a directory."""
    return make_catalogue(
        (subvolume(5, "", readonly=False), *subvolumes),
        directory=directory,
        lineages={s.treeid: f"lineage {s.treeid}" for s in subvolumes},
        changed=changed,
        quotas={},
    )


def snapshots(*subvolumes: Subvolume, directory: str = "") -> tuple[Snapshot, ...]:
    """Return the snapshots that these are, seen from a directory."""
    return catalogue(*subvolumes, directory=directory).inventory.snapshots
