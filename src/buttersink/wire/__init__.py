"""What client and server say to each other, pure: bytes to values and back, no input or output."""
