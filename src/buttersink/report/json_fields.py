"""Events as JSON objects. Every event and field stands in docs/json.md, and keeps its meaning.

Names are written out rather than derived from classes, so that a renamed class changes no output.
"""

from __future__ import annotations

from datetime import UTC
from functools import singledispatch
from typing import TYPE_CHECKING, Any

from buttersink.events import (
    Adopted,
    Cleaned,
    Deleted,
    Failed,
    Finished,
    Listed,
    Measuring,
    Planned,
    Skipped,
    TransferDone,
    TransferProgress,
    TransferStarted,
    Warned,
)
from buttersink.model import Adopt, Certainty, Clean, Delete, Keep, Skip, Transfer
from buttersink.report.rows import entries_inside

if TYPE_CHECKING:
    from uuid import UUID

    from buttersink.errors import ButterSinkError
    from buttersink.events import ListEntry
    from buttersink.model import Size, Step

    Fields = dict[str, Any]


@singledispatch
def event_fields(event: object) -> Fields:
    """Return the JSON object of an event."""
    raise AssertionError(f"no JSON for {event!r}")


def error_fields(error: ButterSinkError) -> Fields:
    """Return the JSON object of the error that ended a run."""
    return {"event": "error", **_error(error)}


@event_fields.register(Warned)
def _warned(event: Warned) -> Fields:
    return {"event": "warned", "message": event.message}


@event_fields.register(Measuring)
def _measuring(event: Measuring) -> Fields:
    return {"event": "measuring", "done": event.done, "total": event.total}


@event_fields.register(Listed)
def _listed(event: Listed) -> Fields:
    inventory = event.inventory
    return {
        "event": "listed",
        "end": event.end,
        "snapshots": [_entry(entry) for entry in entries_inside(event)],
        "partials": [{"uuid": _uuid(p.uuid), "path": p.path} for p in inventory.partials],
        "problems": [{"path": p.path, "message": p.message} for p in inventory.problems],
        "writable": inventory.writable,
    }


@event_fields.register(Planned)
def _planned(event: Planned) -> Fields:
    plan = event.plan
    return {
        "event": "planned",
        "source": event.source,
        "destination": event.destination,
        "dry_run": event.dry_run,
        "steps": [_step(step) for step in (*plan.cleans, *plan.steps, *plan.deletes)],
        "size": _size(plan.cost),
        "stream": {"version": plan.options.version, "compressed": plan.options.compressed},
    }


@event_fields.register(TransferStarted)
def _transfer_started(event: TransferStarted) -> Fields:
    return {
        "event": "transfer_started",
        "step": _step(event.transfer),
        "number": event.number,
        "count": event.count,
    }


@event_fields.register(TransferProgress)
def _transfer_progress(event: TransferProgress) -> Fields:
    return {
        "event": "transfer_progress",
        "step": _step(event.transfer),
        "plain_bytes": event.plain_bytes,
    }


@event_fields.register(TransferDone)
def _transfer_done(event: TransferDone) -> Fields:
    return {
        "event": "transfer_done",
        "step": _step(event.transfer),
        "plain_bytes": event.plain_bytes,
        "sent_bytes": event.sent_bytes,
        "seconds": round(event.seconds, 3),
    }


@event_fields.register(Adopted)
def _adopted(event: Adopted) -> Fields:
    return {"event": "adopted", "step": _step(event.adopt)}


@event_fields.register(Failed)
def _failed(event: Failed) -> Fields:
    return {"event": "failed", "step": _step(event.step), **_error(event.error)}


@event_fields.register(Skipped)
def _skipped(event: Skipped) -> Fields:
    return {"event": "skipped", "step": _step(event.skip)}


@event_fields.register(Deleted)
def _deleted(event: Deleted) -> Fields:
    return {"event": "deleted", "step": _step(event.delete)}


@event_fields.register(Cleaned)
def _cleaned(event: Cleaned) -> Fields:
    return {"event": "cleaned", "step": _step(event.clean)}


@event_fields.register(Finished)
def _finished(event: Finished) -> Fields:
    return {
        "event": "finished",
        "transferred": event.transferred,
        "adopted": event.adopted,
        "present": event.present,
        "failed": event.failed,
        "deleted": event.deleted,
        "undeleted": event.undeleted,
        "sent_bytes": event.sent_bytes,
        "seconds": round(event.seconds, 3),
    }


def _error(error: ButterSinkError) -> Fields:
    return {"message": error.message, "hint": error.hint, "exit_code": int(error.exit_code)}


def _uuid(uuid: UUID | None) -> str | None:
    return None if uuid is None else str(uuid)


def _size(size: Size) -> Fields:
    unknown = size.certainty is Certainty.UNKNOWN
    # The number of an unknown size only ranks diffs in planning; it means nothing outside.
    return {"bytes": None if unknown else size.nbytes, "certainty": size.certainty.value}


def _entry(entry: ListEntry) -> Fields:
    snapshot, predecessor = entry.snapshot, entry.predecessor
    return {
        "uuid": str(snapshot.uuid),
        "path": snapshot.path,
        "paths": list(snapshot.paths),
        "created": snapshot.created.astimezone(UTC).isoformat(),
        "received": snapshot.received,
        "increment": _size(entry.increment),
        "predecessor": predecessor and {"uuid": str(predecessor.uuid), "path": predecessor.path},
        "total_bytes": snapshot.total,
        "exclusive_bytes": snapshot.exclusive,
    }


def _step(step: Step | Delete | Clean) -> Fields:
    """Return a step; all have the same fields, null where they have no meaning."""
    action, uuid, path = _what(step)
    fields: Fields = {
        "action": action,
        "uuid": _uuid(uuid),
        "path": path,
        "parent": None,
        "size": None,
        "reason": step.reason.name.lower(),
        "detail": None,
    }
    match step:
        case Transfer(diff=diff):
            if diff.parent is not None:
                fields["parent"] = {"uuid": str(diff.parent), "path": step.parent_path}
            fields["size"] = _size(step.size)
        case Skip(detail=detail):
            fields["detail"] = detail or None
        case _:
            pass
    return fields


def _what(step: Step | Delete | Clean) -> tuple[str, UUID | None, str]:
    match step:
        case Keep(snapshot=snapshot, path=path):
            return "keep", snapshot.uuid, path
        case Adopt(snapshot=snapshot, path=path):
            return "adopt", snapshot.uuid, path
        case Transfer(snapshot=snapshot, path=path):
            return "send", snapshot.uuid, path
        case Skip(snapshot=snapshot, path=path):
            return "skip", snapshot.uuid, path
        case Delete(uuid=uuid, path=path):
            return "delete", uuid, path
        case Clean(partial=partial):
            return "clean", partial.uuid, partial.path
