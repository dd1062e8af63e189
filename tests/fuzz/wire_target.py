"""What comes in over a link: the preamble, frames, and the messages in them.

Either side must take anything that the other may send, and refuse it with a `ProtocolError` at
most. However it is cut, the same comes out of it; and what is accepted means one thing only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from buttersink.errors import ButterSinkError, ProtocolError
from buttersink.wire import facts, messages, values
from buttersink.wire.frames import (
    PREAMBLE,
    Beginning,
    FrameDecoder,
    Kind,
    PreambleReader,
    encode_frame,
)
from buttersink.wire.modes import LEAST_MODE
from fuzz.parts import FuzzInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ANSWERS: Final[Mapping[Kind, tuple[type, ...]]] = {
    Kind.HELLO: (messages.Hello, messages.ClientHello, messages.ServerHello),
    Kind.ITEMS: (messages.Found, messages.Measured, messages.Recalled),
    Kind.REPLY: (
        messages.Done,
        messages.Listed,
        messages.Taken,
        messages.Ready,
        messages.Received,
    ),
    Kind.ERROR: (values.Failure,),
    Kind.PROGRESS: (messages.Progress,),
}
"""What the payloads of each kind are read as, but for requests."""

KINDS: Final = (None, Kind.REQUEST, *ANSWERS)
"""What the data is, by the input's option: all of a link, or one payload of this kind."""


def take(raw: bytes) -> None:
    """Take a link's input, or a single message."""
    given = FuzzInput.decode(raw)
    kind = KINDS[given.options % len(KINDS)]
    if kind is None:
        _take_link(given)
    else:
        _take_payload(kind, given.data)


@dataclass(slots=True)
class _Heard:
    """What was made of a link's input."""

    beginning: Beginning
    frames: list[tuple[Kind, bytes]]
    refusal: str


def _take_link(given: FuzzInput) -> None:
    heard = _hear(given.parts())
    assert heard == _hear([memoryview(given.data)])
    again = b"".join(encode_frame(kind, payload) for kind, payload in heard.frames)
    if heard.beginning is Beginning.PREAMBLE:
        assert given.data.startswith(PREAMBLE + again)
    assert heard.refusal or given.data == PREAMBLE + again
    for kind, payload in heard.frames:
        _take_payload(kind, payload)


def _hear(parts: Iterable[memoryview]) -> _Heard:
    """Return what comes out of the parts, the pieces of DATA joined."""
    preamble, decoder = PreambleReader(), FrameDecoder()
    frames = list[tuple[Kind, bytes]]()
    data, refusal = b"", ""
    try:
        for part in parts:
            for frame in decoder.feed(preamble.feed(part)):
                data += frame.payload
                if frame.last:
                    frames.append((frame.kind, data))
                    data = b""
        preamble.finish()
        decoder.finish()
    except ProtocolError as error:
        refusal = str(error)
        assert refusal
    return _Heard(preamble.beginning, frames, refusal)


def _take_payload(kind: Kind, payload: bytes) -> None:
    """Read a payload as all that it may be."""
    if kind is Kind.REQUEST:
        _take_request(payload)
    for answer in ANSWERS.get(kind, ()):
        _take_answer(payload, answer)


def _take_request(payload: bytes) -> None:
    try:
        request = messages.decode_request(payload)
    except ProtocolError:
        return
    assert messages.decode_request(messages.encode(request)) == request
    assert type(request) in LEAST_MODE
    match request:
        case messages.Send() | messages.Receive():
            diff = facts.as_diff(request.diff)
            assert facts.asked(diff, request.diff.limit) == request.diff
            assert facts.options_message(facts.as_options(request.options)) == request.options
        case messages.Measure():
            for asked in request.diffs:
                assert facts.asked(facts.as_diff(asked), asked.limit) == asked


def _take_answer(payload: bytes, kind: type[Any]) -> None:
    try:
        answer = messages.decode(payload, kind)
    except ProtocolError:
        return
    assert messages.decode(messages.encode(answer), kind) == answer
    try:
        _take_facts(answer)
    except ProtocolError:
        return


def _take_facts(answer: object) -> None:
    """Make what the model has of an answer, and look whether it is still the same."""
    match answer:
        case messages.Found():
            for snapshot in answer.snapshots:
                found = facts.as_snapshot(snapshot)
                assert facts.snapshot_message(found) == snapshot
                for path in found.paths:
                    _check_path(path)
            assert sum(len(s.paths) for s in facts.as_snapshots(answer.snapshots)) == sum(
                len(s.paths) for s in answer.snapshots
            )
            for partial in answer.partials:
                _check_path(facts.as_partial(partial).path)
            for problem in answer.problems:
                facts.as_problem(problem)
        case messages.Measured():
            for size in answer.sizes:
                facts.size_message(facts.as_size(size))
        case values.Failure():
            error = facts.as_error(answer)
            assert isinstance(error, ButterSinkError)
            facts.failure_message(error)


def _check_path(path: str) -> None:
    """Check by other means than the code under test that a path stays below its directory."""
    assert path
    assert not path.startswith("/")
    assert ".." not in path.split("/")
    assert "\0" not in path
