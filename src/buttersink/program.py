"""What the three programs share at their edge: arguments, and what they print on."""

from __future__ import annotations

import argparse
import io
import os
import sys
from typing import NoReturn

from buttersink.errors import UsageError


class Parser(argparse.ArgumentParser):
    """Raises instead of printing, so that errors of usage look like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise `message` as UsageError."""
        raise UsageError(message, f"{self.prog} --help shows what there is")


def accept_any_text() -> None:
    """Let standard output and error take any text.

    Names may hold any bytes, and a terminal may know less than UTF-8.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Give up standard output, once nobody reads it any more.

    The interpreter flushes it once more when it ends, and would complain.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
