"""Tests of S3 against servers on this machine."""
