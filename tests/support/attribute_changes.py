"""Random changes to modes, owners, times and extended attributes."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from support.kernel_calls import unless_invalid
from support.live import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.live import Live

_MODES = (0o644, 0o755, 0o000, 0o600, 0o777, 0o4755, 0o2755, 0o6711, 0o1777, 0o7777)
_IDS = (0, 1, 1000, 65_534, 100_000, (1 << 31) - 1, (1 << 32) - 2)
_SECOND_NS = 1_000_000_000
_XATTR_NAMES = ("user.a", "user.b", "user." + "n" * 200, "user.caf\udce9", "user.ünï")
_TRUSTED_NAMES = ("trusted.a", "trusted.overlay.opaque")
_XATTR_SIZES = (0, 1, 100, 3000)


def change_mode(live: Live) -> bool:
    """Change a mode, perhaps to one with setuid, setgid or sticky bit."""
    entry = live.draw(Kind.FILE, Kind.DIRECTORY, Kind.SPECIAL)
    if entry is None:
        return False
    os.chmod(live.path(entry), live.rng.choice(_MODES))
    return True


def change_owner(live: Live) -> bool:
    """Change owner and group, also of symlinks."""
    entry = live.draw(*Kind)
    if entry is None:
        return False
    os.lchown(live.path(entry), live.rng.choice(_IDS), live.rng.choice(_IDS))
    return True


def change_times(live: Live) -> bool:
    """Set times to the nanosecond, perhaps before 1970 or after 2106."""
    entry = live.draw(*Kind)
    if entry is None:
        return False
    seconds = live.rng.choice((0, -1, -(1 << 31), 1 << 31, 1 << 33, live.rng.randrange(1 << 30)))
    when = seconds * _SECOND_NS + live.rng.choice((0, 1, _SECOND_NS - 1))
    os.utime(live.path(entry), ns=(when, when), follow_symlinks=False)
    return True


def set_xattr(live: Live) -> bool:
    """Add or replace an extended attribute."""
    entry = live.draw(*Kind)
    if entry is None:
        return False
    names: tuple[str, ...] = _TRUSTED_NAMES
    if entry.kind in (Kind.FILE, Kind.DIRECTORY):
        names += _XATTR_NAMES  # no other kind can have those, see xattr(7)
    value = live.data.draw(live.rng.choice(_XATTR_SIZES))
    os.setxattr(live.path(entry), live.rng.choice(names), value, follow_symlinks=False)
    return True


def remove_xattr(live: Live) -> bool:
    """Remove an extended attribute of any kind, if the entry has one."""
    entry = live.draw(*Kind)
    if entry is None:
        return False
    path = live.path(entry)
    names = sorted(os.listxattr(path, follow_symlinks=False))
    if not names:
        return False
    os.removexattr(path, live.rng.choice(names), follow_symlinks=False)
    return True


def set_acl(live: Live) -> bool:
    """Set a POSIX ACL: the attribute's layout is in linux/posix_acl_xattr.h."""
    entry = live.draw(Kind.FILE, Kind.DIRECTORY)
    if entry is None:
        return False
    name = "system.posix_acl_access"
    if entry.kind is Kind.DIRECTORY and live.rng.random() < 0.5:
        name = "system.posix_acl_default"
    no_id = (1 << 32) - 1
    acl = struct.pack("<I", 2)
    for tag, identity in ((1, no_id), (2, 1000), (4, no_id), (16, no_id), (32, no_id)):
        acl += struct.pack("<HHI", tag, live.rng.randrange(8), identity)
    os.setxattr(live.path(entry), name, acl)
    return True


def set_capability(live: Live) -> bool:
    """Give a program CAP_NET_RAW, CAP_CHOWN or both: struct vfs_cap_data, revision 2."""
    entry = live.draw(Kind.FILE)
    if entry is None:
        return False
    permitted = live.rng.choice((1 << 13, 1, 1 << 13 | 1))
    value = struct.pack("<5I", 0x02000001, permitted, 0, 0, 0)
    os.setxattr(live.path(entry), "security.capability", value)
    return True


def set_compression(live: Live) -> bool:
    """Set the compression property; files inherit it from their directory."""
    entry = live.draw(Kind.FILE, Kind.DIRECTORY)
    if entry is None:
        return False
    method = live.rng.choice((b"zstd", b"lzo", b"zlib"))
    with unless_invalid():  # it is for what is not copied on write
        os.setxattr(live.path(entry), "btrfs.compression", method)
    return True


def change_top(live: Live) -> bool:
    """Change mode, group or an attribute of the top directory.

    Never its default ACL or compression: what `btrfs receive` makes, it makes there first, where
    it would inherit them, although the stream does not say so.
    """
    top = live.path(live.root)
    os.chmod(top, live.rng.choice(_MODES))
    os.chown(top, 0, live.rng.choice(_IDS))
    os.setxattr(top, "user.top", live.data.draw(live.rng.choice(_XATTR_SIZES)))
    return True


ATTRIBUTE_CHANGES: tuple[tuple[float, Callable[[Live], bool]], ...] = (
    (3, change_mode),
    (3, change_owner),
    (3, change_times),
    (4, set_xattr),
    (1, remove_xattr),
    (1, set_acl),
    (1, set_capability),
    (1, set_compression),
    (0.3, change_top),
)
