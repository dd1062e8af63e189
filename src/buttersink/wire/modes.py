"""The one table of modes: what a server must have been started for, to do what is asked."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from buttersink.model import Mode
from buttersink.wire.messages import (
    Adopt,
    AskSpace,
    Clean,
    Create,
    Delete,
    FindParents,
    FindTaken,
    Flush,
    ListSnapshots,
    Lock,
    Measure,
    Outline,
    RecallSizes,
    Receive,
    Release,
    Request,
    Send,
    Unlock,
)

LEAST_MODE: Final = MappingProxyType[type[Request], Mode](
    {
        ListSnapshots: Mode.READ,
        FindParents: Mode.READ,
        Measure: Mode.READ,
        RecallSizes: Mode.READ,
        FindTaken: Mode.READ,
        AskSpace: Mode.READ,
        Send: Mode.READ,
        Outline: Mode.READ,
        Lock: Mode.APPEND,
        Unlock: Mode.APPEND,
        Create: Mode.APPEND,
        Receive: Mode.APPEND,
        Adopt: Mode.APPEND,
        Release: Mode.APPEND,
        Flush: Mode.APPEND,
        Delete: Mode.WRITE,
        Clean: Mode.WRITE,
    }
)
"""The mode that a server must have been started in, at least, to do what is asked."""
