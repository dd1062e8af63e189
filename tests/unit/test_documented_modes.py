"""The table of modes that administrators read is the one that the server looks into."""

from __future__ import annotations

import re
from pathlib import Path

from buttersink.wire.modes import LEAST_MODE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "server-security.md"
_ROW = re.compile(r"^\| (?P<verbs>`[a-z_`, ]+`) \| (?P<mode>[raw]) \|", re.MULTILINE)
_VERB = re.compile(r"`([a-z_]+)`")


def test_the_documented_modes_are_those_that_the_server_enforces() -> None:
    documented = [
        (verb, row["mode"])
        for row in _ROW.finditer(PAGE.read_text(encoding="utf-8"))
        for verb in _VERB.findall(row["verbs"])
    ]
    enforced = [
        (request.__struct_config__.tag, mode.letter) for request, mode in LEAST_MODE.items()
    ]
    assert sorted(documented) == sorted(enforced)
