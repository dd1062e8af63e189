"""The far side of an ssh:// end: one directory, served on stdin and stdout in one mode.

It runs with privileges for a client that it does not trust. So it decides by itself what is
allowed, and imports as little as it can. docs/server-security.md tells administrators what it
promises.
"""
