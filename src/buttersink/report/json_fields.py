"""Events as JSON objects. Every event and field stands in docs/json.md, and keeps its meaning.

Names are written out rather than derived from classes, so that a renamed class changes no output.
"""

from __future__ import annotations

from datetime import UTC
from functools import singledispatch
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from buttersink.events import (
    Adopted,
    Cleaned,
    Deleted,
    Discarded,
    Failed,
    Finished,
    Hidden,
    Listed,
    Measuring,
    Planned,
    Reconnected,
    Redialling,
    Released,
    Skipped,
    ThawRequested,
    TransferDone,
    TransferProgress,
    TransferResumed,
    TransferStarted,
    Warned,
)
from buttersink.model import Certainty
from buttersink.plan import Adopt, Clean, Delete, Discard, Hide, Keep, Release, Skip, Transfer
from buttersink.report.rows import entries_inside, stored_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from buttersink.errors import ButterSinkError
    from buttersink.events import ListEntry
    from buttersink.model import Chain, Checkpoint, Diff, Partial, Size
    from buttersink.plan import Removal, Step

    Fields = dict[str, Any]
    AnyStep = Step | Release | Removal | Clean

_ACTIONS: Final[Mapping[type[AnyStep], str]] = MappingProxyType(
    {
        Clean: "clean",
        Keep: "keep",
        Adopt: "adopt",
        Transfer: "send",
        Skip: "skip",
        Release: "release",
        Delete: "delete",
        Hide: "hide",
        Discard: "discard",
    }
)


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


@event_fields.register(Redialling)
def _redialling(event: Redialling) -> Fields:
    return {
        "event": "redialling",
        "end": event.end,
        "attempt": event.attempt,
        "attempts": event.attempts,
        "pause_seconds": event.pause_seconds,
        "message": event.error.message,
        "hint": event.error.hint,
    }


@event_fields.register(Reconnected)
def _reconnected(event: Reconnected) -> Fields:
    return {"event": "reconnected", "end": event.end}


@event_fields.register(Measuring)
def _measuring(event: Measuring) -> Fields:
    return {"event": "measuring", "done": event.done, "total": event.total}


@event_fields.register(Listed)
def _listed(event: Listed) -> Fields:
    inventory = event.inventory
    stored = stored_bytes(inventory)
    return {
        "event": "listed",
        "end": event.end,
        "snapshots": [_entry(entry, stored) for entry in entries_inside(event)],
        "partials": [_partial(partial) for partial in inventory.partials],
        "problems": [{"path": p.path, "message": p.message} for p in inventory.problems],
        "writable": inventory.writable,
        "foreign": inventory.foreign,
    }


@event_fields.register(Planned)
def _planned(event: Planned) -> Fields:
    plan = event.plan
    return {
        "event": "planned",
        "source": event.source,
        "destination": event.destination,
        "dry_run": event.dry_run,
        "steps": [
            _step(step) for step in (*plan.cleans, *plan.steps, *plan.releases, *plan.deletes)
        ],
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


@event_fields.register(TransferResumed)
def _transfer_resumed(event: TransferResumed) -> Fields:
    return {
        "event": "transfer_resumed",
        "step": _step(event.transfer),
        "plain_bytes": event.plain_bytes,
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
        "stored_bytes": event.stored_bytes,
        "resumed_bytes": event.resumed_bytes,
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


@event_fields.register(Hidden)
def _hidden(event: Hidden) -> Fields:
    return {"event": "hidden", "step": _step(event.hide)}


@event_fields.register(Discarded)
def _discarded(event: Discarded) -> Fields:
    return {"event": "discarded", "step": _step(event.discard)}


@event_fields.register(Released)
def _released(event: Released) -> Fields:
    return {"event": "released", "step": _step(event.release)}


@event_fields.register(Cleaned)
def _cleaned(event: Cleaned) -> Fields:
    return {"event": "cleaned", "step": _step(event.clean)}


@event_fields.register(ThawRequested)
def _thaw_requested(event: ThawRequested) -> Fields:
    return {"event": "thaw_requested", "count": event.count, "days": event.days}


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
        "hidden": event.hidden,
        "resumed_bytes": event.resumed_bytes,
    }


def _error(error: ButterSinkError) -> Fields:
    return {"message": error.message, "hint": error.hint, "exit_code": int(error.exit_code)}


def _uuid(uuid: UUID | None) -> str | None:
    return None if uuid is None else str(uuid)


def _size(size: Size) -> Fields:
    unknown = size.certainty is Certainty.UNKNOWN
    # The number of an unknown size only ranks diffs in planning; it means nothing outside.
    return {"bytes": None if unknown else size.nbytes, "certainty": size.certainty.value}


def _chain(chain: Chain | None) -> Fields | None:
    return None if chain is None else {"links": chain.links, "bytes": chain.nbytes}


def _parent(diff: Diff, path: str | None = None) -> Fields | None:
    return None if diff.parent is None else {"uuid": str(diff.parent), "path": path}


def _partial(partial: Partial) -> Fields:
    return {
        "uuid": _uuid(partial.uuid),
        "path": partial.path,
        "bytes": partial.nbytes,
        "link": partial.link,
        "guarded": partial.guarded or None,
        "resumable": _resumable(partial.checkpoint),
    }


def _resumable(checkpoint: Checkpoint | None) -> Fields | None:
    if checkpoint is None:
        return None
    return {
        "parent": _uuid(checkpoint.diff.parent),
        "bytes": checkpoint.position.plain_bytes,
        "of_bytes": checkpoint.expected,
    }


def _entry(entry: ListEntry, stored: Mapping[UUID, int]) -> Fields:
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
        "stored_bytes": stored.get(snapshot.uuid),
        "chain": _chain(entry.chain),
        "hidden": entry.hidden,
    }


def _step(step: AnyStep) -> Fields:
    """Return a step; all have the same fields, null where they have no meaning."""
    uuid, path = _what(step)
    fields: Fields = {
        "action": _ACTIONS[type(step)],
        "uuid": _uuid(uuid),
        "path": path,
        "parent": None,
        "size": None,
        "reason": step.reason.name.lower(),
        "detail": None,
        "link": False,
        "chain": None,
        "bytes": None,
        "resumable": None,
    }
    match step:
        case Transfer(diff=diff):
            fields["parent"] = _parent(diff, step.parent_path)
            fields["size"] = _size(step.size)
            fields["link"] = step.link
            fields["chain"] = _chain(step.chain)
            fields["resumable"] = _resumable(step.resume)
        case Keep(chain=chain):
            fields["chain"] = _chain(chain)
        case Delete(nbytes=nbytes) | Hide(nbytes=nbytes):
            fields["bytes"] = nbytes
        case Discard(diff=diff, nbytes=nbytes):
            fields["parent"] = _parent(diff)
            fields["bytes"] = nbytes
        case Clean(partial=partial):
            fields["link"] = partial.link
            fields["bytes"] = partial.nbytes
        case Skip(detail=detail):
            fields["detail"] = detail or None
        case _:
            pass
    return fields


def _what(step: AnyStep) -> tuple[UUID | None, str]:
    """Return identity and path of what a step is about."""
    match step:
        case Keep() | Adopt() | Transfer() | Skip():
            return step.snapshot.uuid, step.path
        case Release() | Delete() | Hide():
            return step.uuid, step.path
        case Discard():
            return step.diff.to, step.path
        case Clean():
            return step.partial.uuid, step.partial.path
