"""The btrfs send-stream format, pure: no module here touches a file, a process or the network."""
