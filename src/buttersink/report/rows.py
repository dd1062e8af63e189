"""Plans and listings as rows of escaped text, before any layout."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from buttersink.plan import Adopt, Delete, Discard, Hide, Keep, Skip, Transfer
from buttersink.report.wording import part_text, reason_text, resumable_text
from buttersink.text import (
    bytes_text,
    chain_text,
    count_text,
    escape,
    size_text,
    time_text,
    total_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from uuid import UUID

    from buttersink.events import Listed, ListEntry, Planned
    from buttersink.model import Chain, Diff, Inventory, Partial
    from buttersink.plan import Clean, Plan, Removal, Step


class Action(Enum):
    """What a step of a plan does, in words."""

    CLEAN = "remove partial"
    KEEP = "already there"
    ADOPT = "put in place"
    SEND_FULL = "send full"
    SEND_INCREMENTAL = "send incremental"
    SEND_LINK_FULL = "send link full"
    SEND_LINK_ON = "send link on"
    SKIP = "cannot send"
    RELEASE = "remove link"
    DELETE = "delete"
    HIDE = "keep as link"
    DISCARD = "remove stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """One step. What there is none of is empty.

    `size` is that of what moves, goes, or stays as a link; `chain` what restoring it takes.
    """

    action: Action
    path: str
    why: str
    size: str = ""
    parent: str = ""
    chain: str = ""


class Kind(Enum):
    """What a row of a listing is."""

    ORIGINAL = "original"
    RECEIVED = "received"
    PARTIAL = "partial"
    STORED = "stored"
    HIDDEN = "link"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRow:
    """One snapshot or partial. What is unknown, or makes no sense for it, is empty.

    `stored` is what all streams of a snapshot take, or what a partial takes; `note` is for what
    fits in no other place.
    """

    kind: Kind
    path: str
    uuid: str
    created: str = ""
    increment: str = ""
    stored: str = ""
    chain: str = ""
    predecessor: str = ""
    total: str = ""
    exclusive: str = ""
    note: str = ""


def plan_rows(plan: Plan) -> Iterator[PlanRow]:
    """Return a row for each step, in the order in which they are carried out."""
    yield from map(_clean_row, plan.cleans)
    yield from map(_step_row, plan.steps)
    for release in plan.releases:
        why = reason_text(release.reason)
        yield PlanRow(action=Action.RELEASE, path=escape(release.path), why=why)
    yield from map(_removal_row, plan.deletes)


def _clean_row(clean: Clean) -> PlanRow:
    partial = clean.partial
    return PlanRow(
        action=Action.RELEASE if partial.link else Action.CLEAN,
        path=escape(partial.path),
        why=reason_text(clean.reason),
        size=_known(partial.nbytes),
    )


def _step_row(step: Step) -> PlanRow:
    path = escape(step.path)
    match step:
        case Keep():
            chain = _chain(step.chain)
            return PlanRow(action=Action.KEEP, path=path, why=reason_text(step.reason), chain=chain)
        case Adopt():
            return PlanRow(action=Action.ADOPT, path=path, why=reason_text(step.reason))
        case Skip():
            return PlanRow(action=Action.SKIP, path=path, why=reason_text(step.reason, step.detail))
        case Transfer():
            return PlanRow(
                action=_sending(step),
                path=path,
                why=_why_sent(step),
                size=size_text(step.size),
                parent=_parent(step.diff, step.parent_path),
                chain=_chain(step.chain),
            )


def _why_sent(step: Transfer) -> str:
    if step.resume is None:
        return reason_text(step.reason)
    whole = step.whole.nbytes if step.resumed_bytes and step.whole.exact else step.resume.expected
    kept = part_text(step.resume.position.plain_bytes, whole)
    return f"{reason_text(step.reason)}; goes on at {kept}"


def _sending(step: Transfer) -> Action:
    if step.link:
        return Action.SEND_LINK_FULL if step.diff.parent is None else Action.SEND_LINK_ON
    return Action.SEND_FULL if step.diff.parent is None else Action.SEND_INCREMENTAL


def _removal_row(step: Removal) -> PlanRow:
    path, why, size = escape(step.path), reason_text(step.reason), _known(step.nbytes)
    match step:
        case Delete():
            return PlanRow(action=Action.DELETE, path=path, why=why, size=size)
        case Hide():
            return PlanRow(action=Action.HIDE, path=path, why=why, size=size)
        case Discard(diff=diff):
            parent = _parent(diff)
            return PlanRow(action=Action.DISCARD, path=path, why=why, size=size, parent=parent)


def _parent(diff: Diff, path: str | None = None) -> str:
    return "" if diff.parent is None else escape(path or str(diff.parent))


def _known(nbytes: int | None) -> str:
    return "" if nbytes is None else bytes_text(nbytes)


def _chain(chain: Chain | None) -> str:
    return "" if chain is None else chain_text(chain)


def plan_total(planned: Planned) -> str:
    """Return the line that sums a plan up; counts of zero are left out."""
    plan = planned.plan
    steps = plan.steps
    sizes = [transfer.size for transfer in plan.transfers]
    parts = [f"{len(sizes)} to send ({total_text(sizes)})"] if sizes else []
    parts += [
        f"{number} {words}"
        for number, words in (
            (sum(isinstance(step, Keep) for step in steps), "already there"),
            (sum(isinstance(step, Adopt) for step in steps), "to put in place"),
            (sum(isinstance(step, Skip) for step in steps), "cannot be sent"),
            (sum(isinstance(step, Delete) for step in plan.deletes), "to delete"),
            (sum(isinstance(step, Hide) for step in plan.deletes), "to keep as link"),
        )
        if number
    ]
    links = sum(clean.partial.link for clean in plan.cleans)
    parts += [
        f"{count_text(number, noun)} to remove"
        for number, noun in (
            (sum(isinstance(step, Discard) for step in plan.deletes), "stream"),
            (links + len(plan.releases), "link"),
            (len(plan.cleans) - links, "partial"),
        )
        if number
    ]
    # Where only leftovers are removed, there is no source.
    source = f"{escape(planned.source)} to " if planned.source else ""
    return f"{source}{escape(planned.destination)}: {', '.join(parts) or 'nothing to do'}"


def entries_inside(listed: Listed) -> list[ListEntry]:
    """Return the entries below the directory and hidden links, by path.

    The others are only potential parents.
    """
    inside = (entry for entry in listed.entries if entry.snapshot.paths or entry.hidden)
    return sorted(inside, key=lambda entry: (entry.snapshot.path, entry.snapshot.uuid))


def list_rows(listed: Listed) -> list[ListRow]:
    """Return a row for each snapshot and partial below the directory, by path."""
    entries, inventory = entries_inside(listed), listed.inventory
    stored = stored_bytes(inventory)
    keyed = [
        (
            entry.snapshot.path,
            _entry_row(entry) if inventory.makes_any_diff else _stored_row(entry, stored),
        )
        for entry in entries
    ]
    keyed += [(partial.path, _partial_row(partial)) for partial in inventory.partials]
    return [row for _, row in sorted(keyed, key=lambda pair: pair[0])]


def _entry_row(entry: ListEntry) -> ListRow:
    snapshot = entry.snapshot
    return ListRow(
        kind=Kind.RECEIVED if snapshot.received else Kind.ORIGINAL,
        path=", also at ".join(map(escape, snapshot.paths)),
        uuid=str(snapshot.uuid),
        created=time_text(snapshot.created),
        increment=size_text(entry.increment),
        predecessor=escape(entry.predecessor.path) if entry.predecessor else "",
        total="" if snapshot.total is None else bytes_text(snapshot.total),
        exclusive="" if snapshot.exclusive is None else bytes_text(snapshot.exclusive),
    )


def _stored_row(entry: ListEntry, stored: Mapping[UUID, int]) -> ListRow:
    snapshot = entry.snapshot
    return ListRow(
        kind=Kind.HIDDEN if entry.hidden else Kind.STORED,
        path=", also at ".join(map(escape, snapshot.paths or (snapshot.path,))),
        uuid=str(snapshot.uuid),
        created=time_text(snapshot.created),
        stored=bytes_text(stored.get(snapshot.uuid, 0)),
        chain="incomplete" if entry.chain is None else chain_text(entry.chain),
        predecessor=escape(entry.predecessor.path) if entry.predecessor else "",
    )


def _partial_row(partial: Partial) -> ListRow:
    return ListRow(
        kind=Kind.HIDDEN if partial.link else Kind.PARTIAL,
        path=escape(partial.path),
        uuid=str(partial.uuid) if partial.uuid else "",
        stored=_known(partial.nbytes),
        note=escape(partial.guarded) or resumable_text(partial),
    )


def stored_bytes(inventory: Inventory) -> dict[UUID, int]:
    """Return what all streams of each snapshot take as they are stored."""
    found: defaultdict[UUID, int] = defaultdict(int)
    for diff, size in inventory.stored:
        found[diff.to] += size.nbytes
    return dict(found)


def list_total(listed: Listed) -> str:
    """Return the line that sums a listing up; counts of zero are left out."""
    entries, inventory = entries_inside(listed), listed.inventory
    partials = sum(not partial.link for partial in inventory.partials)
    links = sum(entry.hidden for entry in entries) + len(inventory.partials) - partials
    parts = [count_text(sum(not entry.hidden for entry in entries), "snapshot")]
    if links:
        parts.append(count_text(links, "link"))
    if entries and inventory.makes_any_diff:
        parts.append(f"increments {total_text(entry.increment for entry in entries)}")
    elif entries:
        stored = stored_bytes(inventory)
        nbytes = sum(stored.get(entry.snapshot.uuid, 0) for entry in entries)
        parts.append(f"{bytes_text(nbytes)} stored")
    if partials:
        parts.append(count_text(partials, "partial"))
    if inventory.writable:
        parts.append(f"{count_text(inventory.writable, 'writable subvolume')} left alone")
    if inventory.foreign:
        parts.append(f"{count_text(inventory.foreign, 'other object')} left alone")
    return f"{escape(listed.end)}: {', '.join(parts)}"
