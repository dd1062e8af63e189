"""Plans and listings as rows of escaped text, before any layout."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from buttersink.model import Adopt, Keep, Skip, Transfer
from buttersink.report.wording import reason_text
from buttersink.text import (
    bytes_text,
    count_text,
    escape,
    size_text,
    time_text,
    total_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buttersink.events import Listed, ListEntry, Planned
    from buttersink.model import Partial, Plan, Step


class Action(Enum):
    """What a step of a plan does, in words."""

    CLEAN = "remove partial"
    KEEP = "already there"
    ADOPT = "put in place"
    SEND_FULL = "send full"
    SEND_INCREMENTAL = "send incremental"
    SKIP = "cannot send"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """One step. `size` and `parent` are empty where there is none."""

    action: Action
    path: str
    why: str
    size: str = ""
    parent: str = ""


class Kind(Enum):
    """What a row of a listing is."""

    ORIGINAL = "original"
    RECEIVED = "received"
    PARTIAL = "partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRow:
    """One snapshot or partial. What is unknown, or makes no sense for a partial, is empty."""

    kind: Kind
    path: str
    uuid: str
    created: str = ""
    increment: str = ""
    predecessor: str = ""
    total: str = ""
    exclusive: str = ""


def plan_rows(plan: Plan) -> Iterator[PlanRow]:
    """Return a row for each step, in the order in which they are carried out."""
    for clean in plan.cleans:
        yield PlanRow(
            action=Action.CLEAN, path=escape(clean.partial.path), why=reason_text(clean.reason)
        )
    for step in plan.steps:
        yield _step_row(step)
    for delete in plan.deletes:
        yield PlanRow(
            action=Action.DELETE, path=escape(delete.path), why=reason_text(delete.reason)
        )


def _step_row(step: Step) -> PlanRow:
    path = escape(step.path)
    match step:
        case Keep():
            return PlanRow(action=Action.KEEP, path=path, why=reason_text(step.reason))
        case Adopt():
            return PlanRow(action=Action.ADOPT, path=path, why=reason_text(step.reason))
        case Skip():
            return PlanRow(action=Action.SKIP, path=path, why=reason_text(step.reason, step.detail))
        case Transfer():
            full = step.diff.parent is None
            return PlanRow(
                action=Action.SEND_FULL if full else Action.SEND_INCREMENTAL,
                path=path,
                why=reason_text(step.reason),
                size=size_text(step.size),
                parent="" if full else escape(step.parent_path or str(step.diff.parent)),
            )


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
            (len(plan.deletes), "to delete"),
        )
        if number
    ]
    if plan.cleans:
        parts.append(f"{count_text(len(plan.cleans), 'partial')} to remove")
    # Where only leftovers are removed, there is no source.
    source = f"{escape(planned.source)} to " if planned.source else ""
    return f"{source}{escape(planned.destination)}: {', '.join(parts) or 'nothing to do'}"


def entries_inside(listed: Listed) -> list[ListEntry]:
    """Return the entries below the directory, by path; the others are only potential parents."""
    inside = (entry for entry in listed.entries if entry.snapshot.paths)
    return sorted(inside, key=lambda entry: (entry.snapshot.path, entry.snapshot.uuid))


def list_rows(listed: Listed) -> list[ListRow]:
    """Return a row for each snapshot and partial below the directory, by path."""
    keyed = [(entry.snapshot.path, _entry_row(entry)) for entry in entries_inside(listed)]
    keyed += [(partial.path, _partial_row(partial)) for partial in listed.inventory.partials]
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


def _partial_row(partial: Partial) -> ListRow:
    return ListRow(
        kind=Kind.PARTIAL,
        path=escape(partial.path),
        uuid=str(partial.uuid) if partial.uuid else "",
    )


def list_total(listed: Listed) -> str:
    """Return the line that sums a listing up; counts of zero are left out."""
    sizes = [entry.increment for entry in entries_inside(listed)]
    parts = [count_text(len(sizes), "snapshot")]
    if sizes:
        parts.append(f"increments {total_text(sizes)}")
    inventory = listed.inventory
    if inventory.partials:
        parts.append(count_text(len(inventory.partials), "partial"))
    if inventory.writable:
        parts.append(f"{count_text(inventory.writable, 'writable subvolume')} left alone")
    return f"{escape(listed.end)}: {', '.join(parts)}"
