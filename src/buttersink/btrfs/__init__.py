"""The boundary to the kernel's btrfs: nothing outside this package calls one of its ioctls."""
