"""What an applier has still to do when its stream has ended, or was cut."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """What is left to do; another applier can go on with it where the first one stopped.

    Attributes:
        xattrs: Extended attributes that the top directory gets.
        times: Of the top directory: access and modification, in nanoseconds since 1970; None to
            leave them as they are.
        inherited: FS_*_FL flags that the top directory had and gets back.
        flags: BTRFS_INODE_* flags that the stream gives to the top directory; None if none.
        inodes: BTRFS_INODE_* flags that other inodes get, by inode number.
    """

    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    times: tuple[int, int] | None = None
    inherited: int = 0
    flags: int | None = None
    inodes: Mapping[int, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return a value that JSON can have; `from_json` makes it this again."""
        return {
            "xattrs": {name: b64encode(data).decode() for name, data in self.xattrs.items()},
            "times": None if self.times is None else list(self.times),
            "inherited": self.inherited,
            "flags": self.flags,
            "inodes": {str(inode): flags for inode, flags in self.inodes.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return what a value of `as_json` was.

        Raises:
            ValueError: It is not such a value.
        """
        try:
            return cls(
                xattrs={
                    str(name): b64decode(data, validate=True)
                    for name, data in value["xattrs"].items()
                },
                times=None if value["times"] is None else _pair(*value["times"]),
                inherited=int(value["inherited"]),
                flags=None if value["flags"] is None else int(value["flags"]),
                inodes={int(inode): int(flags) for inode, flags in value["inodes"].items()},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("this is no record of what is left to do") from error


def _pair(atime: int, mtime: int) -> tuple[int, int]:
    return int(atime), int(mtime)
