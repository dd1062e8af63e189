"""Receivers of our own at work, as /proc shows them from outside: an oracle."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from support.processes import processes, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

CAPABILITIES = (
    *("chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid"),
    *("setuid", "setpcap", "linux_immutable", "net_bind_service", "net_broadcast"),
    *("net_admin", "net_raw", "ipc_lock", "ipc_owner", "sys_module", "sys_rawio"),
    *("sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice"),
    *("sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write"),
    *("audit_control", "setfcap", "mac_override", "mac_admin", "syslog", "wake_alarm"),
    *("block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore"),
)
"""Names by number: include/uapi/linux/capability.h."""


def family(pid: int) -> set[int]:
    """Return the processes that a process has started, and those that these have."""
    every = processes()
    found: set[int] = set()
    while new := {each.pid for each in every if each.parent in {pid, *found}} - found:
        found |= new
    return found


def wait_for_receiver(top: Path, *, of: int | None = None) -> int:
    """Wait for the process that has a directory as its root; return its number.

    Args:
        top: The directory.
        of: The process that has started it, by way of others; this one if it is not given.
    """
    starter = os.getpid() if of is None else of
    wait_until(lambda: receivers(top, starter), "there was a receiver, and it was confined")
    (pid,) = receivers(top, starter)
    return pid


def receivers(top: Path, starter: int) -> list[int]:
    """Return those processes that have a directory as their root."""
    found = []
    for pid in family(starter):
        with suppress(OSError):
            if os.path.samefile(f"/proc/{pid}/root/", top):
                found.append(pid)
    return found


def is_running(pid: int) -> bool:
    """Tell whether a process has not ended."""
    return any(each.pid == pid for each in processes())


def status(pid: int) -> Mapping[str, str]:
    """Return what the kernel says of a process (proc_pid_status(5))."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def capabilities(pid: int, kind: str) -> set[str]:
    """Return the capabilities of a process: "Eff", "Prm", "Inh", "Bnd" or "Amb"."""
    mask = int(status(pid)[f"Cap{kind}"], 16)
    return {
        CAPABILITIES[number] if number < len(CAPABILITIES) else str(number)
        for number in range(64)
        if mask >> number & 1
    }


def open_files(pid: int) -> list[str]:
    """Return what a process has open: "pipe:[1]" and the like, or a path as it sees it."""
    names = os.listdir(f"/proc/{pid}/fd")
    return [os.readlink(f"/proc/{pid}/fd/{name}") for name in names]


def open_devices(pid: int) -> set[int]:
    """Return the numbers of the file systems of the files and directories that it has open."""
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        if os.readlink(f"/proc/{pid}/fd/{name}").startswith("/"):
            found.add(os.stat(f"/proc/{pid}/fd/{name}").st_dev)
    return found
