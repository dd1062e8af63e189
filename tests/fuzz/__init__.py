"""Fuzzing of what reads bytes from outside: `python -m fuzz` (see `fuzz.__main__`)."""
