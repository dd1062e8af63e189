"""An upload that goes on from where an earlier one of the same stream stopped."""

from __future__ import annotations

import hashlib
import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from buttersink.errors import ButterSinkError, MissingError, RestartError, TransferError
from buttersink.stored.journal import JournalPart
from buttersink.stores.journals import JournalFile
from buttersink.stores.shelf import SentPart

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buttersink.stored.journal import Journal, JournalHeader
    from buttersink.stores.cutting import Part
    from buttersink.stores.shelf import HeldPart, Shelf, ShelfObject, Upload

_log: Final = logging.getLogger(__name__)


class Uploading:
    """One object on its way to a shelf; the parts come from several threads.

    What fits into one part is put there in one request, when all of it is known. Else a journal
    records each part that was taken. A part of an earlier upload counts only if the journal and
    the shelf agree on it and it is what would be sent now. If one is not, all of it is given
    up: an object is never mixed from two attempts.
    """

    def __init__(self, shelf: Shelf, header: JournalHeader, *, keep_schedule: bool) -> None:
        """Go on with the upload that `header` describes, or prepare to begin it.

        Args:
            shelf: Where the object goes.
            header: What it is made of, and how; without an upload id.
            keep_schedule: Whether parts must be of the size that `header` says. Else those of
                the earlier upload are fine.

        Raises:
            BusyError: Another run is at work on it.
        """
        self._shelf = shelf
        self._header = header
        self._keep_schedule = keep_schedule
        self._lock = threading.Lock()
        self._upload: Upload | None = None
        self._held: dict[int, JournalPart] = {}
        """Parts of the earlier upload that can be relied on."""
        self._sent: dict[int, SentPart] = {}
        self._whole: tuple[bytes, str] | None = None
        self._stopped = False
        self._failure: ButterSinkError | None = None
        """Why it could not begin."""
        self.resumed_bytes = 0
        self._journal = JournalFile.open(shelf.journal_path(header.key), create=False)
        if self._journal is not None:
            try:
                self._resume(self._journal)
            except BaseException:
                if self._journal is not None:
                    self._journal.close()
                raise

    def parts(self) -> list[SentPart]:
        """Return the parts so far, in their order."""
        return [self._sent[number] for number in sorted(self._sent)]

    def part_bytes(self, number: int) -> int:
        """Return how many bytes a part has.

        Raises:
            TransferError: The shelf does not take so many parts.
        """
        try:
            return self._header.schedule.size(number)
        except ValueError as error:
            raise TransferError(
                f"{self._shelf.name}{self._header.key} would be larger than an object can be",
                "a larger --part-size may help",
            ) from error

    def send(self, part: Part) -> None:
        """Send one part, unless the shelf has it.

        Raises:
            RestartError: The shelf has another one of this number.
            TransferError: It could not be stored.
        """
        sha256 = hashlib.sha256(part.data).hexdigest()
        nbytes = len(part.data)
        if part.number == 1 and nbytes < self.part_bytes(1):
            self._whole = part.data, sha256
            self._sent[1] = SentPart(number=1, nbytes=nbytes, sha256=sha256, tag="")
            return
        held = self._held.get(part.number)
        if held is None:
            tag = self._begun().put(part.number, part.offset, part.data, sha256)
        elif (held.nbytes, held.sha256) == (nbytes, sha256):
            tag = held.tag
        else:
            raise self._changed()
        with self._lock:
            if self._stopped:
                return
            if held is not None:
                self.resumed_bytes += nbytes
            elif self._journal is not None:
                self._journal.add(
                    JournalPart(number=part.number, nbytes=nbytes, sha256=sha256, tag=tag)
                )
            self._sent[part.number] = SentPart(
                number=part.number, nbytes=nbytes, sha256=sha256, tag=tag
            )

    def complete(self) -> ShelfObject:
        """Make the object visible, after all parts were sent.

        Raises:
            PathTakenError: There is one already.
            RestartError: An earlier upload had parts beyond the end of this one.
            TransferError: It could not be stored.
        """
        key = self._header.key
        if self._whole is not None:
            data, _ = self._whole
            self._give_up()
            return self._shelf.put(key, data, replace=False)
        if self._held.keys() - self._sent.keys():
            raise self._changed()
        thing = self._begun().complete(self.parts())
        with self._lock:
            self._stopped = True
            if self._journal is not None:
                with suppress(ButterSinkError):  # without its upload it is of no importance
                    self._journal.remove()
        return thing

    def stop(self, *, keep: bool, hurry: bool = False) -> None:
        """End an upload that did not come to its end.

        Args:
            keep: Leave it for the next run, if that can go on from it.
            hurry: Leave it in any case, without a word to the shelf: the program was interrupted.
        """
        # Who holds the lock may be stuck in the network; the end of the program frees the journal.
        if not self._lock.acquire(timeout=1 if hurry else -1):
            return
        try:
            if self._stopped:
                return
            worthwhile = bool(self._held or self._sent) and self._whole is None
            if hurry or (keep and worthwhile and self._journal is not None):
                self._stopped = True
                if self._journal is not None:
                    self._journal.close()
                return
        finally:
            self._lock.release()
        with suppress(ButterSinkError):  # what made it fail counts; -d removes it
            self._give_up()

    def _begun(self) -> Upload:
        """Return the upload, which begins with its first part.

        Raises:
            TransferError: It can't begin, or was stopped already.
            BusyError: Another run is at work on it.
        """
        with self._lock:
            if self._stopped:
                raise TransferError(f"the upload to {self._header.key} was stopped")
            if self._failure is not None:  # the other parts need not wait for the same
                raise self._failure
            if self._upload is None:
                try:
                    self._upload = self._begin()
                except ButterSinkError as error:
                    self._failure = error
                    raise
            return self._upload

    def _begin(self) -> Upload:
        key = self._header.key
        upload = self._shelf.begin(key)
        try:
            if self._journal is None:
                self._journal = JournalFile.open(self._shelf.journal_path(key), create=True)
            if self._journal is not None:
                self._header = msgspec.structs.replace(self._header, upload_id=upload.upload_id)
                self._journal.start(self._header)
        except BaseException:
            with suppress(ButterSinkError):  # what made it fail counts
                upload.abort()
            raise
        return upload

    def _resume(self, journal: JournalFile) -> None:
        """Find out what of an earlier upload can be relied on, and remove it if that's nothing."""
        record = journal.read()
        if record is None or record.header.key != self._header.key:
            return
        upload = self._shelf.resume(record.header.key, record.header.upload_id)
        try:
            held = upload.held()
        except MissingError:
            return
        earlier = record.header
        same = msgspec.structs.replace(self._header, upload_id=earlier.upload_id)
        # How long a stream is expected to be may differ from run to run, and then the schedule.
        if not self._keep_schedule or same.schedule.base == earlier.schedule.base:
            same = msgspec.structs.replace(same, schedule=earlier.schedule)
        if earlier != same:
            _log.info("%s was begun in another way: it begins anew", earlier.key)
            upload.abort()
            # A directory goes with the last upload in it, and takes the file along.
            self._journal = None
            journal.remove()
            return
        self._header = record.header
        self._upload = upload
        self._held = _confirmed(record, held)

    def _changed(self) -> RestartError:
        return RestartError(
            f"{self._shelf.name}{self._header.key}: the stream is not the one of which a part "
            f"was uploaded before"
        )

    def _give_up(self) -> None:
        """Free what was uploaded, and forget it."""
        with self._lock:
            self._stopped = True
            try:
                if self._upload is not None:
                    self._upload.abort()
            except BaseException:
                if self._journal is not None:
                    self._journal.close()
                raise
            if self._journal is not None:
                self._journal.remove()


def _confirmed(record: Journal, held: Mapping[int, HeldPart]) -> dict[int, JournalPart]:
    """Return the recorded parts that the shelf has, too; the others are sent again."""
    return {
        number: part
        for number, part in record.parts.items()
        if number in held and (held[number].nbytes, held[number].tag) == (part.nbytes, part.tag)
    }
