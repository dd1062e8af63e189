"""What tells file systems apart, also those of other machines."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from buttersink.stores.opening import machine_wide_id

ONE, OTHER = UUID(int=1), UUID(int=2)


def test_file_systems_of_this_machine_differ_by_their_id() -> None:
    assert machine_wide_id(ONE) == machine_wide_id(ONE) != machine_wide_id(OTHER)


def test_clones_on_two_machines_differ_by_what_the_kernel_calls_its_present_life() -> None:
    boot_id, fsid = machine_wide_id(ONE)
    assert fsid == str(ONE)
    assert UUID(boot_id) == UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
