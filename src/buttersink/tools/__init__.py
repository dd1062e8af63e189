"""The companion programs: btrfslist and checksumdir."""
