"""ButterSink: rsync for sets of btrfs read-only snapshots."""
