"""The programs that the far side of an ssh connection finds: this checkout's, and a tame sudo."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_KEPT: Final = (
    "STATE_DIRECTORY",  # what runs remember stays out of the machine's own state
    "COVERAGE_PROCESS_START",
    "COVERAGE_PROCESS_CONFIG",
)
"""Variables of the tests that concern the far side, too; a real connection would lose them."""

_SUDO: Final = """\
#!/bin/sh
# Stands in for sudo: allows everything, and may be told not to ask for a password.
while :; do
    case ${1-} in
        -n | --non-interactive) shift ;;
        --) shift; break ;;
        -*) echo "sudo: the tests' stand-in knows no option $1" >&2; exit 1 ;;
        *) break ;;
    esac
done
exec "$@"
"""


def make_far_programs(directory: Path) -> Path:
    """Make the directory `bin` in `directory`, with `buttersink` and `sudo`, and return it."""
    made = directory / "bin"
    made.mkdir()
    write_program(made / "buttersink", f'#!/bin/sh\nexec {remote_command()} "$@"\n')
    write_program(made / "sudo", _SUDO)
    return made


def write_program(path: Path, text: str) -> None:
    """Write a program, or put it in the place of another."""
    draft = path.with_name(f".{path.name}")
    draft.write_text(text, encoding="utf-8")
    draft.chmod(0o755)
    draft.rename(path)


def remote_command() -> str:
    """Return words, quoted for a shell, that run this checkout's `buttersink` from anywhere."""
    kept = [f"{name}={os.environ[name]}" for name in _KEPT if name in os.environ]
    program = [sys.executable, "-P", "-m", "buttersink"]  # -P: whatever directory it starts in
    return shlex.join([*(["/usr/bin/env", *kept] if kept else []), *program])


def far_path(programs: Path) -> str:
    """Return a PATH as sshd sets it, with `programs` in front."""
    return f"{programs}:{_SYSTEM_PATH}"
