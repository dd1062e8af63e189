"""Events for a machine: one JSON object a line. Described in docs/json.md."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

from buttersink.report.json_fields import error_fields, event_fields
from buttersink.report.loudness import heard
from buttersink.report.plain import write_lines
from buttersink.report.wording import Tone, error_text, notes

if TYPE_CHECKING:
    from types import TracebackType
    from typing import TextIO

    from buttersink.errors import ButterSinkError
    from buttersink.events import Event


class JsonReporter:
    """Writes events to standard output, and those that are errors also as lines to stderr."""

    def __init__(self, *, stdout: TextIO, stderr: TextIO, quiet: int) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self._quiet = quiet

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing is open: each line is written when it comes."""

    def __call__(self, event: Event) -> None:
        """Write an event, if it is heard at this level of quiet."""
        if not heard(event, quiet=self._quiet):
            return
        self._write(event_fields(event))
        for note in notes(event):
            if note.tone is Tone.ERROR:
                write_lines(self._stderr, (note.text,))

    def error(self, error: ButterSinkError) -> None:
        """Write what ended the run, at any level of quiet."""
        self._write(error_fields(error))
        write_lines(self._stderr, (error_text(error),))

    def _write(self, fields: dict[str, Any]) -> None:
        # ASCII, because a path may hold lone surrogates, which no encoding of Unicode carries.
        write_lines(self._stdout, (json.dumps(fields, ensure_ascii=True),))
