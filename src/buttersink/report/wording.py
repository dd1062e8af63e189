"""The words for what happens: reasons, and the lines that events become on standard error."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from buttersink.events import (
    Adopted,
    Cleaned,
    Deleted,
    Discarded,
    Failed,
    Finished,
    Hidden,
    Planned,
    Reconnected,
    Redialling,
    Released,
    Skipped,
    ThawRequested,
    TransferDone,
    TransferResumed,
    Warned,
)
from buttersink.plan import Adopt, Clean, Delete, Discard, Hide, Reason, Release, Transfer
from buttersink.text import bytes_text, count_text, duration_text, escape, rate_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from buttersink.errors import ButterSinkError
    from buttersink.events import Event
    from buttersink.model import Partial


class Tone(Enum):
    """How a line is meant, whatever a display makes of it."""

    PLAIN = "plain"
    GOOD = "good"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Note:
    """One line for standard error, with everything foreign in it escaped."""

    text: str
    tone: Tone = Tone.PLAIN


_REASONS: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        Reason.PRESENT: "the destination has it",
        Reason.ON_FILE_SYSTEM: "the destination's file system has it elsewhere",
        Reason.CHEAPEST: "least bytes of all parents considered",
        Reason.ONLY_FULL: "no relative at the destination or in this run",
        Reason.FIRST: "first of its relatives at the destination",
        Reason.FULL_CHEAPEST: "no parent would save bytes",
        Reason.NOT_IN_SOURCE: "not in the source",
        Reason.LEFTOVER: "left by an interrupted transfer",
        Reason.PATH_TAKEN: "something else is at its path",
        Reason.INSIDE_SNAPSHOT: "its path lies inside another snapshot, which is read-only",
        Reason.UNREACHABLE: "no stream leads to it",
        Reason.STORED: "fewest bytes of the stored streams that lead to it",
        Reason.LINK: "only needed to build others on",
        Reason.WITHIN_LIMITS: "least bytes of all parents that keep its chain within limits",
        Reason.NEW_CHAIN: "no parent would save bytes and keep its chain within limits",
        Reason.REPLACEMENT: "takes fewer bytes than the links that can go then",
        Reason.STILL_NEEDED: "what is kept builds on it",
        Reason.REPLACED: "another stream stands in for it",
        Reason.UNUSED_LINK: "nothing builds on it any more",
        Reason.ARCHIVED: "its stream, or one it builds on, is archived",
        Reason.UNAVAILABLE: "an end could not be reached several times in a row",
        Reason.PARENT_FAILED: "what it builds on did not arrive",
    }
)


def reason_text(reason: Reason, detail: str = "") -> str:
    """Return a reason in words; `detail` is that of a `model.Skip`, not yet escaped.

    The detail of a failed parent is its path. Any other is a sentence that says the same as the
    reason, but of this case, and so takes its place.
    """
    if not detail:
        return _REASONS[reason]
    if reason is Reason.PARENT_FAILED:
        return f"{escape(detail)}, which it builds on, did not arrive"
    return escape(detail)


def error_text(error: ButterSinkError) -> str:
    """Return an error and its hint in one line."""
    return f"error: {escape(str(error))}"


def notes(event: Event) -> Iterator[Note]:
    """Return the lines of an event; none for one that tables or bars show.

    The problems of a listing make none either: they come as `events.Warned`, as in any run.
    """
    match event:
        case Warned(message=message):
            yield Note(f"warning: {escape(message)}", Tone.WARNING)
        case Redialling():
            pause = duration_text(event.pause_seconds)
            number = f"attempt {event.attempt} of {event.attempts}"
            text = f"{escape(event.error.message)}: connecting again in {pause} ({number})"
            yield Note(text, Tone.WARNING)
        case Reconnected(end=end):
            yield Note(f"connected again to {escape(end)}")
        case Planned(dry_run=True):
            yield Note("Dry run: nothing was changed.")
        case Failed():
            yield from _failed(event)
        case Skipped(skip=skip):
            why = reason_text(skip.reason, skip.detail)
            yield Note(f"skipped {escape(skip.path)}: because {why}", Tone.ERROR)
        case Finished():
            incomplete = event.failed or event.undeleted
            yield Note(_summary(event), Tone.WARNING if incomplete else Tone.GOOD)
        case _:
            yield from _done(event)


def _done(event: Event) -> Iterator[Note]:
    match event:
        case TransferResumed(transfer=transfer, plain_bytes=plain_bytes):
            whole = transfer.whole.nbytes if transfer.whole.exact else None
            yield Note(f"resuming {escape(transfer.path)} at {part_text(plain_bytes, whole)}")
        case TransferDone():
            yield Note(f"sent {escape(event.transfer.path)}: {_volume(event)}")
        case Adopted(adopt=adopt):
            yield Note(f"put in place {escape(adopt.path)}")
        case Deleted(delete=delete):
            yield Note(f"deleted {escape(delete.path)}")
        case Hidden(hide=hide):
            yield Note(f"kept as link {escape(hide.path)}: {bytes_text(hide.nbytes)}")
        case Discarded(discard=discard):
            yield Note(f"removed stream of {escape(discard.path)}: {bytes_text(discard.nbytes)}")
        case Released(release=release):
            yield Note(f"removed link {escape(release.path)}")
        case Cleaned(clean=clean):
            yield Note(f"removed {leftover_text(clean.partial)} {escape(clean.partial.path)}")
        case ThawRequested(count=count, days=days):
            streams, span = count_text(count, "archived stream"), count_text(days, "day")
            yield Note(f"asked for {streams} to be thawed for {span}: run again in some hours")
        case _:
            return


def _failed(event: Failed) -> Iterator[Note]:
    match event.step:
        case Transfer(path=path):
            tried = f"send {escape(path)}"
        case Adopt(path=path):
            tried = f"put {escape(path)} in place"
        case Delete(path=path):
            tried = f"delete {escape(path)}"
        case Hide(path=path):
            tried = f"keep {escape(path)} as link"
        case Discard(path=path):
            tried = f"remove stream of {escape(path)}"
        case Release(path=path):
            tried = f"remove link {escape(path)}"
        case Clean(partial=partial):
            tried = f"remove {leftover_text(partial)} {escape(partial.path)}"
    yield Note(f"error: could not {tried}: {escape(event.error.message)}", Tone.ERROR)
    if event.error.hint:
        yield Note(f"hint: {escape(event.error.hint)}", Tone.ERROR)


def leftover_text(partial: Partial) -> str:
    """Return the word for a leftover."""
    return "link" if partial.link else "partial"


def part_text(nbytes: int, whole: int | None) -> str:
    """Return how much of something is there: in percent, if the whole is known and that tells."""
    if not whole or nbytes > whole:
        return bytes_text(nbytes)
    return f"{100 * nbytes // whole} %"


def resumable_text(partial: Partial) -> str:
    """Return what of a leftover can be gone on with; empty if nothing can."""
    kept = partial.checkpoint
    if kept is None:
        return ""
    return f"resumable at {part_text(kept.position.plain_bytes, kept.expected)}"


def _volume(done: TransferDone) -> str:
    text = bytes_text(done.plain_bytes)
    details = ", ".join(_details(done))
    if details:
        text += f" ({details})"
    text += f" in {duration_text(done.seconds)}"
    # A rate over no time would be a number without meaning.
    moved = done.plain_bytes - (done.resumed_bytes if done.stored_bytes is None else 0)
    return f"{text} ({rate_text(moved / done.seconds)})" if done.seconds > 0 else text


def _details(done: TransferDone) -> Iterator[str]:
    """Yield how many bytes it took where these are not those of the plain stream."""
    if done.stored_bytes is None:
        if done.resumed_bytes:
            yield f"{bytes_text(done.resumed_bytes)} of them received earlier"
        if done.sent_bytes < done.plain_bytes - done.resumed_bytes:
            yield f"{bytes_text(done.sent_bytes)} carried compressed"
        return
    if done.stored_bytes != done.plain_bytes:
        yield f"{bytes_text(done.stored_bytes)} stored"
    if done.resumed_bytes:
        yield f"{bytes_text(done.resumed_bytes)} of them sent earlier"
    elif done.stored_bytes and not done.sent_bytes:
        yield "copied within the service"


def _summary(finished: Finished) -> str:
    sent = f"{finished.transferred} sent"
    if finished.transferred:
        volume = f"{bytes_text(finished.sent_bytes)} in {duration_text(finished.seconds)}"
        if finished.resumed_bytes:
            volume += f", {bytes_text(finished.resumed_bytes)} earlier"
        sent += f" ({volume})"
    others = [
        f"{number} {words}"
        for number, words in (
            (finished.adopted, "put in place"),
            (finished.present, "already there"),
            (finished.failed, "failed"),
            (finished.deleted, "deleted"),
            (finished.hidden, "kept as link"),
            (finished.undeleted, "not deleted"),
        )
        if number
    ]
    return ", ".join([sent, *others]) if finished.transferred or others else "done"
