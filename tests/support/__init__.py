"""What the tests share: file systems to work on, histories to send, and trees to compare."""
