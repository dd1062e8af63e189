"""The command `buttersink`, run as a user runs it: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

Argument = str | bytes | os.PathLike[str]
Ends = tuple[Argument, ...]
"""The arguments of a run that say from where to where."""
Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a run; names that are not UTF-8 are in the output with surrogateescape.

    Attributes:
        status: The exit status.
        stdout: What it wrote for whoever asked.
        stderr: What it wrote besides.
    """

    status: int
    stdout: str
    stderr: str

    @property
    def events(self) -> list[Event]:
        """The JSON objects of a run with --json, one for each line of standard output."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    def named(self, name: str) -> list[Event]:
        """Return the JSON objects of one kind of event."""
        return [event for event in self.events if event["event"] == name]

    def the(self, name: str) -> Event:
        """Return the JSON object of the only event of its kind."""
        (event,) = self.named(name)
        return event

    def steps(self, action: str) -> list[Event]:
        """Return the planned steps of one action."""
        return [step for step in self.the("planned")["steps"] if step["action"] == action]

    def paths(self, action: str) -> list[str]:
        """Return the paths of the planned steps of one action, in order."""
        return [step["path"] for step in self.steps(action)]


def buttersink(*arguments: Argument, cwd: str | os.PathLike[str] | None = None) -> Run:
    """Run the command to its end, without a terminal."""
    return run_module("buttersink", *arguments, cwd=cwd)


def assert_one_line(done: Run, status: int, *words: str) -> None:
    """Check that a run ended with one line for a person, and nothing else."""
    assert done.status == status, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.isprintable()
    assert "Traceback" not in line
    for word in words:
        assert word in line


def run_module(
    module: str,
    *arguments: Argument,
    cwd: str | os.PathLike[str] | None = None,
    environment: dict[str, str] | None = None,
    by: Sequence[Argument] = (),
) -> Run:
    """Run a module of ours as a program.

    Args:
        module: Its name.
        arguments: Those of the program.
        cwd: Where; None for where the tests run.
        environment: What is added to that of the tests.
        by: A program, with arguments, that runs the one given after them.
    """
    done = subprocess.run(
        [*by, sys.executable, "-m", module, *arguments],
        check=False,
        capture_output=True,
        cwd=cwd,
        env=os.environ | environment if environment else None,
        stdin=subprocess.DEVNULL,
    )
    return Run(done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr))


def sync(source: Argument, destination: Argument, *options: Argument) -> Run:
    """Sync with --json all snapshots in one directory to another; it must succeed entirely."""
    run = buttersink("--json", *options, directory(source), directory(destination))
    assert (run.status, run.stderr) == (0, ""), run.stderr
    return run


def directory(path: Argument) -> bytes:
    """Return a path with the slash that stands for all snapshots in it."""
    return os.path.join(os.fsencode(path), b"")
