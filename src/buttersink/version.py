"""The version, apart so that `--version` and the build need no other import."""

__version__ = "1.0.0a4"
