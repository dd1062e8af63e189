"""Reading a part of an object, over broken connections."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from buttersink.errors import CorruptStreamError, MissingError, TransferError
from buttersink.stores.s3.errors import FOREIGN, Fault, RequestError, failure_of, user_error

if TYPE_CHECKING:
    from buttersink.stores.s3.service import Service
    from buttersink.stores.shelf import ShelfObject

_CHUNK: Final = 1 << 18
_GONE: Final = frozenset({Fault.MISSING, Fault.PRECONDITION})


def read_range(service: Service, thing: ShelfObject, start: int, nbytes: int) -> bytes:
    """Return exactly `nbytes` of an object from `start` on.

    A connection that breaks in the middle is made anew for what is missing.

    Raises:
        MissingError: The object is gone, or is not the one that was listed.
        CorruptStreamError: It is shorter than it was listed.
        ButterSinkError: It can't be read.
    """
    doing = f"reading {service.name}{thing.key}"
    data = BytesIO()  # its value is handed over without a copy
    attempts = service.attempts()
    while data.tell() < nbytes:
        before = data.tell()
        body = _open(service, thing, start + before, nbytes - before, doing)
        try:
            while chunk := body.read(min(_CHUNK, nbytes - data.tell())):
                data.write(chunk)
        except FOREIGN as error:
            if data.tell() > before:
                attempts.restart()
            failure = failure_of(error)
            if not (failure.is_transient and attempts.wait()):
                raise user_error(failure, doing) from error
        else:
            if data.tell() < nbytes:
                raise _short(doing, thing)
        finally:
            body.close()
    return data.getvalue()


def _open(service: Service, thing: ShelfObject, start: int, nbytes: int, doing: str) -> Any:
    """Return the body of the answer, at `start`."""
    condition = {"IfMatch": f'"{thing.etag}"'} if thing.etag else {}
    try:
        answer = service.request(
            "get_object",
            doing,
            expected=_GONE | {Fault.RANGE},
            Key=thing.key,
            Range=f"bytes={start}-{start + nbytes - 1}",
            **condition,
        )
    except RequestError as error:
        if error.failure.fault is Fault.RANGE:
            raise _short(doing, thing) from error
        raise MissingError(f"{doing}: it is gone, or was replaced", "run again") from error
    body = answer["Body"]
    place = str(answer.get("ContentRange", ""))  # bytes 5-9/5242883
    if not place.startswith(f"bytes {start}-") and not (place == "" and start == 0):
        body.close()
        raise TransferError(f"{doing}: the service sent other bytes than were asked for")
    return body


def _short(doing: str, thing: ShelfObject) -> CorruptStreamError:
    return CorruptStreamError(f"{doing}: it is shorter than the {thing.nbytes} bytes it was")
